#!/usr/bin/env bash
# Builds Dockerfile.arm64 without Docker, on any Debian computer, and tries the image: it says its version, runs a TFLite and an
# ONNX model as a user who is not root until it calls itself healthy, and ends with status 0 within 5 s of SIGTERM. Prints the size.
#
#   scripts/build_arm64_image.sh
#
# Needs root and: buildah runc debootstrap qemu-user-static; and .venv (scripts/test.sh makes it) for the models. Where there is no
# registry to pull the base image from, a Debian of the same release stands in for it. Takes 2 minutes, the first time 6.
set -euo pipefail
cd "$(dirname "$0")/.."

BASE=docker.io/library/python:3.11-slim-bookworm
IMAGE=localhost/edge-agent:arm64
AGENT=/opt/edge-agent/bin/edge-agent
HEALTHY_S=120

say() { printf '%s\n' "$*"; }

die() {
    say "build_arm64_image.sh: $*" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || die "needs root, to build and run for another architecture"
for tool in buildah runc debootstrap; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install buildah runc debootstrap qemu-user-static"
done

work=$(mktemp -d)
container=
clean_up() {
    [ -z "$container" ] || buildah rm "$container" >/dev/null 2>&1 || true
    rm -rf "$work"
}
trap clean_up EXIT

# programs for 64-bit Arm run through qemu, registered with the kernel
prepare_qemu() {
    local formats=/proc/sys/fs/binfmt_misc
    [ "$(uname -m)" = aarch64 ] && return
    [ -e $formats/register ] || mount -t binfmt_misc none $formats || die "this kernel cannot run programs of another architecture"
    [ -e $formats/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$formats/register
}

make_base() {
    local root=$work/root new
    debootstrap --arch=arm64 --variant=minbase --include=python3.11,python3-venv,ca-certificates bookworm "$root" >"$work/log" ||
        { tail -n 5 "$work/log" && die "debootstrap failed"; }
    ln -s python3.11 "$root/usr/bin/python"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    new=$(buildah from --arch arm64 scratch)
    tar -C "$root" --one-file-system -cf "$work/root.tar" .
    buildah add -q "$new" "$work/root.tar" / >/dev/null
    buildah config --arch arm64 --os linux "$new"
    buildah commit -q --rm "$new" "$BASE" >/dev/null
    rm -rf "$root" "$work/root.tar"
}

build() {
    local volumes=()
    if [ -n "${PIP_CERT:-}" ]; then # of a proxy between us and the package index
        printf '[global]\ncert = %s\n' "$PIP_CERT" >"$work/pip.conf"
        volumes=(--volume "$PIP_CERT:$PIP_CERT:ro" --volume "$work/pip.conf:/etc/pip.conf:ro")
    fi
    buildah bud --isolation chroot --arch arm64 --format docker --pull-never "${volumes[@]}" -f Dockerfile.arm64 -t "$IMAGE" . \
        >"$work/log" 2>&1 || { tail -n 30 "$work/log" && die "the build failed"; }
}

make_config() {
    mkdir "$1"
    .venv/bin/python - "$1" <<'PYTHON'
import sys
from pathlib import Path

import cv2
import numpy as np

from tests.models import Found, write_onnx, write_tflite, yolo

folder = Path(sys.argv[1])
metadata = {"task": "detect", "names": "{0: 'person', 1: 'car'}", "imgsz": "[64, 64]"}
write_tflite(folder / "m.tflite", [yolo([Found((8, 8, 24, 24))], normalized=True)])
write_onnx(folder / "m.onnx", [yolo([Found((8, 8, 24, 24))], normalized=False)], metadata=metadata)
cv2.imwrite(str(folder / "white.png"), np.full((64, 64, 3), 255, np.uint8))
PYTHON
    cat >"$1/config.yaml" <<'YAML'
device: {id: image}
sources: {still: {type: images, path: white.png, loop: true}}
models: {tflite: {bundle: m.tflite}, onnx: {bundle: m.onnx}}
pipelines: {tflite: {source: still, model: tflite}, onnx: {source: still, model: onnx}}
mqtt: localhost
YAML
}

# a Raspberry Pi 4's: qemu does not translate the PC's, and onnxruntime reads it
make_cpuinfo() {
    cat >"$1" <<'CPUINFO'
processor	: 0
BogoMIPS	: 108.00
Features	: fp asimd evtstrm crc32 cpuid
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x0
CPU part	: 0xd08
CPU revision	: 3
CPUINFO
}

# in_image COMMAND...: run it in the container, as the image's user
in_image() {
    local volumes=(--volume "$work/config:/etc/edge-agent:ro")
    [ "$(uname -m)" = aarch64 ] || volumes+=(--volume "$work/cpuinfo:/proc/cpuinfo:ro")
    buildah run --isolation oci --runtime runc --runtime-flag "root=$work/runc" "${volumes[@]}" "$container" -- "$@"
}

healthy() {
    grep -q "model tflite runs on" "$work/log" && grep -q "model onnx runs on" "$work/log" &&
        id=$(runc --root "$work/runc" list -q) && runc --root "$work/runc" exec "$id" $AGENT health >"$work/health" 2>&1
}

try_run() {
    local agent id start status=0 deadline=$((SECONDS + HEALTHY_S))
    in_image $AGENT run >"$work/log" 2>&1 &
    agent=$!
    until healthy; do
        kill -0 $agent 2>/dev/null || { cat "$work/log" && die "the agent ended by itself"; }
        [ $SECONDS -lt $deadline ] || { cat "$work/log" && die "it is not healthy after $HEALTHY_S s"; }
        sleep 1
    done
    say "health: $(cat "$work/health")"
    start=$SECONDS
    runc --root "$work/runc" kill "$id" TERM
    wait $agent || status=$?
    if [ $status != 0 ] || [ $((SECONDS - start)) -gt 5 ]; then
        cat "$work/log"
        die "SIGTERM: status $status after $((SECONDS - start)) s"
    fi
    say "SIGTERM: status 0 after $((SECONDS - start)) s"
}

bytes_of() { buildah images --json "$1" | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)[0]["size"])'; }

prepare_qemu
if ! buildah inspect --type image "$BASE" >/dev/null 2>&1; then
    buildah pull -q --arch arm64 "$BASE" >/dev/null 2>&1 || { say "no registry: Debian stands in for $BASE" && make_base; }
fi
build
make_config "$work/config"
make_cpuinfo "$work/cpuinfo"
container=$(buildah from --pull-never --arch arm64 "$IMAGE")
say "version: $(in_image $AGENT --version)"
user=$(in_image id -u)
[ "$user" != 0 ] || die "it runs as root"
say "user: $user"
try_run
say "size: $(bytes_of $IMAGE), of which the base has $(bytes_of $BASE)"

#!/usr/bin/env bash
# Builds Dockerfile.arm64 without Docker, on any Debian computer, and tries the image: it says its version, runs a TFLite and an
# ONNX model as a user who is not root until both work and it calls itself healthy, and ends with status 0 within 5 s of SIGTERM.
# Prints the size.
#
#   scripts/build_arm64_image.sh
#
# Needs root and: buildah runc debootstrap qemu-user-static. Where there is no registry to pull the base image from, a Debian of the
# same release stands in for it. Takes 2 minutes, and the first time 5.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/venv.sh
. scripts/venv.sh

BASE=docker.io/library/python:3.11-slim-bookworm
IMAGE=localhost/edge-agent:arm64
AGENT=/opt/edge-agent/bin/edge-agent
HEALTHY_S=120

[ "$(id -u)" = 0 ] || die "needs root, to build and run for another architecture"
for tool in buildah runc debootstrap; do
    command -v "$tool" >/dev/null || die "$tool is missing: apt-get install buildah runc debootstrap qemu-user-static"
done

work=$(mktemp -d)
container=
clean_up() {
    [ -z "$container" ] || buildah rm "$container" >/dev/null 2>&1 || true
    rm -rf "$work" "$log"
}
trap clean_up EXIT

# programs for 64-bit Arm run through qemu, registered with the kernel
register_qemu() {
    local formats=/proc/sys/fs/binfmt_misc
    [ "$(uname -m)" = aarch64 ] && return
    [ -e $formats/register ] || mount -t binfmt_misc none $formats || die "this kernel cannot run programs of another architecture"
    [ -e $formats/qemu-aarch64 ] || cat /usr/lib/binfmt.d/qemu-aarch64.conf >$formats/register
}

make_base() {
    local root=$work/root new
    debootstrap --arch=arm64 --variant=minbase --include=python3.11,python3-venv,ca-certificates bookworm "$root"
    ln -s python3.11 "$root/usr/bin/python"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" --one-file-system -cf "$work/root.tar" .
    new=$(buildah from --arch arm64 scratch)
    buildah add -q "$new" "$work/root.tar" /
    buildah config --arch arm64 --os linux "$new"
    buildah commit -q --rm "$new" "$BASE"
    rm -rf "$root" "$work/root.tar"
}

build() {
    local volumes=()
    if [ -n "${PIP_CERT:-}" ]; then # of a proxy between us and the package index
        printf '[global]\ncert = %s\n' "$PIP_CERT" >"$work/pip.conf"
        volumes=(--volume "$PIP_CERT:$PIP_CERT:ro" --volume "$work/pip.conf:/etc/pip.conf:ro")
    fi
    buildah bud --isolation chroot --arch arm64 --format docker --pull-never "${volumes[@]}" -f Dockerfile.arm64 -t "$IMAGE" .
}

# a folder with two tiny models, a picture and a config, and what /proc/cpuinfo is to say
make_trial() {
    mkdir "$work/config"
    .venv/bin/python - "$work/config" <<'PYTHON'
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
    cat >"$work/config/config.yaml" <<'YAML'
device: {id: image}
sources: {still: {type: images, path: white.png, loop: true}}
models: {tflite: {bundle: m.tflite}, onnx: {bundle: m.onnx}}
pipelines: {tflite: {source: still, model: tflite}, onnx: {source: still, model: onnx}}
mqtt: localhost
YAML
    # a Raspberry Pi 4's: onnxruntime reads it, and qemu would show the PC's
    cat >"$work/cpuinfo" <<'CPUINFO'
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

works() {
    grep -q "model tflite runs on" "$log" && grep -q "model onnx runs on" "$log" &&
        id=$(runc --root "$work/runc" list -q) && runc --root "$work/runc" exec "$id" $AGENT health >"$work/health" 2>&1
}

# quit MESSAGE: the agent's log, then the end
quit() {
    cat "$log"
    die "$1"
}

try_run() {
    local agent id start status=0 deadline=$((SECONDS + HEALTHY_S))
    in_image $AGENT run >"$log" 2>&1 &
    agent=$!
    until works; do
        kill -0 $agent 2>/dev/null || quit "the agent ended by itself"
        [ $SECONDS -lt $deadline ] || quit "it does not work after $HEALTHY_S s"
        sleep 1
    done
    say "health: $(cat "$work/health")"
    start=$SECONDS
    runc --root "$work/runc" kill "$id" TERM
    wait $agent || status=$?
    ((status == 0 && SECONDS - start <= 5)) || quit "SIGTERM: status $status after $((SECONDS - start)) s"
    say "SIGTERM: status 0 after $((SECONDS - start)) s"
}

bytes_of() { buildah images --json "$1" | .venv/bin/python -c 'import json, sys; print(json.load(sys.stdin)[0]["size"])'; }

make_venv
register_qemu
if ! buildah inspect --type image "$BASE" >/dev/null 2>&1 && ! buildah pull -q --arch arm64 "$BASE" >/dev/null 2>&1; then
    prepare "no registry: make a Debian that stands in for $BASE" make_base
fi
prepare "build $IMAGE" build
make_trial
container=$(buildah from --pull-never --arch arm64 "$IMAGE")
say "version: $(in_image $AGENT --version)"
user=$(in_image id -u)
[ "$user" != 0 ] || die "it runs as root"
say "user: $user"
try_run
say "size: $(bytes_of $IMAGE), of which the base has $(bytes_of $BASE)"

#!/usr/bin/env bash
# Everything that CI checks, on a bare Debian 12 or Raspberry Pi OS with python3 and nothing else.
#
#   scripts/test.sh [PYTEST ARGUMENT...]          all checks and tests
#   scripts/test.sh --fast [PYTEST ARGUMENT...]   the unit tests alone
#   scripts/test.sh --crash [--part PART]         every crash point of every part of the agent that writes to its state folder; an hour or two
#   scripts/test.sh --image                       the container image for 64-bit Arm alone; as root
#
# It makes .venv and fills it from requirements.lock. As root, or with CI=true, it installs the Debian packages that are
# missing; otherwise it says what is skipped for lack of what.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=scripts/venv.sh
. scripts/venv.sh

fast='' crash='' image=''
case ${1:-} in
--fast) fast=yes && shift ;;
--crash) crash=yes && shift ;;
--image) image=yes && shift ;;
esac

# what tests need -> the Debian packages that have it
packages=(
    mosquitto mosquitto-clients openssl ffmpeg gcc libc6-dev strace shellcheck
    python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav
)

failed=()

# check NAME COMMAND...: run it, say how long it took, remember whether it failed
check() {
    local name=$1 start=$SECONDS result=ok
    shift
    say "==> $name"
    "$@" || { result=FAILED && failed+=("$name"); }
    say "    $name: $result, $((SECONDS - start)) s"
}

# need PACKAGE...: install those that are missing, or say so
need() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    if may_install; then
        say "not installed yet: ${missing[*]}"
        prepare "install Debian packages" install_packages "${missing[@]}"
    else
        say "not installed, so that tests which need them are skipped: ${missing[*]}"
        say "    to run them: sudo apt-get install ${missing[*]}"
    fi
}

# the runtimes' contract suite on LiteRT's predecessor, which needs older packages and Python 3.11
tflite_runtime_suite() {
    local stamp
    stamp="$(python3.11 --version) $PWD $(sha256sum <requirements-tflite.txt)"
    if [ "$(cat .venv-tflite/stamp 2>/dev/null)" != "$stamp" ]; then
        python3.11 -m venv --clear .venv-tflite &&
            .venv-tflite/bin/python -m pip install --quiet --disable-pip-version-check --only-binary :all: --require-hashes --no-deps \
                -r requirements-tflite.txt || return
        printf '%s\n' "$stamp" >.venv-tflite/stamp
    fi
    .venv-tflite/bin/python -m pytest tests/contract/test_runtimes.py tests/unit/runtimes/test_litert_delegates.py --quiet --no-header
}

make_venv
export PATH="$PWD/.venv/bin:$PATH"

if [ -n "$fast" ]; then
    check "unit tests" pytest -o testpaths=tests/unit "$@"
elif [ -n "$crash" ]; then
    need openssl gcc libc6-dev
    check "crash points" python -m tests.crash "$@"
elif [ -n "$image" ]; then
    need buildah runc debootstrap qemu-user-static
    check "arm64 image" scripts/build_arm64_image.sh
else
    need "${packages[@]}"
    check "ruff check" ruff check
    check "ruff format" ruff format --check
    check "mypy" mypy
    check "import-linter" lint-imports --no-logo
    if command -v shellcheck >/dev/null; then
        check "shellcheck" shellcheck --external-sources scripts/*.sh .ci/run
    else
        say "==> shellcheck: skipped, it is not installed"
    fi
    if python3.11 -c 'import ensurepip' 2>/dev/null; then
        check "runtimes on tflite-runtime" tflite_runtime_suite
    else
        say "==> runtimes on tflite-runtime: skipped, it needs python3.11 with venv"
    fi
    check "tests" pytest --cov --cov-report=term-missing:skip-covered "$@"
fi

[ ${#failed[@]} = 0 ] || die "failed: $(IFS=, && printf '%s' "${failed[*]}")"
say "all passed in $SECONDS s"

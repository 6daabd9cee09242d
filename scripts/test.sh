#!/usr/bin/env bash
# Everything that CI checks, on a bare Debian 12 or Raspberry Pi OS with python3 and nothing else.
#
#   scripts/test.sh [PYTEST ARGUMENT...]          all checks and tests
#   scripts/test.sh --fast [PYTEST ARGUMENT...]   the unit tests alone
#
# It makes .venv and fills it from requirements.lock. As root, or with CI=true, it installs the Debian packages that are
# missing; otherwise it says what is skipped for lack of what.
set -euo pipefail
cd "$(dirname "$0")/.."

fast=
if [ "${1:-}" = --fast ]; then
    fast=yes
    shift
fi

# what tests need -> the Debian packages that have it
packages=(
    mosquitto mosquitto-clients openssl ffmpeg gcc libc6-dev
    python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-tools gstreamer1.0-plugins-{base,good,bad,ugly} gstreamer1.0-libav
)

log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()

say() { printf '%s\n' "$*"; }

die() {
    say "test.sh: $*" >&2
    exit 1
}

# check NAME COMMAND...: run it, say how long it took, remember whether it failed
check() {
    local name=$1 start=$SECONDS result=ok
    shift
    say "==> $name"
    "$@" || { result=FAILED && failed+=("$name"); }
    say "    $name: $result, $((SECONDS - start)) s"
}

# prepare NAME COMMAND...: as check, but quiet unless it fails, and then the end
prepare() {
    local name=$1 start=$SECONDS
    shift
    say "==> $name"
    "$@" >"$log" 2>&1 || { cat "$log" && die "$name failed"; }
    say "    $name: $((SECONDS - start)) s"
}

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3.13 python3.14 python3; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

may_install() {
    command -v apt-get >/dev/null && { [ "$(id -u)" = 0 ] || [ "${CI:-}" = true ]; }
}

install_packages() {
    local as_root=()
    [ "$(id -u)" = 0 ] || as_root=(sudo -n)
    "${as_root[@]}" apt-get update
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
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

fill_venv() {
    # --no-deps: the lock is whole; a resolver would refuse "coverage[toml]" once a later coverage than the locked one is out
    .venv/bin/python -m pip install --disable-pip-version-check --only-binary :all: --require-hashes --no-deps -r requirements.lock &&
        .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

python=$(find_python) || die "needs Python 3.11 to 3.14: sudo apt-get install python3 python3-venv"
stamp="$("$python" --version) $PWD $(sha256sum <requirements.lock)"
if [ "$(cat .venv/stamp 2>/dev/null)" != "$stamp" ]; then
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        may_install || die "$python cannot make virtual environments: sudo apt-get install python3-venv"
        prepare "install python3-venv" install_packages python3-venv
    fi
    prepare "make .venv with $python" "$python" -m venv --clear .venv
    prepare "install requirements.lock into .venv" fill_venv
    printf '%s\n' "$stamp" >.venv/stamp
fi
export PATH="$PWD/.venv/bin:$PATH"

if [ -n "$fast" ]; then
    check "unit tests" pytest -o testpaths=tests/unit "$@"
else
    need "${packages[@]}"
    check "ruff check" ruff check
    check "ruff format" ruff format --check
    check "mypy" mypy
    check "import-linter" lint-imports --no-logo
    if command -v shellcheck >/dev/null; then
        check "shellcheck" shellcheck scripts/*.sh .ci/run
    else
        say "==> shellcheck: skipped, it is not installed"
    fi
    check "tests" pytest --cov --cov-report=term-missing:skip-covered "$@"
fi

[ ${#failed[@]} = 0 ] || die "failed: $(IFS=, && printf '%s' "${failed[*]}")"
say "all passed in $SECONDS s"

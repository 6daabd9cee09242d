# shellcheck shell=bash
# The virtual environment that the scripts share: sourced by them, from the project's folder.
#
# `make_venv` makes .venv from requirements.lock, or leaves it alone where it is up to date. As root, or with CI=true, Debian's
# python3-venv is installed where it is missing.

log=$(mktemp)
trap 'rm -f "$log"' EXIT

say() { printf '%s\n' "$*"; }

die() {
    say "${0##*/}: $*" >&2
    exit 1
}

# prepare NAME COMMAND...: run it, quiet unless it fails, and then the end; at a terminal, seconds are counted
prepare() {
    local name=$1 start=$SECONDS status=0 clock=''
    shift
    say "==> $name"
    if [ -t 1 ]; then
        while sleep 1 && kill -0 $$ 2>/dev/null; do printf '\r    %d s' $((SECONDS - start)); done &
        clock=$!
    fi
    "$@" >"$log" 2>&1 || status=$?
    [ -z "$clock" ] || { kill $clock && printf '\r'; }
    [ $status = 0 ] || { cat "$log" && die "$name failed"; }
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

fill_venv() {
    # --no-deps: the lock is whole; a resolver would refuse "coverage[toml]" once a later coverage than the locked one is out
    .venv/bin/python -m pip install --disable-pip-version-check --only-binary :all: --require-hashes --no-deps -r requirements.lock &&
        .venv/bin/python -m pip install --disable-pip-version-check --no-deps --no-build-isolation --editable .
}

make_venv() {
    local python stamp
    python=$(find_python) || die "needs Python 3.11 to 3.14: sudo apt-get install python3 python3-venv"
    stamp="$("$python" --version) $PWD $(sha256sum <requirements.lock)"
    [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ] && return
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        may_install || die "$python cannot make virtual environments: sudo apt-get install python3-venv"
        prepare "install python3-venv" install_packages python3-venv
    fi
    prepare "make .venv with $python" "$python" -m venv --clear .venv
    prepare "install requirements.lock into .venv" fill_venv
    printf '%s\n' "$stamp" >.venv/stamp
}

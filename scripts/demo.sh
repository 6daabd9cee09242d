#!/usr/bin/env bash
# The whole agent at work, with nothing prepared: a conveyor belt that is drawn, a model that names the parts on it, a broker, and a
# subscriber that shows what it hears. No camera, no root, no network once it is installed.
#
#   scripts/demo.sh [--seconds N] [--save DIR]
#
# It makes .venv where that is missing, and ends after N seconds or on Ctrl-C. --save leaves an annotated clip in DIR.
set -euo pipefail
caller=$PWD
cd "$(dirname "$0")/.."
# shellcheck source=scripts/venv.sh
. scripts/venv.sh

make_venv
rm -f "$log"
project=$PWD
cd "$caller" # where --save is meant from
PYTHONPATH=$project exec "$project/.venv/bin/python" -P -m scripts.demo "$@"

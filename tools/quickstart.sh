#!/usr/bin/env bash
# The quickstart in one command: creates .venv (BasicSR only) if it is missing, then runs tools/quickstart.py.
#   bash tools/quickstart.sh [--data DIR] [--sam-checkpoint FILE] [--vgg-checkpoint FILE] [--iterations N] [--output DIR]
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bash "$root/tools/environment.sh" basicsr
exec "$root/.venv/bin/python" "$root/tools/quickstart.py" "$@"

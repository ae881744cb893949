#!/usr/bin/env bash
# Check everything: lint, format, import contracts, types, tests. All run even where one fails.
#
#   tools/test.sh                                 all tests, the slow ones as well
#   tools/test.sh -m 'not slow' tests/core        arguments go to pytest in place of the whole selection
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
tools/environment.sh full
PATH=$PWD/.venv-full/bin:$PATH

# The tensors of the tests are small: more threads than this cost time, most of all on a shared machine.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-2}

failed=()
check() {
    printf '\n== %s\n' "$*"
    "$@" || failed+=("$1")
}
check ruff check .
check ruff format --check .
check lint-imports
check mypy
check pytest "$@"

# Under pytest's own closing line.
if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo 'All checks passed.'

#!/usr/bin/env bash
# Check everything: lint, format, spelling, import contracts, types, documentation, tests. All run even where one fails.
#
#   tools/test.sh                                     all tests, the slow ones as well
#   tools/test.sh -m 'not slow' tests/core            arguments go to pytest in place of the whole selection
#   tools/test.sh --environment golden [ARGUMENT...]  the tests alone, beside torch 2.1; `full` is the default
#   tools/test.sh -n 0 --pdb tests/core/test_sgr.py   in one process, as a debugger needs; by default two at a time
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
environment=full
if [ "${1:-}" = --environment ]; then
    environment=${2:-}
    [[ $environment == full || $environment == golden ]] || {
        echo "test.sh: --environment: found '$environment', expected full or golden" >&2
        exit 2
    }
    shift 2
fi
tools/environment.sh "$environment"
PATH=$PWD/.venv-$environment/bin:$PATH

# The tensors of the tests are small: two processes of one thread are faster than one process of two.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# The theme announces another product before every build.
export NO_MKDOCS_2_WARNING=1

failed=()
check() {
    printf '\n== %s\n' "$*"
    "$@" || failed+=("$1")
}
if [ "$environment" = full ]; then
    check ruff check .
    check ruff format --check .
    check codespell
    check lint-imports
    check mypy
    check mkdocs build --strict --quiet --site-dir build/site
fi
# A file's tests stay in one process, and with them what they share.
check pytest -n 2 --dist loadfile "$@"

# Under pytest's own closing line.
if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo 'All checks passed.'

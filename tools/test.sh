#!/usr/bin/env bash
# Check everything: lint, format, spelling, import contracts, types, documentation, tests. All run even if one fails.
#
#   tools/test.sh                                     all tests, including slow ones
#   tools/test.sh -m 'not slow' tests/core            arguments go to pytest in place of the whole selection
#   tools/test.sh --environment golden [ARGUMENT...]  only the tests, with torch 2.1; the default is `full`
#   tools/test.sh -n 0 --pdb tests/core/test_sgr.py   in one process, for a debugger; the default is two
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

# The tests' tensors are small: two processes with one thread are faster than one with two.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
# Disables the theme's advertisement before every build.
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
# Tests of a file stay in one process and share fixtures.
check pytest -n 2 --dist loadfile "$@"

# Under pytest's own closing line.
if [ ${#failed[@]} -gt 0 ]; then
    echo "FAILED: ${failed[*]}"
    exit 1
fi
echo 'All checks passed.'

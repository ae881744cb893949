#!/usr/bin/env bash
# Make an environment that requirements/*.lock describes, or make it again where the lock file has changed since.
#
#   tools/environment.sh basicsr [DIR]    BasicSR and this project; DIR is .venv in the project root by default
#   tools/environment.sh full [DIR]       MMagic and the tools that check the project as well; .venv-full by default
#   tools/environment.sh golden [DIR]     BasicSR, MMagic and pytest beside torch 2.1, which most users of MMagic have;
#                                         .venv-golden by default; needs Python 3.11
#
#   PYTHON=python3.12    the interpreter to use; by default python3.11 or else python3
#   SAPD_SKIP_MMCV=1     full, golden: do not compile mmcv. For a machine with a GPU where MMagic's models need mmcv's
#                        CUDA operators: the ones made here run on the CPU only. Install your own mmcv (>= 2.0, < 2.2)
#                        into DIR afterwards. To change your mind, remove DIR.
set -euo pipefail

say() { printf '[%4d s] %s\n' "$SECONDS" "$*"; }
fail() { printf 'environment.sh: %s\n' "$*" >&2; exit 1; }

kind=${1:-}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Not before 3.11, which packages in the lock files ask for; not after 3.12, for which there is no numpy 1.
versions='3.11 3.12'
case $kind in
    basicsr) dir=$root/.venv locks=(basicsr.lock) ;;
    full) dir=$root/.venv-full locks=(basicsr.lock full.lock) ;;
    golden) dir=$root/.venv-golden locks=(golden.lock) versions=3.11 ;;
    *) fail "found '$kind', expected: tools/environment.sh basicsr|full|golden [DIR]" ;;
esac
dir=$(realpath -m "${2:-$dir}")
cd "$root"

mmcv=$(cd requirements && sed -n 's/^mmcv==//p' "${locks[@]}")
recipe=(environment.sh ${mmcv:+build_mmcv.sh mmcv_cxx.sh})

version=''
for candidate in ${PYTHON:-python3.11 python3}; do
    version=$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || continue
    [[ " $versions " == *" $version "* ]] && python=$candidate && break
done
[ "${python:-}" ] ||
    fail "needs Python ${versions/ / or }, found ${version:-none} as ${PYTHON:-python3.11 or python3}. Name one: PYTHON=/path/to/python3.11"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments: install its venv module (package python$version-venv)."

# What the environment is made from. The paths are part of it: a copied environment still points to its first place.
key=$({
    echo "$version $dir $root"
    (cd requirements && cat "${locks[@]}")
    (cd tools && cat "${recipe[@]}")
} | sha256sum | cut -d' ' -f1)
stamp=$dir/.made_by_sapd_plugin

mkdir -p "$dir"
[ -e "$stamp" ] || [ -z "$(ls -A "$dir")" ] ||
    fail "$dir is there already and was not made by this script. Remove it, or name another folder."
exec 9<"$dir"
flock --nonblock 9 || { say "Waiting for another run that is at work on $dir."; flock 9; }

if [ "$(cat "$stamp" 2>/dev/null)" = "$key" ] && "$dir/bin/python" -c '' 2>/dev/null; then
    if [ setup.py -nt "$stamp" ]; then
        say 'setup.py has changed: installing the project again.'
        "$dir/bin/pip" install -qq --no-deps --no-build-isolation -e .
        touch "$stamp"
    fi
    say "The $kind environment is ready: $dir"
    exit
fi

say "Making the $kind environment in $dir with Python $version: about 6 GB on disk."
trap '[ $? = 0 ] || echo "environment.sh: stopped before the end. Run it again: it starts from the beginning." >&2' EXIT
find "$dir" -mindepth 1 -delete
# The key is written last, so that an environment left half-made is told from a whole one.
echo unfinished >"$stamp"
"$python" -m venv "$dir"

# --no-deps: the lists are complete, and the resolver would take numpy 2 and a second opencv. --no-compile: Python
# compiles what it imports, a small part of what is here. pip's errors are shown, its warnings are not.
install() {
    "$dir/bin/python" -m pip install --progress-bar off --disable-pip-version-check --no-deps --no-compile "$@" \
        2> >(grep -v '^WARNING: ' >&2)
}
# Reads pip's lines, of $1 packages, and says every few seconds how far it is.
count() {
    local done=0 shown=$SECONDS line
    while read -r line; do
        case $line in
            Collecting* | Processing* | Requirement*) done=$((done + 1)) ;;
            Installing*)
                say "  All $1 packages are there; unpacking them, which takes a minute or two."
                cat >/dev/null
                return
                ;;
        esac
        if ((SECONDS >= shown + 5)); then
            shown=$SECONDS
            say "  $done of $1 packages downloaded."
        fi
    done
}
# The packages that come as source are built with the pinned setuptools, not with the newest.
install -q $(grep -E '^(setuptools|wheel)==' "requirements/${locks[0]}")
for lock in "${locks[@]}"; do
    say "Installing requirements/$lock."
    wanted=$(grep -E '^[A-Za-z0-9].*==' "requirements/$lock" | grep -v '^mmcv==')
    install --no-build-isolation -r /dev/stdin <<<"$wanted" | count "$(wc -l <<<"$wanted")"
done
if [ "$mmcv" ] && [ "${SAPD_SKIP_MMCV:-}" ]; then
    say 'Leaving out mmcv: SAPD_SKIP_MMCV is set. MMagic does not import until you have installed one.'
elif [ "$mmcv" ]; then
    say 'Installing mmcv. Where no earlier run has kept it, it is compiled first: two to three minutes on two cores.'
    tools/build_mmcv.sh "$dir/bin/python" "$mmcv"
fi

say 'Installing the project itself.'
install -q --no-build-isolation -e .
echo "$key" >"$stamp"
say "The $kind environment is ready: $dir"

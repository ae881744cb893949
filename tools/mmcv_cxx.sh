#!/usr/bin/env bash
# The C++ compiler that tools/build_mmcv.sh hands to mmcv's setup.py; not for use on its own. It calls g++ with
# - light optimisation and no debug information, which take most of the time;
# - torch's headers precompiled into the folder $SAPD_PCH. The first call makes them, as only here are the flags known
#   that they must share with every unit. Calls that come before they are there do without rather than wait.
set -euo pipefail

args=() flags=() compiles='' before=''
for arg in "$@"; do
    case $arg in
        -O* | -g) continue ;;
        -c) compiles=yes ;;
    esac
    args+=("$arg")
    # The flags alone: no source, no output, no dependency file.
    case $arg in
        -c | -o | -MMD | -MF | *.cpp) ;;
        *) [[ $before == -o || $before == -MF ]] || flags+=("$arg") ;;
    esac
    before=$arg
done
args+=(-O1 -g0) flags+=(-O1 -g0)

header=$SAPD_PCH/torch.h
if [ "$compiles" ]; then
    if [ ! -e "$header.gch" ] && mkdir "$SAPD_PCH/taken" 2>/dev/null; then
        echo '#include <torch/types.h>' >"$header"
        g++ "${flags[@]}" -x c++-header "$header" -o "$header.part"
        mv "$header.part" "$header.gch"
    fi
    [ ! -e "$header.gch" ] || args+=(-include "$header")
fi
exec g++ "${args[@]}"

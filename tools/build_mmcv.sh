#!/usr/bin/env bash
# Install mmcv with its compiled operators (CPU only) into an environment that has torch, numpy, ninja and setuptools.
#
#   tools/build_mmcv.sh PYTHON VERSION
#
# The package index has mmcv 2 as source only, and its own build takes a quarter of an hour on two cores, nearly all of it
# spent parsing torch's headers again for each of 77 small files. This one takes two to three minutes on busy cores: the
# 56 files that only pass calls on become one, the others share precompiled headers (tools/mmcv_cxx.sh). The operators are
# the same.
#
# The wheel is kept in ${XDG_CACHE_HOME:-~/.cache}/sapd_plugin/wheels, one folder for each mmcv, torch, Python and recipe:
# pip's own cache knows the version of mmcv only and would hand it to another torch. The folder may be deleted any time.
set -euo pipefail
python=$1 version=$2
tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

key=$("$python" -c '
import importlib.metadata, platform, sys
print("torch" + importlib.metadata.version("torch"), sys.implementation.cache_tag, platform.machine(), sep="-")')
recipe=$(cat "$tools/build_mmcv.sh" "$tools/mmcv_cxx.sh" | sha256sum | cut -c1-12)
kept=${XDG_CACHE_HOME:-$HOME/.cache}/sapd_plugin/wheels/mmcv$version-$key-$recipe

if ! compgen -G "$kept/*.whl" >/dev/null; then
    for need in g++ tar; do
        command -v "$need" >/dev/null || { echo "mmcv has to be compiled, which needs $need: not found." >&2; exit 1; }
    done
    headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ -e "$headers/Python.h" ] || {
        echo "mmcv has to be compiled, which needs Python's headers (package python3-dev): no $headers/Python.h." >&2
        exit 1
    }

    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    "$python" -m pip download -qq --no-deps --no-build-isolation --no-binary mmcv --dest "$work" "mmcv==$version"
    tar -xzf "$work/mmcv-$version.tar.gz" -C "$work"

    # pybind.cpp stays on its own: it is the one long unit, and so is compiled beside the rest.
    cd "$work/mmcv-$version/mmcv/ops/csrc/pytorch"
    for file in *.cpp; do
        [ "$file" = pybind.cpp ] && continue
        mv "$file" "$file.inc"
        echo "#include \"$file.inc\"" >>"$work/dispatch.cpp"
    done
    mv "$work/dispatch.cpp" .

    cd "$work/mmcv-$version"
    # Without a C++ standard of mmcv's, torch sets the one that its headers need: C++17 in torch 2.1, C++20 in 2.14.
    sed -i "s/'-std=c++1[47]'//" setup.py
    mkdir "$work/pch" "$work/wheel"
    # No device is shown to setup.py, or it would go looking for nvcc.
    SAPD_PCH=$work/pch CXX=$tools/mmcv_cxx.sh MAX_JOBS=${MAX_JOBS:-$(nproc)} \
        MMCV_WITH_OPS=1 FORCE_CUDA=0 CUDA_VISIBLE_DEVICES='' \
        "$python" -m pip wheel -qq --no-cache-dir --no-deps --no-build-isolation --wheel-dir "$work/wheel" .

    # Under its final name only when it is whole, as another build may be doing the same.
    mkdir -p "$kept"
    for wheel in "$work"/wheel/*.whl; do
        cp "$wheel" "$kept/$$.part"
        mv "$kept/$$.part" "$kept/$(basename "$wheel")"
    done
fi
"$python" -m pip install -qq --no-deps --no-index "$kept"/*.whl

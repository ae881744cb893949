#!/usr/bin/env bash
# Run question 3 of the second study on a GPU: table noise50_gpu, at the size `small`. It runs in chunks of MINUTES (default:
# 8), each of which ends by itself and is resumed by the next one. Interrupt it at any time; the same command resumes. Needs
# datasets/ by prepare_data.
#
#   SAPD_SAM_CHECKPOINT=mobile_sam.pt bash studies/sam_priors/gpu.sh               # chunk after chunk, until all is done
#   SAPD_SAM_CHECKPOINT=mobile_sam.pt bash studies/sam_priors/gpu.sh once          # one chunk; exit status 75: more is left
#   ... bash studies/sam_priors/gpu.sh 'NAFNet-w32/full' 'Restormer/small/*/0'     # other cells
set -euo pipefail
cd "$(dirname "$0")/../.."
minutes="${MINUTES:-8}" left=75
once=
if [ "${1-}" = once ]; then
    once=yes
    shift
fi
cells=("${@:-*/small}")
masks=datasets/masks
cell=runs/tables/basicsr/noise50_converged/FFDNet-w32/full/pretraining/0
student=("$cell/train.yml" "$cell/experiments/noise50_converged_FFDNet-w32_full_pretraining_0/models/net_g_latest.pth")
run() {
    python -m sapd_plugin reproduce run "$@" --framework basicsr --definitions studies/sam_priors/tables \
        --stop-after "$minutes"
}
segment() { # NAME IMAGES OPTIONS...: masks into the store NAME
    python -m sapd_plugin extract-masks --output "$masks/$1" --images "datasets/$2" --segmenter mobile_sam "${@:3}" \
        --stop-after "$minutes" && touch "$masks/$1.done"
}
chunk() { # The next step: the masks of question 3's arms, with the student that some are cut on, then the table.
    if [ ! -e "$masks/clean.done" ]; then
        segment clean Noise50/train/target --source target || return
    elif [ ! -e "${student[1]}" ]; then
        run noise50_converged || return
    elif [ ! -e "$masks/noise50_restored.done" ]; then
        segment noise50_restored Noise50/train/input --restored-by "${student[@]}" || return
    else
        run noise50_gpu "${cells[@]}" || return
        return 0
    fi
    return "$left"
}
while true; do
    status=0
    chunk || status=$?
    if [ "$status" -ne "$left" ] || [ -n "$once" ]; then
        exit "$status"
    fi
done

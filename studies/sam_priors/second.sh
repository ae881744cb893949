#!/usr/bin/env bash
# Run questions 1 to 4 of the second study (PROTOCOL.md), and collect their results. Interrupt it at any time; the same
# command resumes. On another machine, cells that results/cells.csv holds are skipped; question 1's students, masks and
# trials are made again, because they need each other's files. Needs datasets/ by prepare_data.
#
#   SAPD_SAM_CHECKPOINT=mobile_sam.pt SAPD_VGG_CHECKPOINT=vgg19.pth SEGMENTATIONS=segmentation_gt \
#       bash studies/sam_priors/second.sh
set -euo pipefail
cd "$(dirname "$0")/../.."
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # the order of sums, and so the last digits, depend on it
results=studies/sam_priors/results
run() {
    python -m sapd_plugin reproduce run "$@" --framework basicsr --definitions studies/sam_priors/tables \
        --done "$results/cells.csv"
}
segment() { # NAME IMAGES...: masks into the store datasets/masks/NAME, with further options in the array how
    local store="datasets/masks/$1" images
    for images in "${@:2}"; do
        python -m sapd_plugin extract-masks --images "datasets/$images" --output "$store" --segmenter mobile_sam "${how[@]}"
    done
}

# Masks of the clean photos: the same for all degradations.
how=(--source target)
segment clean Noise50/train/target CBSD68_sigma50/test/target

# Question 1: a student per task, masks extracted from what it restores, and the trial.
for task in 'noise50 noise50_converged Noise50 CBSD68_sigma50' 'heavy_rain heavy_rain HeavyRain CBSD68_heavy_rain' \
    'strong_blur strong_blur StrongBlur CBSD68_strong_blur'; do
    read -r name table train test <<<"$task"
    cell="runs/tables/basicsr/$table/FFDNet-w32/full/pretraining/0"
    student=("$cell/train.yml" "$cell/experiments/${table}_FFDNet-w32_full_pretraining_0/models/net_g_latest.pth")
    # Not --done: its weights are needed, not its numbers alone.
    python -m sapd_plugin reproduce run "$table" FFDNet-w32/full/pretraining --framework basicsr \
        --definitions studies/sam_priors/tables
    how=(--restored-by "${student[@]}")
    segment "${name}_restored" "$test/test/input" "$train/train/input"
    python -m sapd_plugin evaluate-teacher --restored-by "${student[@]}" --pairs "datasets/$train/train" \
        --test-pairs "datasets/$test/test" --shuffled clean --output "$cell/trial" \
        --masks clean=datasets/masks/clean "restored=datasets/masks/${name}_restored" felzenszwalb
    python -m studies.sam_priors.collect --tables "$table"
done

# Question 2: every idea with one seed. The best three get seeds 1 and 2; the winner's recipe becomes question 3's.
run noise50_ideas 'NAFNet-w8/full/*/0'
python -m studies.sam_priors.collect --tables noise50_ideas

# Question 3: a student, three regimes, five seeds.
for table in noise50_scratch noise50_few noise50_trained; do
    run "$table" 'NAFNet-w8/full/*'
    python -m studies.sam_priors.collect --tables "$table"
done

# Question 4: MobileSAM's masks of what stock and the recipe with SGR restored, against those of the clean photos and annotators'.
for seed in 0 1 2 3 4; do
    cells="runs/tables/basicsr/noise50_trained/NAFNet-w8/full"
    for arm in stock student_sgr; do
        python tools/basicsr_test.py -opt "$cells/$arm/$seed/test_CBSD68_sigma50.yml" \
            --force_yml val:save_img=true "name=${arm}_$seed"
    done
    test=datasets/CBSD68_sigma50/test
    degraded=(--degraded "$test/input")
    [ "$seed" = 0 ] || degraded=() # the same for all seeds
    python -m sapd_plugin evaluate-segmentation --clean "$test/target" "${degraded[@]}" \
        --restored "stock=results/stock_$seed/visualization/CBSD68_sigma50" \
        "sapd=results/student_sgr_$seed/visualization/CBSD68_sigma50" \
        --human "${SEGMENTATIONS:-segmentation_gt}" --human-set cbsd68 --segmenter mobile_sam \
        --output "$cells/student_sgr/$seed/segmentation/CBSD68_sigma50"
done
python -m studies.sam_priors.collect --tables noise50_trained

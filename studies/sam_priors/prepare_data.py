r"""Make all data of the study from real photos: training, validation and test pairs, and annotators' masks.

python -m studies.sam_priors.prepare_data --photos train_photos --rain100l rain100l --cbsd68 cbsd68 \
    --levin levin_deblur --segmentations segmentation_gt

--photos holds 365 photos of BSDS500 that are in none of the test sets. Every 9th of the sorted photos from the 5th on,
at most 40, is for validation (val), the others for training (train). Below --output (datasets), with {input,target}:

    MiniRain/{train,val}     synthetic rain, preset light
    MiniNoise/{train,val}    noise of sigma 15 to 55, one per image, in 8-bit files
    MiniBlur/{train,val}     camera shake: half with the kernels of Levin et al., half with random trajectories of 9 to
                             25 pixels; noise of 1 %
    Noise50/{train,val}      noise of sigma 50, in 8-bit files; few and curve: 24 of train, 8 of val
    HeavyRain/{train,val}    synthetic rain, preset heavy
    StrongBlur/{train,val}   camera shake: random trajectories of 21 to 31 pixels; noise of 1 %
    MiniHuman/train          synthetic rain on the photos of the test sets that annotators segmented, each photo once
                             (only to compare masks: never train on it a network that is tested on these sets)
    Rain100L/test            links to the real pairs
    CBSD68_sigma25/test, CBSD68_sigma50/test, CBSD68_blur/test, CBSD68_rain/test, CBSD68_heavy_rain/test,
    CBSD68_strong_blur/test
    Levin/test               32 real camera shakes and their sharp images, cropped to the area they share
    kernels/Levin            the kernels in use: rotated as the real photos require, and centred by mass
    masks/MiniHuman_people   mask store: for each photo, the annotator who covers the others best

Every parameter is in NAME/SPLIT/parameters.json. Interrupt it at any time; rerun the same command to resume. Exit
status: 0 done, 2 a mistake in the command or the data, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.cli.common import exit_status
from sapd_plugin.datasets.manifest import load_manifest
from sapd_plugin.datasets.run import Finish, prepare
from sapd_plugin.datasets.synthetic.job import make_pairs
from sapd_plugin.errors import SAPDError, check_count
from studies.sam_priors.data.annotators import Segmented, segmented_photos, write_masks
from studies.sam_priors.data.levin import find_shakes, make_levin_set, study_kernels, write_kernels
from studies.sam_priors.data.sets import COUNT, list_photos, split_photos, synthetic_sets


def run(options: argparse.Namespace) -> None:
    """Check all inputs, then make what is missing."""
    check_count('--workers', options.workers)
    counts = (None, None, None) if options.any_count else (COUNT, 100, 68)
    photos = list_photos('--photos', options.photos, counts[0])
    clean = list_photos('--rain100l', options.rain100l / 'clean', counts[1])
    cbsd68 = list_photos('--cbsd68', options.cbsd68, counts[2])
    if tested := sorted(photos.keys() & cbsd68.keys()):
        raise SAPDError(f'--photos: found {tested[0]}, which is in --cbsd68, too; expected no test photo.')
    split = split_photos(photos)
    if not split['val']:
        raise SAPDError(f'--photos: found {len(photos)} photos in {options.photos}, expected 5 or more.')
    shakes = find_shakes(options.levin, options.any_count)
    segmented: dict[str, Segmented] = {}
    if options.segmentations is not None:
        sets = {'rain100l': clean, 'cbsd68': cbsd68}
        segmented = segmented_photos(options.segmentations, sets, options.any_count)

    finish = Finish(None, False, options.workers)
    prepare(
        load_manifest('rain100l'), options.rain100l, options.output, ['test'], 'symlink', finish, False,
        options.any_count, False, False,
    )  # fmt: skip
    kernels = write_kernels(options.output / 'kernels/Levin', study_kernels(options.levin, shakes))
    for one in synthetic_sets(split, cbsd68, {key: one.photo for key, one in segmented.items()}, kernels):
        # With PNG, a small student would spend half of each step on decoding.
        suffix = '.bmp' if one.place.endswith(('/train', '/few')) else '.png'
        make_pairs(one.degradation, one.photos, options.output / one.place, one.seed, 1, finish, False, suffix)
    make_levin_set(options.output / 'Levin/test', shakes, kernels)
    if segmented:
        write_masks(options.output / 'masks/MiniHuman_people', options.segmentations, segmented)
    else:
        print("MiniHuman: left out; it needs annotators' segmentations, see --segmentations")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--photos', type=Path, required=True, help='folder of the clean training photos')
    parser.add_argument('--rain100l', type=Path, required=True, help='folder with rainy/ and clean/')
    parser.add_argument('--cbsd68', type=Path, required=True, help='folder of the 68 photos')
    parser.add_argument('--levin', type=Path, required=True, help='folder with blurred/, sharp/ and kernels/')
    parser.add_argument(
        '--segmentations', type=Path, help="annotators' .mat files and index.csv; if omitted, no MiniHuman"
    )
    parser.add_argument('--output', type=Path, default=Path('datasets'), help='folder of all data sets (datasets)')
    parser.add_argument('--any-count', action='store_true', help='accept any number of photos (for trials)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N', help='threads')
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == '__main__':
    sys.exit(main())

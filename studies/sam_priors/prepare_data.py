"""Make all data of the controlled study on real photographs: training, validation and test pairs, and people's masks.

python tools/prepare_study.py --photos train_photos --rain100l rain100l --cbsd68 cbsd68 --levin levin_deblur \
    --segmentations segmentation_gt

--photos: 365 photos of BSDS500 that are in none of the test sets. Of the sorted ones every 9th from the 5th on, the
first 40 of these, validates (val), the rest trains (train). Below --output (datasets), each as {input,target}:

    MiniRain/{train,val}     synthetic rain, preset light
    MiniNoise/{train,val}    noise of sigma 15 to 55, one for each image, in 8-bit files
    MiniBlur/{train,val}     camera shake: half with the kernels of Levin et al., half with random trajectories of 9 to
                             25 pixels; noise of 1 %
    MiniHuman/train          synthetic rain on the photos of the test sets that people segmented, each photo once (only
                             for comparing masks: it must never train what is tested on these sets)
    Rain100L/test            links to the real pairs
    CBSD68_sigma25/test, CBSD68_sigma50/test, CBSD68_blur/test, CBSD68_rain/test
    Levin/test               32 real camera shakes and their sharp images, cropped to what they share
    kernels/Levin            the kernels as they are used: turned as the real photos say, and centred by mass
    masks/MiniHuman_people   a mask store: of the people who segmented a photo, the one who covers the others best

Every parameter is in NAME/SPLIT/parameters.json. Stop it at any time; the same command goes on. Exit status: 0 done, 2
something is wrong with the command or the data, 130 stopped.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.cli.common import exit_status
from sapd_plugin.datasets.finishing import Finish
from sapd_plugin.datasets.manifest import load_manifest
from sapd_plugin.datasets.run import prepare
from sapd_plugin.datasets.synthetic.job import make_pairs
from sapd_plugin.errors import SAPDError
from studies.sam_priors.data.levin import find_shakes, study_kernels
from studies.sam_priors.data.levin_set import make_levin_set, write_kernels
from studies.sam_priors.data.people_set import Segmented, segmented_photos, write_people
from studies.sam_priors.data.photos import list_photos, split_photos
from studies.sam_priors.data.sets import SyntheticSet, light_rain, synthetic_sets


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--photos', type=Path, required=True, help='folder of the clean training photos')
    parser.add_argument('--rain100l', type=Path, required=True, help='folder with rainy/ and clean/')
    parser.add_argument('--cbsd68', type=Path, required=True, help='folder of the 68 photos')
    parser.add_argument('--levin', type=Path, required=True, help='folder with blurred/, sharp/ and kernels/')
    parser.add_argument('--segmentations', type=Path, help="people's: .mat files and index.csv; without, no MiniHuman")
    parser.add_argument('--output', type=Path, default=Path('datasets'), help='folder of all datasets (datasets)')
    parser.add_argument('--any-count', action='store_true', help='take what is there, whatever its number (for trials)')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N', help='threads')
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> None:
    """Look at all that is given, then make what is missing."""
    if options.workers < 1:
        raise SAPDError(f'--workers: found {options.workers}, expected 1 or more.')
    counts = (None, None, None) if options.any_count else (365, 100, 68)
    photos = list_photos('--photos', options.photos, counts[0])
    clean = list_photos('--rain100l', options.rain100l / 'clean', counts[1])
    cbsd68 = list_photos('--cbsd68', options.cbsd68, counts[2])
    tested = sorted(photos.keys() & cbsd68.keys())
    if tested:
        raise SAPDError(f'--photos: found {tested[0]}, which is in --cbsd68, too; expected none that is tested on.')
    split = split_photos(photos)
    if not split['val']:
        raise SAPDError(f'--photos: found {len(photos)} photos in {options.photos}, expected 5 or more.')
    shakes = find_shakes(options.levin, options.any_count)
    people: dict[str, Segmented] = {}
    if options.segmentations is not None:
        sets = {'rain100l': clean, 'cbsd68': cbsd68}
        people = segmented_photos(options.segmentations, sets, options.any_count)

    finish = Finish(None, False, options.workers)
    manifest = load_manifest('rain100l')
    prepare(
        manifest, options.rain100l, options.output, ['test'], 'symlink', finish, False, options.any_count, False, False
    )
    kernels = write_kernels(options.output / 'kernels/Levin', study_kernels(options.levin, shakes))
    made = synthetic_sets(split, cbsd68, kernels)
    if people:
        made.append(SyntheticSet('MiniHuman/train', light_rain(), {key: one.photo for key, one in people.items()}, 0))
    for one in made:
        # Half of a step of a small student would be spent on decoding PNG.
        suffix = '.bmp' if one.place.endswith('/train') else '.png'
        make_pairs(one.degradation, one.photos, options.output / one.place, one.seed, 1, finish, False, suffix)
    make_levin_set(options.output / 'Levin/test', shakes, kernels, options.workers)
    if people:
        write_people(options.output / 'masks/MiniHuman_people', options.segmentations, people)
    else:
        print("MiniHuman: left out, for people's segmentations are needed; --segmentations names their folder")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    return exit_status(lambda: run(options))


if __name__ == '__main__':
    sys.exit(main())

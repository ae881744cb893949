r"""Measure how well masks of restored images agree with those of the clean images.

sapd evaluate-segmentation --clean datasets/Rain100L/test/target --degraded datasets/Rain100L/test/input \
    --restored stock=results/stock/visualization/Rain100L sapd=results/sapd/visualization/Rain100L \
    --segmenter sam --checkpoint sam_vit_b_01ec64.pth --output runs/segmentation_rain100l

Writes below --output: table.md and table.csv (means and paired differences to the first arm, with 95 % confidence
intervals over the images), images.csv (every image), sheet.png (images and masks side by side), and masks/, which a
second run reuses. --human adds agreement with human annotations (BSDS .mat files).

An arm's images are named like the clean ones, or with one common suffix, as BasicSR's test (NAME_SUFFIX) and MMagic's
(NAME_STEP) name them. If there are several suffixes, --name-template stock='{}_5000' selects one. MMagic's pictures of
ground truth, input and restored image side by side need --side-by-side.

Exit status: 0 done, 2 a mistake in the command, 130 interrupted; rerun the same command to resume.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from sapd_plugin.cli.common import (
    add_segmenter_options,
    build_from_options,
    check_counts,
    choose_device,
    describe,
    read_pairs,
    run_command,
)
from sapd_plugin.errors import SAPDError, check_keys
from sapd_plugin.evaluation.agreement import AGREEMENT, DESCRIPTIVE, PEOPLE
from sapd_plugin.evaluation.arms import CLEAN, DEGRADED, Clean, arm_photos
from sapd_plugin.evaluation.people import People
from sapd_plugin.evaluation.segmentation import extract_arms, score, sheet
from sapd_plugin.evaluation.statistics import markdown, write_csv, write_images_csv
from sapd_plugin.home import expanded
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.inspection.overlays import write_png


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('--clean', type=Path, required=True, help='folder of the clean images')
    add(
        '--restored', nargs='+', required=True, metavar='ARM=DIR', help='folders of restored images, the baseline first'
    )
    add('--degraded', type=Path, help='folder of the degraded images, as another arm')
    add('--human', type=Path, help='folder of human annotations, BSDS .mat files')
    add('--human-set', help='the set to use if its index.csv names several')
    add('--name-template', nargs='+', default=[], metavar='ARM=TEMPLATE', help="names of an arm's images, '{}_stock'")
    add('--side-by-side', action='store_true', help='take the right end of wider pictures')
    add('--limit', type=int, metavar='N', help='only the first N images by name')
    add('--output', type=Path, required=True, help='folder for the results; resumed if unfinished')
    add('--sheet', type=int, default=4, metavar='N', help='images on the contact sheet (default: 4)')
    add_segmenter_options(parser)


def run(options: argparse.Namespace) -> None:
    """Check everything, extract the masks, measure, and write the results."""
    check_counts(options, limit=1, sheet=0)
    restored = read_pairs('--restored', options.restored)
    templates = read_pairs('--name-template', options.name_template)
    for name in (CLEAN, DEGRADED):
        if name in restored:
            raise SAPDError(f'--restored: found an arm called {name}, expected another name: --{name} uses it.')
    check_keys('--name-template', templates, [*restored, DEGRADED])
    clean = Clean.find(options.clean, options.limit)
    keys, base = list(clean.files), next(iter(restored))
    people = None
    if options.human is not None:
        people = People(options.human, options.human_set)
        people.check(keys)
    arms = {}
    if options.degraded is not None:
        arms[DEGRADED] = arm_photos(DEGRADED, options.degraded, clean, templates.get(DEGRADED), scaled=True)
    for name, folder in restored.items():
        arms[name] = arm_photos(name, expanded(folder), clean, templates.get(name), options.side_by_side)
    arms[CLEAN] = arm_photos(CLEAN, options.clean, clean)
    device = choose_device(options, Rank())
    segmenter = build_from_options(options, device)
    about = list(describe(segmenter, device))
    print(*about, sep='\n')

    masks = extract_arms(arms, options.output / 'masks', segmenter)
    scores = score(masks, keys, people)
    shown = {arm: columns for arm, columns in scores.items() if arm != CLEAN or people is not None}
    measures = {**AGREEMENT, **(PEOPLE if people is not None else {})}
    table = '\n'.join(
        [
            markdown(shown, base, list(measures), list(DESCRIPTIVE)),
            '',
            f'{len(keys)} images; mean [95 % confidence interval over the images]; no statement about other trainings.',
            "Intervals are Student's, and end where the measure does: at 0 and 1, differences at -1 and 1.",
            '',
            *(f'- {name}: {text}' for name, text in {**measures, **DESCRIPTIVE}.items()),
            *(f'- {line}' for line in about),
        ]
    )
    (options.output / 'table.md').write_text(f'{table}\n', encoding='utf-8')
    write_csv(options.output / 'table.csv', scores, base)
    write_images_csv(options.output / 'images.csv', scores, keys)
    if options.sheet:
        write_png(options.output / 'sheet.png', sheet(masks, keys, options.sheet))
    print(f'\n{table}\n\nresults: {options.output}')


main = partial(run_command, 'evaluate-segmentation', __doc__, add_arguments, run)

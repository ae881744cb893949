"""Downstream segmentation: how well masks cut from restored images agree with those of the clean images.

python tools/evaluate_segmentation.py --clean datasets/Rain100L/test/target --degraded datasets/Rain100L/test/input \
    --restored stock=results/stock/visualization/Rain100L sapd=results/sapd/visualization/Rain100L \
    --segmenter sam --checkpoint sam_vit_b_01ec64.pth --output runs/segmentation_rain100l

Writes below --output: table.md and table.csv (means and paired differences to the first arm, with 95 % confidence
intervals over the images), images.csv (every image), sheet.png (photos and masks side by side), and masks/, which a
second run takes up. --human adds agreement with people's segmentations (BSDS .mat files).

An arm's images are named as the clean ones, or with an ending that all share, as BasicSR's test (NAME_SUFFIX) and
MMagic's (NAME_STEP) name them; where several endings are there, --name-template stock='{}_5000' chooses. MMagic's
pictures that hold ground truth, input and restored image side by side need --side-by-side.

Exit status: 0 done, 2 a mistake in the command, 130 stopped; the same command goes on.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.cli.segmenter_options import add_segmenter_options, build_from_options, choose_device, describe
from sapd_plugin.errors import SAPDError, check_keys
from sapd_plugin.evaluation.agreement import AGREEMENT, DESCRIPTIVE, PEOPLE
from sapd_plugin.evaluation.arms import CLEAN, DEGRADED, Clean, arm_photos
from sapd_plugin.evaluation.people import People
from sapd_plugin.evaluation.segmentation import cut_masks, score, sheet
from sapd_plugin.evaluation.statistics import markdown, write_csv, write_images_csv
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.inspection.overlays import write_png


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--clean', type=Path, required=True, help='folder of the clean images')
    parser.add_argument(
        '--restored',
        nargs='+',
        required=True,
        metavar='ARM=DIR',
        help='folders of restored images; the first is the base',
    )
    parser.add_argument('--degraded', type=Path, help='folder of the degraded images, as one more arm')
    parser.add_argument('--human', type=Path, help="folder of people's segmentations, BSDS .mat files")
    parser.add_argument('--human-set', help='where its index.csv names several sets: which one')
    parser.add_argument(
        '--name-template', nargs='+', default=[], metavar='ARM=TEMPLATE', help="names of an arm's images, '{}_stock'"
    )
    parser.add_argument('--side-by-side', action='store_true', help='take the right end of pictures that are wider')
    parser.add_argument('--limit', type=int, metavar='N', help='the first N images by name only')
    parser.add_argument('--output', type=Path, required=True, help='folder for the results, new or begun')
    parser.add_argument('--sheet', type=int, default=4, metavar='N', help='images on the contact sheet (default: 4)')
    add_segmenter_options(parser)
    return parser.parse_args(arguments)


def read_pairs(option: str, items: Sequence[str]) -> dict[str, str]:
    """Read ARM=VALUE items."""
    pairs: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition('=')
        if not equals or not value or not re.fullmatch(r'[\w.+-]+', name) or name.startswith('.'):
            raise SAPDError(f"{option}: found '{item}', expected ARM=..., the arm in letters, digits and _ . + -.")
        if name in pairs:
            raise SAPDError(f'{option}: found {name} twice, expected each arm once.')
        pairs[name] = value
    return pairs


def run(options: argparse.Namespace) -> str:
    """Check everything, cut the masks, measure, write; returns the table."""
    for name, least in (('limit', 1), ('sheet', 0)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            raise SAPDError(f'--{name}: found {getattr(options, name)}, expected {least} or more.')
    restored = read_pairs('--restored', options.restored)
    templates = read_pairs('--name-template', options.name_template)
    for name in (CLEAN, DEGRADED):
        if name in restored:
            raise SAPDError(f'--restored: found an arm called {name}, expected another name: it is that of --{name}.')
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
        arms[name] = arm_photos(name, Path(folder), clean, templates.get(name), options.side_by_side)
    arms[CLEAN] = arm_photos(CLEAN, options.clean, clean)
    device = choose_device(options, Rank())
    segmenter = build_from_options(options, device)
    about = list(describe(segmenter, device))
    print(*about, sep='\n')

    masks = cut_masks(arms, options.output / 'masks', segmenter)
    scores = score(masks, keys, people)
    shown = {arm: columns for arm, columns in scores.items() if arm != CLEAN or people is not None}
    measures = {**AGREEMENT, **(PEOPLE if people is not None else {})}
    table = '\n'.join(
        [
            markdown(shown, base, list(measures), list(DESCRIPTIVE)),
            '',
            f'{len(keys)} images; mean [95 % confidence interval over the images]; no statement on other trainings.',
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
    return table


def stop(*_: object) -> None:
    """Treat SIGTERM as Ctrl-C."""
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, stop)
    try:
        print(f'\n{run(options)}\n\nresults: {options.output}')
    except KeyboardInterrupt:
        print('Stopped. The same command goes on.', file=sys.stderr)
        return 130
    except SAPDError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""Show and verify a mask store: its contents, damaged and missing masks, and pictures.

sapd inspect-masks masks
sapd inspect-masks masks --against photos --overlays 8 --contact-sheet sheet.png
sapd inspect-masks masks --against photos --all
sapd inspect-masks masks --compare other_masks --json

Every record is read and verified. --against compares 32 of the images, or all, with the digests of their masks. Exit
status: 0 no problems, 1 a mask that is damaged, missing or of a different image, 2 a mistake in the command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from tqdm import tqdm

from sapd_plugin.cli.common import DONE, FINDING, run_command
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.sources import Photos, open_photos
from sapd_plugin.priors.inspection.comparison import compare_stores
from sapd_plugin.priors.inspection.images import compare_images
from sapd_plugin.priors.inspection.overlays import choose_keys, contact_sheet, write_overlays, write_png
from sapd_plugin.priors.inspection.report import inspect_store
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import template_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('store', type=Path, help='folder that sapd extract-masks wrote')
    add('--against', type=Path, help='list the images of a folder, list or LMDB without a mask, or with another')
    add('--all', action='store_true', help='compare all images of --against with their masks, not 32 of them')
    add('--mask-filename-tmpl', default='{}', help="as in training, if names differ: '{}_restored'")
    add('--overlays', nargs='+', default=[], metavar='N|KEY', help='pictures of N random masks or of these keys')
    add('--contact-sheet', type=Path, metavar='FILE', help='one picture of many masks (those of --overlays, or 24)')
    add('--images', type=Path, help='images below the masks in pictures; default: those of --against')
    add('--root', type=Path, help="folder that a list's paths are relative to")
    add('--output', type=Path, help='folder for the overlays (default: STORE/overlays)')
    add('--seed', type=int, default=0, help='of the random choice')
    add('--compare', type=Path, metavar='OTHER', help='match the regions with those of another store')
    add('--json', action='store_true', help='print JSON, with complete lists')


def run(options: argparse.Namespace) -> int:
    """Inspect the store and print the result."""
    store = MaskStore(options.store)
    if options.all and options.against is None:
        raise SAPDError('--all: found without --against, expected the images to compare.')
    photos = None if options.against is None else open_named(options.against, options)
    expected = None if photos is None else [key for key, _ in photos.named]
    found = inspect_store(store, expected, bar('inspect'))
    images = None
    if photos is not None:
        found.problems += [f'image {name}: {reason}' for name, reason in photos.failed]
        images = compare_images(store, photos, options.all, sys.stderr.isatty())
    comparison = None
    if options.compare is not None:
        comparison = compare_stores(store, MaskStore(options.compare), bar('compare'))
    if options.json:
        others = {'images': images and images.to_json(), 'comparison': comparison and comparison.to_json()}
        result = {**found.to_json(), **others}
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print(*found.lines(), *(images.lines() if images is not None else ()), sep='\n')
        if comparison is not None:
            print('', *comparison.lines(), sep='\n')
    draw(store, options)
    sound = found.whole and (images is None or images.sound)
    return DONE if sound and (comparison is None or comparison.same_images) else FINDING


def open_named(place: Path, options: argparse.Namespace) -> Photos:
    """List images by the keys that their masks have."""
    photos = open_photos(place, options.root)
    if options.mask_filename_tmpl != '{}':
        photos.named = [(template_key(key, options.mask_filename_tmpl), name) for key, name in photos.named]
    return photos


def draw(store: MaskStore, options: argparse.Namespace) -> None:
    """Write the requested pictures."""
    place = options.images or options.against
    photos = None if place is None else open_named(place, options)
    if options.overlays:
        keys = choose_keys(store, options.overlays, options.seed)
        for path in write_overlays(store, keys, options.output or options.store / 'overlays', photos):
            print(f'overlay: {path}', file=sys.stderr)
    if options.contact_sheet is not None:
        keys = choose_keys(store, options.overlays or ['24'], options.seed)
        write_png(options.contact_sheet, contact_sheet(store, keys, photos))
        print(f'contact sheet: {options.contact_sheet}', file=sys.stderr)


def bar(title: str) -> Callable[[int, int], None]:
    """Return a progress bar on stderr that takes (done, total); silent if stderr is a file."""
    progress = tqdm(desc=title, unit='mask', leave=False, disable=None)

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.update(done - progress.n)
        if done == total:
            progress.close()

    return show


main = partial(run_command, 'inspect-masks', __doc__, add_arguments, run, interrupted='Interrupted.')

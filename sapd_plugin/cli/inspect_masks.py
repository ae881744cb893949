"""Look into a mask store: what is in it, whether it is sound, what is missing, and how its masks look.

python tools/inspect_masks.py masks
python tools/inspect_masks.py masks --against photos --overlays 8 --contact-sheet sheet.png
python tools/inspect_masks.py masks --compare other_masks --json

Every record is read and verified. Exit status: 0 sound, 1 something is wrong or missing, 2 a mistake in the command.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.sources import open_photos
from sapd_plugin.priors.inspection.comparison import compare_stores
from sapd_plugin.priors.inspection.overlays import choose_keys, contact_sheet, write_overlays, write_png
from sapd_plugin.priors.inspection.report import inspect_store
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import template_key


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('store', type=Path, help='folder that tools/extract_masks.py wrote')
    parser.add_argument('--against', type=Path, help='list the images of a folder, list or LMDB that have no mask')
    parser.add_argument('--mask-filename-tmpl', default='{}', help="as in training, where names differ: '{}_restored'")
    parser.add_argument(
        '--overlays', nargs='+', default=[], metavar='N|KEY', help='pictures of N random masks or of these'
    )
    parser.add_argument(
        '--contact-sheet', type=Path, metavar='FILE', help='one picture of many masks (of --overlays or 24)'
    )
    parser.add_argument('--images', type=Path, help='photos below the masks in pictures; by default those of --against')
    parser.add_argument('--root', type=Path, help="folder that a list's paths are relative to")
    parser.add_argument('--output', type=Path, help='folder for the overlays (default: STORE/overlays)')
    parser.add_argument('--seed', type=int, default=0, help='of the random choice')
    parser.add_argument('--compare', type=Path, metavar='OTHER', help='match the regions with those of another store')
    parser.add_argument('--json', action='store_true', help='print JSON, nothing cut short')
    return parser.parse_args(arguments)


def run(options: argparse.Namespace) -> bool:
    """Do what was asked and print it; True where nothing is wrong."""
    store = MaskStore(options.store)
    expected = None
    if options.against is not None:
        photos = open_photos(options.against, options.root)
        expected = [template_key(key, options.mask_filename_tmpl) for key, _ in photos.named]
    found = inspect_store(store, expected, bar('inspect'))
    comparison = None
    if options.compare is not None:
        comparison = compare_stores(store, MaskStore(options.compare), bar('compare'))
    if options.json:
        result = {**found.to_json(), 'comparison': comparison and comparison.to_json()}
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        print(*found.lines(), sep='\n')
        if comparison is not None:
            print('', *comparison.lines(), sep='\n')
    draw(store, options)
    return found.whole and (comparison is None or comparison.same_images)


def draw(store: MaskStore, options: argparse.Namespace) -> None:
    """Write the pictures that were asked for."""
    place = options.images or options.against
    photos = None if place is None else open_photos(place, options.root)
    if photos is not None and options.mask_filename_tmpl != '{}':
        photos.named = [(template_key(key, options.mask_filename_tmpl), name) for key, name in photos.named]
    if options.overlays:
        keys = choose_keys(store, options.overlays, options.seed)
        for path in write_overlays(store, keys, options.output or options.store / 'overlays', photos):
            print(f'overlay: {path}', file=sys.stderr)
    if options.contact_sheet is not None:
        keys = choose_keys(store, options.overlays or ['24'], options.seed)
        write_png(options.contact_sheet, contact_sheet(store, keys, photos))
        print(f'contact sheet: {options.contact_sheet}', file=sys.stderr)


def bar(title: str) -> Callable[[int, int], None]:
    """A progress bar on stderr that is fed (done, total); none where stderr is a file."""
    progress = tqdm(desc=title, unit='mask', leave=False, disable=None)

    def show(done: int, total: int) -> None:
        progress.total = total
        progress.update(done - progress.n)
        if done == total:
            progress.close()

    return show


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    sys.stdout.reconfigure(errors='backslashreplace')  # type: ignore[union-attr]
    try:
        return 0 if run(options) else 1
    except SAPDError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2


if __name__ == '__main__':
    sys.exit(main())

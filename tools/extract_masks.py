"""Cut masks of photos into a mask store.

python tools/extract_masks.py --images photos --output masks --segmenter felzenszwalb
python tools/extract_masks.py --images photos --output masks --segmenter sam --checkpoint sam_vit_b_01ec64.pth \
    --set preset=stock --set points_per_side=16 --device cuda

Stop it with Ctrl-C and start it again with the same command: it goes on where it was. Exit status: 0 all done, 1 some
images have no mask (listed at the end), 2 a mistake in the command, 130 stopped.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction import extract_masks, parse_shard, write_overlays
from sapd_plugin.priors.segmenters import SEGMENTERS, build_segmenter
from sapd_plugin.priors.store import MaskStore


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--images', type=Path, required=True, help='folder (with sub-folders), or a path a line')
    parser.add_argument('--root', type=Path, help="folder that a list's paths are relative to")
    parser.add_argument('--output', type=Path, required=True, help='folder of the mask store, new or begun')
    parser.add_argument('--segmenter', required=True, help=', '.join(SEGMENTERS))
    parser.add_argument('--checkpoint', type=Path, help='SAM: the checkpoint file')
    parser.add_argument('--device', help='SAM: cpu (default), cuda, cuda:1, ...')
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', dest='settings', help="a segmenter's setting"
    )
    parser.add_argument('--source', default='images', help='kind of images, kept in the store: restored, clean, ...')
    parser.add_argument('--shard', default='0/1', metavar='I/N', help='do part I (from 0) of N, into shard I')
    parser.add_argument('--overlays', type=int, default=0, metavar='N', help='write N pictures to STORE/overlays')
    return parser.parse_args(arguments)


def read_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Bring --set, --checkpoint and --device together; values are JSON, or else text."""
    settings: dict[str, Any] = {}
    for item in options.settings:
        key, equals, value = item.partition('=')
        if not equals:
            raise SAPDError(f'--set: found {item!r}, expected key=value.')
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    if options.checkpoint is not None:
        settings['checkpoint'] = str(options.checkpoint)
    if options.device is not None:
        settings['device'] = options.device
    return settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = parse_arguments(arguments)
    try:
        shard = parse_shard(options.shard)
        segmenter = build_segmenter(options.segmenter, **read_settings(options))
        print(f'segmenter: {segmenter.settings["segmenter"]} {segmenter.settings["parameters"]}')
        if 'checkpoint_sha256' in segmenter.settings:
            checkpoint = getattr(segmenter, 'checkpoint', '')
            print(f'checkpoint: {checkpoint} sha256 {segmenter.settings["checkpoint_sha256"]}')
        report = extract_masks(
            options.images, options.output, segmenter, root=options.root, source=options.source, shard=shard
        )
        print(*report.lines(), sep='\n')
        store = MaskStore(options.output)
        print(f'store: {options.output}, {len(store)} masks, fingerprint {store.fingerprint}')
        if options.overlays and not report.interrupted:
            pictures = write_overlays(
                store, options.images, options.output / 'overlays', options.overlays, options.root
            )
            print(*(f'overlay: {picture}' for picture in pictures), sep='\n')
    except KeyboardInterrupt:
        print('Stopped before the first image.', file=sys.stderr)
        return 130
    except SAPDError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return report.exit_status


if __name__ == '__main__':
    sys.exit(main())

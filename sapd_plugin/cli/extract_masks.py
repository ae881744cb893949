r"""Extract masks of images into a mask store.

sapd extract-masks --output masks --segmenter sam --checkpoint sam_vit_b_01ec64.pth \
    --images datasets/GoPro/train/target --source target                            masks of the ground truth
sapd extract-masks --output masks --segmenter sam --checkpoint sam_vit_b_01ec64.pth \
    --images datasets/GoPro/train/input --restored-by student.yml net_g_latest.pth  masks of restored images
sapd extract-masks --images photos --output masks --segmenter felzenszwalb          without weights
torchrun --nproc-per-node 8 -m sapd_plugin extract-masks ...    one rank per GPU; the same on several machines
sapd extract-masks ... --shard 0/4                              part 0 of 4; --shard slurm: the task of a job array

Extraction can be interrupted at any time, even by a crash; rerun the same command to resume. Exit status: 0 all done,
1 some images have no mask (listed at the end), 2 a mistake in the command or a disk error, 75 stopped by --stop-after,
130 interrupted.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

from sapd_plugin.cli.common import (
    add_segmenter_options,
    add_stop_option,
    build_from_options,
    choose_device,
    describe,
    run_command,
    stopping,
)
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation import networks
from sapd_plugin.priors.extraction.job import Restorer, extract_masks
from sapd_plugin.priors.extraction.ranks import find_rank
from sapd_plugin.priors.extraction.sources import open_photos
from sapd_plugin.priors.inspection.overlays import write_overlays
from sapd_plugin.priors.store import MaskStore, manifest
from sapd_plugin.priors.store.meta_info import read_lines
from sapd_plugin.priors.store.shards import find_shards
from sapd_plugin.user_modules import add_import_option, import_modules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('--images', type=Path, required=True, help='folder, LMDB, or text file with one path per line')
    add('--root', type=Path, help="folder that a list's paths are relative to")
    add('--output', type=Path, required=True, help='folder of the mask store; resumed if unfinished')
    add_segmenter_options(parser)
    add(
        '--restored-by',
        nargs=2,
        type=Path,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='segment what this student restores from the images: its BasicSR YAML or MMagic config, and its weights',
    )
    add_import_option(parser)
    add('--source', help='kind of images, recorded in the store: target, input, ... (default: restored, or images)')
    add('--shard', metavar='I/N', help="extract part I (from 0) of N, into shard I; or 'slurm'")
    add('--replace', action='store_true', help='remove masks of other images with the same names, and make them again')
    add_stop_option(parser)
    add('--overlays', type=int, default=0, metavar='N', help='write N pictures to STORE/overlays')


def build_restorer(options: argparse.Namespace, device: str | None) -> Restorer | None:
    """Build the student of --restored-by with the framework of its config."""
    if options.restored_by is None:
        return None
    config, checkpoint = options.restored_by
    restorer = networks.build_restorer(config, checkpoint, device or 'cpu')
    if restorer.note:
        print(f'note: {restorer.note}')
    return restorer


def run(options: argparse.Namespace) -> int:
    """Extract, and print a summary, for as long as ``--stop-after`` says."""
    with stopping(options.stop_after, partial(_lines, options.output), 'no mask was written'):
        return _extract(options)


def _lines(store: Path) -> str:
    """Return the lines of all shards, one per mask."""
    return ''.join(map(read_lines, find_shards(store)))


def _extract(options: argparse.Namespace) -> int:
    rank = find_rank(options.shard, os.environ)
    if options.overlays and rank.count > 1:
        raise SAPDError(
            f'--overlays: found with {rank}, expected one process; sapd inspect-masks draws them from a finished store.'
        )
    import_modules(options.imports)
    restores = options.restored_by is not None
    device = choose_device(options, rank, restores)
    segmenter = build_from_options(options, device, restores)
    print(*describe(segmenter, device), *([f'part: {rank}'] if rank.count > 1 else []), sep='\n')
    restorer = build_restorer(options, device)
    report = extract_masks(
        options.images,
        options.output,
        segmenter,
        restorer=restorer,
        root=options.root,
        source=options.source,
        rank=rank,
        replace=options.replace,
    )
    print(*report.lines(), sep='\n')
    # Counted by lines: other ranks may still be writing their shards.
    masks, fingerprint = read_lines(options.output).count('\n'), manifest.read_fingerprint(options.output)
    print(f'store: {options.output}, {masks} masks, fingerprint {fingerprint}')
    if report.interrupted:
        raise KeyboardInterrupt
    if options.overlays:
        store, photos = MaskStore(options.output), open_photos(options.images, options.root)
        keys = [key for key, _ in photos.named if key in store][: options.overlays]
        for picture in write_overlays(store, keys, options.output / 'overlays', photos):
            print(f'overlay: {picture}')
    return report.exit_status


main = partial(run_command, 'extract-masks', __doc__, add_arguments, run)

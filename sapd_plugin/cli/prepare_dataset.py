"""Check a downloaded dataset and prepare it for training and testing in both frameworks, or make a synthetic one.

sapd prepare-dataset --list
sapd prepare-dataset gopro --source ~/Downloads/GOPRO_Large --lmdb
sapd prepare-dataset rain100l --source rain100l --split test --dry-run
sapd prepare-dataset --synthetic rain --source photos --preset light --name PhotosRain
sapd prepare-dataset --synthetic blur --source photos --set size=9,21 --kernels levin/kernels

It can be interrupted at any time; rerun the same command to resume. Exit status: 0 done, 2 a mistake in the command or
the dataset, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from sapd_plugin.cli.common import check_counts, run_command
from sapd_plugin.datasets.manifest import SubImages, dataset_names, load_manifest
from sapd_plugin.datasets.run import Finish, prepare
from sapd_plugin.datasets.synthetic import blur, noise, rain
from sapd_plugin.datasets.synthetic.job import Degradation, make_pairs
from sapd_plugin.datasets.synthetic.settings import read_settings
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.names import check_name

# Degradation -> presets, the default first.
SYNTHETIC: dict[str, Mapping[str, Any]] = {'rain': rain.PRESETS, 'noise': noise.PRESETS, 'blur': blur.PRESETS}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('dataset', nargs='?', help='; '.join(dataset_names()))
    parser.add_argument('--list', action='store_true', help='list the datasets, their pages and contents')
    parser.add_argument('--source', type=Path, help='the downloaded folder; with --synthetic, the clean images')
    parser.add_argument('--output', type=Path, default=Path('datasets'), help='folder of all datasets (datasets)')
    parser.add_argument('--dry-run', action='store_true', help='check and print the steps, but write nothing')
    parser.add_argument('--lmdb', action='store_true', help='also write LMDBs')
    parser.add_argument('--crop-size', type=int, metavar='N', help="side of sub-images (default: the authors')")
    parser.add_argument('--step', type=int, metavar='N', help='distance between sub-images')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, metavar='N', help='threads')
    real = parser.add_argument_group('downloaded datasets')
    real.add_argument('--split', nargs='+', metavar='SPLIT', help='only these splits; the others may be absent')
    real.add_argument('--verify', action='store_true', help='decode every image and report duplicates')
    real.add_argument('--any-count', action='store_true', help='accept any number of images')
    real.add_argument('--no-sub-images', action='store_true', help='do not cut sub-images')
    way = real.add_mutually_exclusive_group()
    way.add_argument('--copy', action='store_true', help='copy the files instead of linking them symbolically')
    way.add_argument('--hardlink', action='store_true', help='hard links')
    made = parser.add_argument_group('synthetic datasets')
    made.add_argument('--synthetic', metavar='KIND', help=', '.join(SYNTHETIC))
    made.add_argument(
        '--preset', help='; '.join(f'{kind}: {", ".join(presets)}' for kind, presets in SYNTHETIC.items())
    )
    made.add_argument(
        '--set',
        action='append',
        default=[],
        metavar='KEY=LOW,HIGH',
        dest='settings',
        help='change a range of the preset',
    )
    made.add_argument('--seed', type=int, default=0, help='random seed (default: 0)')
    made.add_argument('--draws', type=int, default=1, metavar='N', help='pairs per image (default: 1)')
    made.add_argument('--kernels', type=Path, help='blur: a folder of kernels to draw from, or one kernel')
    made.add_argument(
        '--kernel-share',
        type=float,
        default=1.0,
        metavar='P',
        help='blur: fraction of images blurred by --kernels; the others get a random trajectory (default: 1)',
    )
    made.add_argument('--name', help='folder below --output (SyntheticRain, ...)')
    made.add_argument('--into', default='train', metavar='SPLIT', help='train (default), val or test')


def show_datasets() -> None:
    """Print every dataset that has a manifest."""
    for name in dataset_names():
        manifest = load_manifest(name)
        print(f'{name}: {manifest.title}\n    {manifest.page}')
        for split, parts in manifest.splits.items():
            counts = ' + '.join(part.prefix + ' or '.join(map(str, part.counts)) for part in parts)
            print(f'    {manifest.folder}/{split}: {counts} {"pairs" if manifest.paired else "images"}')


def read_cut(options: argparse.Namespace) -> SubImages | bool:
    """Combine --crop-size, --step and --no-sub-images; True means the manifest's own settings."""
    if options.no_sub_images or options.crop_size is None:
        if options.crop_size is not None or options.step is not None:
            raise SAPDError('--step: expected with --crop-size, and neither with --no-sub-images.')
        return not options.no_sub_images
    step = options.step or options.crop_size
    if not 0 < step <= options.crop_size:
        raise SAPDError(f'--step: found {step}, expected 1 to --crop-size, which is {options.crop_size}.')
    return SubImages(size=options.crop_size, step=step)


def build_degradation(options: argparse.Namespace) -> Degradation:
    """Build rain, noise or blur with its settings."""
    kind = options.synthetic
    check_choice('--synthetic', kind, SYNTHETIC)
    presets = SYNTHETIC[kind]
    preset = options.preset or next(iter(presets))
    check_choice('--preset', preset, presets)
    settings = read_settings(presets[preset], options.settings)
    if kind == 'blur':
        kernels = blur.read_kernels(options.kernels) if options.kernels is not None else None
        if kernels is None and options.kernel_share != 1:
            raise SAPDError('--kernel-share: expected with --kernels.')
        return blur.Blur(settings, kernels, options.kernel_share)
    for key, given in (('--kernels', options.kernels is not None), ('--kernel-share', options.kernel_share != 1)):
        if given:
            raise SAPDError(f'{key}: found with --synthetic {kind}, expected with --synthetic blur.')
    return {'rain': rain.Rain, 'noise': noise.Noise}[kind](settings)


def run(options: argparse.Namespace) -> None:
    """Run what the command line requests."""
    if options.list:
        show_datasets()
        return
    if (options.dataset is None) == (options.synthetic is None):
        raise SAPDError(f'expected a dataset ({", ".join(dataset_names())}), or --synthetic, or --list.')
    if options.dataset is not None:
        check_choice('dataset', options.dataset, dataset_names())
    if options.source is None:
        raise SAPDError('--source: expected the folder to start from.')
    check_counts(options, workers=1, draws=1)
    cut = read_cut(options)
    if options.synthetic is not None:
        check_choice('--into', options.into, ['train', 'val', 'test'])
        if options.name is not None:
            check_name('--name', options.name)
        degradation = build_degradation(options)
        folder = options.output / (options.name or f'Synthetic{degradation.name.capitalize()}') / options.into
        finish = Finish(cut if isinstance(cut, SubImages) else None, options.lmdb, options.workers)
        make_pairs(degradation, options.source, folder, options.seed, options.draws, finish, options.dry_run)
        return
    prepare(
        load_manifest(options.dataset),
        options.source,
        options.output,
        options.split,
        'copy' if options.copy else 'hardlink' if options.hardlink else 'symlink',
        Finish(None, options.lmdb, options.workers),
        cut,
        options.any_count,
        options.verify,
        options.dry_run,
    )


main = partial(run_command, 'prepare-dataset', __doc__, add_arguments, run)

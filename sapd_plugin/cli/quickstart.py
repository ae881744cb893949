"""Train a stock student and one with SAM priors on real photos, and compare them, in a few minutes on a CPU.

sapd quickstart [--data DIR] [--sam-checkpoint FILE] [--vgg-checkpoint FILE] [--iterations N] [--output DIR]

It runs the table `quickstart` of `sapd reproduce`. Interrupt it at any time; rerun the same command to resume.
Results: table.md and picture.png in the output folder.
"""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path

from sapd_plugin.cli.common import check_counts, run_command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument('--data', type=Path, help='folder with degraded/ and clean/ (or input/ and target/, ...)')
    parser.add_argument('--sam-checkpoint', type=Path, help='any SAM or MobileSAM checkpoint')
    parser.add_argument('--vgg-checkpoint', type=Path, help='VGG-19 weights, for SGR')
    parser.add_argument('--iterations', type=int, default=300, help='length of each training (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0, help='seed of both training runs (default: %(default)s)')
    parser.add_argument('--output', type=Path, default=Path('runs/quickstart'), help='results (default: %(default)s)')


def run(options: argparse.Namespace) -> None:
    """Make the pairs, run the table's cells, and write the table and the picture."""
    from msgspec.structs import replace

    from sapd_plugin.core import find_vgg
    from sapd_plugin.datasets.sample_photos import make_pairs
    from sapd_plugin.experiments.catalogue import Catalogue, Cell, read_catalogue
    from sapd_plugin.experiments.definitions import Launch, Settings
    from sapd_plugin.experiments.pictures import draw_picture
    from sapd_plugin.experiments.plan import Resolver, check, load_framework, plan
    from sapd_plugin.experiments.report import markdown, summarise
    from sapd_plugin.experiments.results import load
    from sapd_plugin.experiments.runner import run_chains
    from sapd_plugin.priors.segmenters import build_segmenter, find_sam_checkpoint

    begun, output = time.perf_counter(), options.output.resolve()
    check_counts(options, iterations=1)
    vgg, sam = find_vgg(options.vgg_checkpoint), find_sam_checkpoint(options.sam_checkpoint)
    print(make_pairs(output / 'datasets/quickstart', options.data, options.seed))
    print(f'segmenter: {"felzenszwalb, no SAM weights found (--sam-checkpoint)" if sam is None else f"SAM, {sam}"}')
    print(f'SGR: {f"with VGG-19 from {vgg}" if vgg else "left out, no VGG-19 weights found (--vgg-checkpoint)"}')

    named = ['felzenszwalb'] if sam is None else ['sam', '--checkpoint', str(sam.resolve())]
    settings = Settings(
        root=output,
        data=output / 'datasets',
        checkpoints=output,
        launch=Launch(),
        iterations=options.iterations,
        segmenter=('--segmenter', *named),
        vgg=vgg and vgg.resolve(),
    )
    shipped = read_catalogue()
    table = replace(shipped.tables['quickstart'], seeds=(options.seed,))
    catalogue = Catalogue({table.name: table}, shipped.models, shipped.arms)
    resolver = Resolver(catalogue, load_framework('basicsr'), settings)
    (model,) = table.entries
    stock, sapd = (
        Cell('basicsr', table.name, model, 'full', arm, options.seed) for arm in ('stock', 'spd_sgr' if vgg else 'spd')
    )
    runs = resolver.run(stock), resolver.run(sapd)
    check(runs)
    run_chains([plan(resolver, stock), plan(resolver, sapd)])

    results = [load(cell, output) for cell in (stock, sapd)]
    text = markdown(table, summarise(catalogue, table, 'basicsr', results).dropna(subset='test'))
    (output / 'table.md').write_text(text, encoding='utf-8')
    segmenter = build_segmenter(named[0], **({'checkpoint': named[2]} if sam else {}))
    draw_picture(output / 'picture.png', *runs, segmenter)
    print(f'\n{text}\ntable: {output / "table.md"}\npicture: {output / "picture.png"}')
    print(f'done in {time.perf_counter() - begun:.0f} s')


main = partial(run_command, 'quickstart', __doc__, add_arguments, run)

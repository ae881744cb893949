"""The main job in a few minutes on a CPU: a stock student and one with SAM priors, from real photographs to a table.

bash tools/quickstart.sh [--data DIR] [--sam-checkpoint FILE] [--vgg-checkpoint FILE] [--iterations N] [--output DIR]

Every step is taken up where an earlier run left it. Results: table.md and picture.png in the output folder.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sapd_plugin.basicsr  # noqa: F401  (registers SPF)
from sapd_plugin.core import find_vgg
from sapd_plugin.datasets import sample_photos as pairs
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.cost import compare
from sapd_plugin.experiments.demo import options, report, runs
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.segmenters import Segmenter, build_segmenter, find_sam_checkpoint
from sapd_plugin.priors.store import MaskStore


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--data', type=Path, help='folder with degraded/ and clean/ (or input/ and target/, ...)')
    parser.add_argument('--sam-checkpoint', type=Path, help='any SAM or MobileSAM checkpoint')
    parser.add_argument('--vgg-checkpoint', type=Path, help='VGG-19 weights, for SGR')
    parser.add_argument('--iterations', type=int, default=300, help='of each training (default: 300)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--output', type=Path, default=Path('runs/quickstart'))
    return parser.parse_args(arguments)


def choose_segmenter(checkpoint: Path | None) -> Segmenter:
    """SAM where a checkpoint is found, else felzenszwalb; a named checkpoint that is absent is an error."""
    found = find_sam_checkpoint(checkpoint)
    if found is None:
        return build_segmenter('felzenszwalb')
    return build_segmenter('sam', checkpoint=str(found))


def refuse_other_settings(record: Path, settings: dict[str, Any]) -> None:
    """Keep runs of other settings apart.

    Raises:
        SAPDError: the folder holds a run of other settings.
    """
    if record.is_file():
        saved = json.loads(record.read_text(encoding='utf-8'))
        for key, value in settings.items():
            if saved.get(key) != value:
                raise SAPDError(
                    f'--output: {record.parent} holds a run with {key} = {saved.get(key)}, this one has {value}. '
                    'Name another folder, or delete it.'
                )


def run(arguments: argparse.Namespace) -> None:
    """Do all steps."""
    output, vgg = arguments.output.resolve(), find_vgg(arguments.vgg_checkpoint)
    vgg = vgg and vgg.resolve()
    segmenter = choose_segmenter(arguments.sam_checkpoint)
    settings = {
        'data': str(arguments.data.resolve()) if arguments.data else None,
        'iterations': arguments.iterations,
        'seed': arguments.seed,
        'segmenter': segmenter.settings,
        'vgg': str(vgg) if vgg else None,
    }
    record = output / 'settings.json'
    refuse_other_settings(record, settings)

    step('Photographs')
    data = output / 'pairs'
    print(f'  {pairs.make_pairs(data, arguments.data, arguments.seed)}')
    print(f'  segmenter: {segmenter.settings["segmenter"]}')
    print(f'  SGR: {f"with VGG-19 from {vgg}" if vgg else "left out, no VGG-19 weights found (--vgg-checkpoint)"}')

    step('Stock baseline: BasicSR trains it')
    stock = options.stock(data, arguments.iterations, arguments.seed)
    stock_models = runs.train(stock, output)

    step('Masks, on the training photos as the baseline restores them')
    baseline = stock_models / 'net_g_latest.pth'
    _, restored = runs.test(options.testing('restore_train', data / 'train', baseline, 'restored'), output)
    masks = output / 'masks'
    print('\n'.join(f'  {line}' for line in extract(restored, masks, segmenter)))

    step('Student with SAM priors: BasicSR trains it, same seed and iterations')
    sapd = options.sapd(stock, masks, vgg)
    sapd_models = runs.train(sapd, output)

    step('Test: BasicSR tests both, with the same stock config')
    rows, folders = [], {}
    for name, models in (('stock', stock_models), ('sapd', sapd_models)):
        student = models / 'net_g_latest.pth'
        metrics, folders[name] = runs.test(options.testing(f'test_{name}', data / 'test', student, name), output)
        rows.append((name, metrics, report.load(options.network(), student, 'params_ema')))
    photo = report.read(next((data / 'test/degraded').glob('*.png')))
    shape = report.to_tensor(photo).shape
    costs = compare({name: network for name, _, network in rows}, shape, repeats=9, memory=False)
    table = report.table([(name, metrics, costs[name]) for name, metrics, _ in rows])

    test_masks = output / 'masks_test'
    extract(folders['sapd'], test_masks, segmenter)
    block = {**sapd['network_spf'], 'network': options.network()}
    spf = report.load(block, sapd_models / 'net_spf_latest.pth', 'params')
    report.picture(output / 'picture.png', data / 'test', folders, spf, MaskStore(test_masks))
    (output / 'table.md').write_text(table + '\n', encoding='utf-8')
    print(f'\n{table}\n\nsegmenter: {segmenter.settings["segmenter"]}; {arguments.iterations} iterations each')
    print('A run this short shows that everything works; it is no evidence of a gain.')
    print(f'table: {output / "table.md"}\npicture: {output / "picture.png"}')


def extract(images: Path, store: Path, segmenter: Segmenter) -> list[str]:
    """Cut masks, or take those that are there.

    Raises:
        SAPDError: an image got no mask.
        KeyboardInterrupt: the user stopped it.
    """
    result = extract_masks(images, store, segmenter, source='restored')
    if result.interrupted:
        raise KeyboardInterrupt
    if result.failed:
        raise SAPDError('\n'.join(result.lines()))
    return list(result.lines())


def step(title: str) -> None:
    """Say what comes next, and how long everything took so far."""
    print(f'[{time.perf_counter() - BEGUN:4.0f} s] {title}', flush=True)


BEGUN = time.perf_counter()

if __name__ == '__main__':
    os.environ.setdefault('PYTHONUNBUFFERED', '1')
    try:
        run(parse_arguments())
    except SAPDError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt:
        sys.exit('Stopped. The same command goes on from here.')
    print(f'done in {time.perf_counter() - BEGUN:.0f} s')

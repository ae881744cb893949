"""Mask extraction: segment_anything's own generator against the presets 'stock' and 'fast'.

Each generator has a process of its own, with equal threads and allocator settings, and segments the same photos: clean
and rainy ones, whose human segmentations tell how well the masks cover.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.people import INDEX, People
from sapd_plugin.priors.inspection.overlap import covering
from sapd_plugin.priors.labels import LabelMap

GENERATORS = ('upstream', 'stock', 'fast')
KINDS = ('clean', 'rainy')
TUNED_MALLOC = {
    'MALLOC_MMAP_THRESHOLD_': str(2**30),
    'MALLOC_TRIM_THRESHOLD_': str(2**31 - 1),
    'MALLOC_TOP_PAD_': str(2**29),
}
"""glibc then keeps freed memory instead of fetching new pages for every large tensor."""


class Row(NamedTuple):
    """One generator on the photos of one kind: means over them.

    Attributes:
        processor: seconds of all threads together; on a shared machine steadier than ``seconds``.
        megabytes: peak memory above the model's, building it included.
        matched: mean over upstream's masks of the largest IoU with one of the generator's.
    """

    generator: str
    kind: str
    seconds: float
    processor: float
    megabytes: float
    masks: float
    coverage: float
    best: float
    mean: float
    matched: float


def run(
    data: Path, checkpoint: Path, photos: int = 1, points: int = 32, threads: int = 2, tuned: bool = False
) -> list[Row]:
    """Measure on the first ``photos`` of the folders rain100l/clean and rain100l/rainy below ``data``.

    Raises:
        SAPDError: where the photos or their human segmentations are not there, or a generator fails.
    """
    files = {kind: sorted((data / 'rain100l' / kind).glob('*.png'))[:photos] for kind in KINDS}
    if not all(files.values()) or not (data / 'segmentation_gt' / INDEX).is_file():
        raise SAPDError(f'--data: found no rain100l/clean, rain100l/rainy and segmentation_gt in {data}, expected all.')
    people = People(data / 'segmentation_gt', 'rain100l')
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), **(TUNED_MALLOC if tuned else {})}
    rows: list[Row] = []
    reference: dict[Path, np.ndarray] = {}
    for generator in GENERATORS:
        for kind, images in files.items():
            masks, result = segment(generator, [checkpoint, points], images, environment)
            maps = [LabelMap.from_masks(m, shape=m.shape[1:]) for m in masks]
            scores = [covering(m.labels, people.annotators(path.stem)) for m, path in zip(maps, images)]
            for path, found in zip(images, masks):
                reference.setdefault(path, found)
            rows.append(
                Row(
                    generator,
                    kind,
                    *(float(np.mean([row[key] for row in result['photos']])) for key in ('seconds', 'processor')),
                    result['megabytes'],
                    float(np.mean([len(m) for m in masks])),
                    float(np.mean([m.coverage for m in maps])),
                    float(np.mean([score.best for score in scores])),
                    float(np.mean([score.mean for score in scores])),
                    float(np.mean(np.concatenate([matched(reference[p], m) for p, m in zip(images, masks)]))),
                )
            )
    return rows


def segment(
    generator: str, settings: list, images: list[Path], environment: dict[str, str]
) -> tuple[list[np.ndarray], dict]:
    """Run one generator in a process of its own.

    Args:
        generator: one of `GENERATORS`.
        settings: checkpoint, points a side.
        images: photos.
        environment: of the process.

    Returns:
        Masks (M,H,W) bool a photo; ``megabytes``, and for each of ``photos`` ``seconds``, ``masks`` and ``shape``.

    Raises:
        SAPDError: where the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'benchmarks.extract_worker', generator, *settings, folder, *images]
        # This project's package, whatever is installed; `benchmarks` is found in the working folder.
        root = Path(__file__).resolve().parents[1]
        path = os.pathsep.join(filter(None, (str(root), environment.get('PYTHONPATH'))))
        done = subprocess.run(list(map(str, command)), env={**environment, 'PYTHONPATH': path}, cwd=root)
        if done.returncode:
            raise SAPDError(f'benchmark extract: {generator} failed with exit status {done.returncode}.')
        result = json.loads(Path(folder, 'result.json').read_text(encoding='utf-8'))
        return [_masks(Path(folder, f'{i}.npy'), row) for i, row in enumerate(result['photos'])], result


def matched(reference: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """For each of (R,H,W) masks, the largest IoU with one of (M,H,W): (R,)."""
    theirs, ours = (m.reshape(len(m), -1).astype(np.float32) for m in (reference, masks))
    shared = theirs @ ours.T
    union = theirs.sum(1)[:, None] + ours.sum(1) - shared
    return (shared / np.maximum(union, 1)).max(1, initial=0.0)


def _masks(path: Path, row: dict) -> np.ndarray:
    height, width = row['shape']
    bits = np.unpackbits(np.load(path), axis=1, count=height * width)
    return bits.reshape(row['masks'], height, width).astype(bool)


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows, times also as upstream's divided by them."""
    print('\nextract')
    head = ('generator', 'photos', 's', 'ratio', 'CPU s', 'ratio', 'MB', 'masks', 'coverage', 'best', 'mean', 'matched')
    print('  {:9} {:6} {:>7} {:>6} {:>7} {:>6} {:>5} {:>6} {:>8} {:>6} {:>6} {:>7}'.format(*head))
    for row in rows:
        upstream = next(r for r in rows if r.generator == 'upstream' and r.kind == row.kind)
        print(
            f'  {row.generator:9} {row.kind:6} {row.seconds:7.2f} {upstream.seconds / row.seconds:6.1f} '
            f'{row.processor:7.2f} {upstream.processor / row.processor:6.1f} {row.megabytes:5.0f} {row.masks:6.1f} '
            f'{row.coverage:8.3f} {row.best:6.3f} {row.mean:6.3f} {row.matched:7.3f}'
        )

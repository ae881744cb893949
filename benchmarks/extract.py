"""Mask extraction: segment_anything's own generator against the presets 'stock' and 'fast'.

Each generator runs in its own process, with equal threads and allocator settings, on the same clean and rainy photos.
The masks are compared with human segmentations.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd

# Imported here so that the memory of this import is not measured.
import sapd_plugin.priors.segmenters.fast.stock  # noqa: F401
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.people import INDEX, People
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlap import covering
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.segmenters.checkpoints import detect_variant, load_state
from sapd_plugin.priors.segmenters.sam import THRESHOLDS, build_sam

Generator = Callable[[np.ndarray], np.ndarray]

GENERATORS = ('upstream', 'stock', 'fast')
KINDS = ('clean', 'rainy')
# With these settings glibc keeps freed memory instead of fetching new pages for every large tensor.
TUNED_MALLOC = {
    'MALLOC_MMAP_THRESHOLD_': str(2**30),
    'MALLOC_TRIM_THRESHOLD_': str(2**31 - 1),
    'MALLOC_TOP_PAD_': str(2**29),
}


class Segmented(NamedTuple):
    """A photo's masks (M,H,W) bool, seconds, and CPU seconds of all threads."""

    masks: np.ndarray
    seconds: float
    processor: float


def run(
    data: Path | None = None,
    checkpoint: Path | None = None,
    photos: int = 1,
    points: int = 32,
    threads: int = 2,
    tuned_malloc: bool = False,
) -> pd.DataFrame:
    """Measure on the first ``photos`` of the folders rain100l/clean and rain100l/rainy below ``data``.

    Returns:
        One row per generator and kind of photo, means over the photos: seconds; 'CPU s' of all threads (steadier on a
        shared machine); the speedups over upstream; 'MB', peak memory above the model's, including building it; 'best'
        and 'mean', covering of the human segmentations; 'matched', mean over upstream's masks of the largest IoU with
        one of the generator's.

    Raises:
        SAPDError: the photos or their human segmentations are missing.
    """
    files = {kind: sorted(((data or Path()) / 'rain100l' / kind).glob('*.png'))[:photos] for kind in KINDS}
    if data is None or not all(files.values()) or not (data / 'segmentation_gt' / INDEX).is_file():
        raise SAPDError(
            f'--data: found {data}, expected a folder of photos in rain100l/{{clean,rainy}} and of their human '
            'segmentations in segmentation_gt (BSDS500).'
        )
    people = People(data / 'segmentation_gt', 'rain100l')
    environment = {'OMP_NUM_THREADS': str(threads), **(TUNED_MALLOC if tuned_malloc else {})}
    rows: list[dict[str, Any]] = []
    reference: dict[Path, np.ndarray] = {}
    for generator in GENERATORS:
        for kind, images in files.items():
            segmented, megabytes = segment(
                generator, checkpoint or data / 'sam/mobile_sam.pt', points, images, environment
            )
            for path, (found, seconds, processor) in zip(images, segmented):
                label_map = LabelMap.from_masks(found, shape=found.shape[1:])
                score = covering(label_map.labels, people.annotators(path.stem))
                rows.append(
                    {'generator': generator, 'photos': kind, 's': seconds, 'CPU s': processor, 'MB': megabytes}
                    | {'masks': len(found), 'coverage': label_map.coverage, 'best': score.best, 'mean': score.mean}
                    | {'matched': matched(reference.setdefault(path, found), found).mean()}
                )
    table = pd.DataFrame(rows).groupby(['generator', 'photos'], sort=False, as_index=False).mean()
    for column in ('s', 'CPU s'):
        upstream = table.groupby('photos')[column].transform('first')
        table.insert(list(table).index(column) + 1, f'{column} ratio', upstream / table[column])
    return table


def segment(
    generator: str, checkpoint: Path, points: int, images: list[Path], environment: dict[str, str]
) -> tuple[list[Segmented], float]:
    """Segment images with one of `GENERATORS`, in its own process with additional environment variables.

    Returns:
        The result per image, and the peak memory in MB. It counts from before the model was built, minus the
        checkpoint's size, so it includes temporary memory of building it and what the allocator keeps of that.
    """
    with mock.patch.dict(os.environ, environment), ProcessPoolExecutor(1, get_context('spawn')) as pool:
        return pool.submit(_segment_here, generator, checkpoint, points, images).result()


def _segment_here(generator: str, checkpoint: Path, points: int, images: list[Path]) -> tuple[list[Segmented], float]:
    before = _resident('VmRSS') + checkpoint.stat().st_size
    generate = build(generator, checkpoint, points)
    found = []
    for path in images:
        image = read_image(path)
        seconds, processor = time.perf_counter(), time.process_time()
        masks = generate(image)
        found.append(Segmented(masks, time.perf_counter() - seconds, time.process_time() - processor))
    return found, (_resident('VmHWM') - before) / 2**20


def matched(reference: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the largest IoU of each of (R,H,W) masks with one of (M,H,W) masks, as (R,)."""
    theirs, ours = (m.reshape(len(m), -1).astype(np.float32) for m in (reference, masks))
    shared = theirs @ ours.T
    union = theirs.sum(1)[:, None] + ours.sum(1) - shared
    return (shared / np.maximum(union, 1)).max(1, initial=0.0)


def build(generator: str, checkpoint: Path, points: int) -> Generator:
    """Build 'upstream', with the thresholds that suit the variant, 'stock' or 'fast'."""
    if generator != 'upstream':
        settings: dict[str, Any] = {'points_per_side': points} if generator == 'stock' else {}
        segmenter = build_segmenter('sam', checkpoint=checkpoint, preset=generator, **settings)
        return lambda image: segmenter.masks(image).masks
    from segment_anything import SamAutomaticMaskGenerator

    state = load_state(checkpoint)
    iou, stability = THRESHOLDS[detect_variant(state, checkpoint)]
    stock = SamAutomaticMaskGenerator(
        build_sam(state, str(checkpoint)), points, pred_iou_thresh=iou, stability_score_thresh=stability
    )

    def generate(image: np.ndarray) -> np.ndarray:
        masks = [mask['segmentation'] for mask in stock.generate(image)]
        return np.array(masks, dtype=bool).reshape(-1, *image.shape[:2])

    return generate


def _resident(field: str) -> int:
    """Return the memory of this process in bytes: 'VmRSS' now, or 'VmHWM' at its peak.

    ``getrusage`` does not work here: its peak starts at that of the parent process.
    """
    lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ':'))

"""Mask extraction: segment_anything's own generator against the presets 'stock' and 'fast'.

Each generator has a process of its own, with equal threads and allocator settings, and segments the same photos: clean
and rainy ones, which are compared with human segmentations. ``python -m benchmarks.extract`` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def run(
    data: Path, checkpoint: Path, photos: int = 1, points: int = 32, threads: int = 2, tuned: bool = False
) -> pd.DataFrame:
    """Measure on the first ``photos`` of the folders rain100l/clean and rain100l/rainy below ``data``.

    Returns:
        One row per generator and kind of photo, means over the photos: seconds; 'CPU s', of all threads together
        (steadier on a shared machine); upstream's divided by each; 'MB', peak memory above the model's, building it
        included; 'best' and 'mean', covering of the human segmentations; 'matched', mean over upstream's masks of the
        largest IoU with one of the generator's.

    Raises:
        SAPDError: the photos or their human segmentations are missing, or a generator fails.
    """
    files = {kind: sorted((data / 'rain100l' / kind).glob('*.png'))[:photos] for kind in KINDS}
    if not all(files.values()) or not (data / 'segmentation_gt' / INDEX).is_file():
        raise SAPDError(f'--data: found no rain100l/clean, rain100l/rainy and segmentation_gt in {data}, expected all.')
    people = People(data / 'segmentation_gt', 'rain100l')
    environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), **(TUNED_MALLOC if tuned else {})}
    rows: list[dict[str, Any]] = []
    reference: dict[Path, np.ndarray] = {}
    for generator in GENERATORS:
        for kind, images in files.items():
            masks, result = segment(generator, [checkpoint, points], images, environment)
            for path, found in zip(images, masks):
                label_map = LabelMap.from_masks(found, shape=found.shape[1:])
                score = covering(label_map.labels, people.annotators(path.stem))
                rows.append(
                    {'generator': generator, 'photos': kind}
                    | {'s': result['seconds'].pop(0), 'CPU s': result['processor'].pop(0), 'MB': result['megabytes']}
                    | {'masks': len(found), 'coverage': label_map.coverage, 'best': score.best, 'mean': score.mean}
                    | {'matched': matched(reference.setdefault(path, found), found).mean()}
                )
    table = pd.DataFrame(rows).groupby(['generator', 'photos'], sort=False, as_index=False).mean()
    for column in ('s', 'CPU s'):
        upstream = table.groupby('photos')[column].transform('first')
        table.insert(list(table).index(column) + 1, f'{column} ratio', upstream / table[column])
    return table


def segment(
    generator: str, settings: list, images: list[Path], environment: dict[str, str]
) -> tuple[list[np.ndarray], dict]:
    """Run one generator in a process of its own.

    Args:
        generator: one of `GENERATORS`.
        settings: checkpoint, points per side.
        images: photos.
        environment: environment variables of the process.

    Returns:
        Masks (M,H,W) bool per photo; ``megabytes``, and the lists ``seconds`` and ``processor``, one value per photo.

    Raises:
        SAPDError: the process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, '-m', 'benchmarks.extract', generator, *settings, folder, *images]
        # This project's package, whatever is installed; `benchmarks` is found in the working folder.
        root = Path(__file__).resolve().parents[1]
        path = os.pathsep.join(filter(None, (str(root), environment.get('PYTHONPATH'))))
        done = subprocess.run(list(map(str, command)), env={**environment, 'PYTHONPATH': path}, cwd=root)
        if done.returncode:
            raise SAPDError(f'benchmark extract: {generator} failed with exit status {done.returncode}.')
        result = json.loads(Path(folder, 'result.json').read_text(encoding='utf-8'))
        with np.load(Path(folder, 'masks.npz')) as archive:
            return [archive[str(index)] for index in range(len(images))], result


def matched(reference: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return for each of (R,H,W) masks the largest IoU with one of (M,H,W) masks, as (R,)."""
    theirs, ours = (m.reshape(len(m), -1).astype(np.float32) for m in (reference, masks))
    shared = theirs @ ours.T
    union = theirs.sum(1)[:, None] + ours.sum(1) - shared
    return (shared / np.maximum(union, 1)).max(1, initial=0.0)


def upstream(checkpoint: Path, points: int) -> Generator:
    """Build the generator of segment_anything itself, with the thresholds that suit the variant."""
    from segment_anything import SamAutomaticMaskGenerator

    state = load_state(checkpoint)
    iou, stability = THRESHOLDS[detect_variant(state, checkpoint)]
    generator = SamAutomaticMaskGenerator(
        build_sam(state, str(checkpoint)),
        points_per_side=points,
        pred_iou_thresh=iou,
        stability_score_thresh=stability,
    )
    return lambda image: np.stack(
        [mask['segmentation'] for mask in generator.generate(image)] or [np.zeros((0, *image.shape[:2]), bool)]
    ).reshape(-1, *image.shape[:2])


def build(name: str, checkpoint: Path, points: int) -> Generator:
    """Build 'upstream', 'stock' or 'fast'."""
    if name == 'upstream':
        return upstream(checkpoint, points)
    settings: dict[str, Any] = {'points_per_side': points} if name == 'stock' else {}
    segmenter = build_segmenter('sam', checkpoint=checkpoint, preset=name, **settings)
    return lambda image: segmenter.masks(image).masks


def work(name: str, checkpoint: str, points: str, output: str, *photos: str) -> None:
    """Segment the photos; write masks, seconds, and the peak of memory.

    The peak counts from before the model was built, less the checkpoint's size, so temporary memory of building it and
    what the allocator keeps of that are counted.
    """
    before = _resident('VmRSS') + Path(checkpoint).stat().st_size
    generate = build(name, Path(checkpoint), int(points))
    masks: dict[str, np.ndarray] = {}
    result: dict[str, Any] = {'seconds': [], 'processor': []}
    for index, photo in enumerate(photos):
        image = read_image(photo)
        begun = time.perf_counter(), time.process_time()
        masks[str(index)] = generate(image)
        result['seconds'].append(time.perf_counter() - begun[0])
        result['processor'].append(time.process_time() - begun[1])
    result['megabytes'] = (_resident('VmHWM') - before) / 2**20
    Path(output, 'result.json').write_text(json.dumps(result), encoding='utf-8')
    np.savez_compressed(Path(output, 'masks.npz'), **masks)


def _resident(field: str) -> int:
    """Return the memory of this process in bytes: 'VmRSS' now, or 'VmHWM' at its peak.

    ``getrusage`` does not serve: its peak begins at that of the parent process.
    """
    lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ':'))


if __name__ == '__main__':
    work(*sys.argv[1:])

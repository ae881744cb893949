"""The mask store against PNG label maps: size, writing, complete reads, crop reads.

The label maps are felzenszwalb's of scikit-image's photographs, or PNG files of one channel. They are measured at their
own size and enlarged to 1280x720 by pixel repetition, as for a large photo. Times are medians of single reads with a
warm page cache, one process, one thread.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd

from benchmarks.fixtures import photographs
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter

CROP = 128
LARGE = (1280, 720)
PNG = 'PNG, 16 bit, OpenCV'


def run(masks: Path | None = None, samples: int = 60, reads: int = 2000) -> pd.DataFrame:
    """Measure the store and PNG files on ``samples`` label maps of the folder ``masks``, at both sizes.

    Returns:
        One row per size and format: mean bytes per image, also relative to PNG at OpenCV's default level; median
        milliseconds of writing, of reading a complete map, and of reading a crop.

    Raises:
        SAPDError: the folder holds no label map large enough for a crop.
    """
    images = _made() if masks is None else _read(masks, samples)
    large = [cv2.resize(image, LARGE, interpolation=cv2.INTER_NEAREST) for image in images]
    cv2.setNumThreads(1)
    rows: list[dict[str, Any]] = []
    for name, group in (('as they are', images), ('{}x{}'.format(*LARGE), large)):
        maps = [LabelMap.from_labels(image) for image in group]
        # Scores take space, too: random ones, as from a SAM segmenter.
        rng = np.random.default_rng(0)
        maps = [LabelMap.from_labels(m.labels, *rng.uniform(0.8, 1.0, (2, len(m)))) for m in maps]
        with tempfile.TemporaryDirectory() as folder:
            rows.append({'label maps': name, **_measure_store(maps, Path(folder) / 'store', reads)})
            for level in (None, 9):
                rows.append({'label maps': name, **_measure_png(maps, Path(folder), reads // 4, level)})
    table = pd.DataFrame(rows)
    png = table['bytes'].where(table['kept as'] == PNG).groupby(table['label maps']).transform('max')
    table.insert(3, 'ratio', table['bytes'] / png)
    return table


def _made() -> list[np.ndarray]:
    segmenter = build_segmenter('felzenszwalb')
    return [segmenter(photo).labels for photo in photographs().values()]


def _read(masks: Path, samples: int) -> list[np.ndarray]:
    files = sorted(masks.rglob('*.png'))
    files = files[:: max(1, len(files) // samples)][:samples]
    images = [image for file in files if (image := cv2.imread(str(file), cv2.IMREAD_UNCHANGED)) is not None]
    images = [image for image in images if image.ndim == 2 and min(image.shape) >= CROP]
    if not images:
        raise SAPDError(f'{masks}: found no one-channel PNG of {CROP}x{CROP} pixels or more, expected label maps.')
    return images


def _measure_store(maps: list[LabelMap], folder: Path, reads: int) -> dict[str, Any]:
    with MaskStoreWriter(folder, {'segmenter': 'benchmark'}) as writer:
        write = [_milliseconds(lambda i=i, m=m: writer.put(str(i), m)) for i, m in enumerate(maps)]
    store = MaskStore(folder)
    size = statistics.fmean(len(store._get(str(i)) or b'') for i in range(len(maps)))
    whole = [_milliseconds(lambda i=i: store.record(str(i % len(maps))).labels()) for i in range(reads // 4)]
    crop = _crops(maps, lambda i, rows, columns: store.record(str(i))[rows, columns, ...], reads)
    store.close()
    return _row('store', size, write, whole, crop)


def _measure_png(maps: list[LabelMap], folder: Path, reads: int, level: int | None) -> dict[str, Any]:
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    paths = [folder / f'{i}.png' for i in range(len(maps))]

    def write_one(path: Path, labels: np.ndarray) -> None:
        path.write_bytes(cv2.imencode('.png', labels.astype(np.uint16), options)[1].tobytes())

    def read_one(path: Path) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)

    write = [_milliseconds(lambda p=p, m=m: write_one(p, m.labels)) for p, m in zip(paths, maps)]
    whole = [_milliseconds(lambda i=i: read_one(paths[i % len(maps)])) for i in range(reads)]
    crop = _crops(maps, lambda i, rows, columns: read_one(paths[i])[rows, columns].copy(), reads)
    size = statistics.fmean(path.stat().st_size for path in paths)
    return _row(PNG + ('' if level is None else f', level {level}'), size, write, whole, crop)


def _row(what: str, size: float, *times: list[float]) -> dict[str, Any]:
    names = ('write ms', 'whole ms', 'crop ms')
    return {'kept as': what, 'bytes': size, **dict(zip(names, map(statistics.median, times)))}


def _crops(maps: list[LabelMap], read: Callable[[int, slice, slice], np.ndarray], reads: int) -> list[float]:
    rng, times = np.random.default_rng(1), []
    for _ in range(reads):
        index = int(rng.integers(len(maps)))
        rows, columns = (slice(at := int(rng.integers(side - CROP + 1)), at + CROP) for side in maps[index].shape)
        times.append(_milliseconds(lambda i=index, r=rows, c=columns: read(i, r, c)))
    return times


def _milliseconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begun)

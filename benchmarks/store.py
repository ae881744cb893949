"""The mask store against PNG label maps: size, writing, whole reads, crop reads.

The label maps are felzenszwalb's of scikit-image's photographs, or PNG files of one channel. They are measured at their
own size and, enlarged to 1280x720 by pixel repetition, as a large photo's. Times are medians of single reads with a
warm page cache, one process, one thread.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from benchmarks.fixtures import photographs
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter

CROP = 128
LARGE = (1280, 720)


class Row(NamedTuple):
    """One line of the table; times in milliseconds, sizes in bytes an image."""

    images: str
    what: str
    size: float
    write: float
    whole: float
    crop: float


def run(masks: Path | None = None, samples: int = 60, reads: int = 2000) -> list[Row]:
    """Measure the store and PNG files on ``samples`` label maps of the folder ``masks``, at both sizes.

    Raises:
        SAPDError: the folder holds no label map that a crop fits into.
    """
    images = _made() if masks is None else _read(masks, samples)
    large = [cv2.resize(image, LARGE, interpolation=cv2.INTER_NEAREST) for image in images]
    cv2.setNumThreads(1)
    rows: list[Row] = []
    for name, group in (('as they are', images), ('{}x{}'.format(*LARGE), large)):
        maps = [LabelMap.from_labels(image) for image in group]
        # Scores take room, too: what a segmenter of the SAM family would give.
        rng = np.random.default_rng(0)
        maps = [LabelMap.from_labels(m.labels, *rng.uniform(0.8, 1.0, (2, len(m)))) for m in maps]
        with tempfile.TemporaryDirectory() as folder:
            rows.append(_measure_store(name, maps, Path(folder) / 'store', reads))
            for level in (None, 9):
                rows.append(_measure_png(name, maps, Path(folder) / f'png{level}', reads, level))
    return rows


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


def _measure_store(name: str, maps: list[LabelMap], folder: Path, reads: int) -> Row:
    with MaskStoreWriter(folder, {'segmenter': 'benchmark'}) as writer:
        write = [_milliseconds(lambda i=i, m=m: writer.put(str(i), m)) for i, m in enumerate(maps)]
    store = MaskStore(folder)
    size = statistics.fmean(len(store._get(str(i)) or b'') for i in range(len(maps)))

    def read_crop(index: int, top: int, left: int) -> np.ndarray:
        return store.record(str(index))[top : top + CROP, left : left + CROP, ...]

    whole = [_milliseconds(lambda i=i: store.record(str(i % len(maps))).labels()) for i in range(reads // 4)]
    crop = _crop_times(maps, read_crop, reads)
    store.close()
    return Row(name, 'store', size, statistics.median(write), statistics.median(whole), crop)


def _measure_png(name: str, maps: list[LabelMap], folder: Path, reads: int, level: int | None) -> Row:
    folder.mkdir()
    options = [] if level is None else [cv2.IMWRITE_PNG_COMPRESSION, level]
    paths = [folder / f'{i}.png' for i in range(len(maps))]

    def write_one(path: Path, labels: np.ndarray) -> None:
        path.write_bytes(cv2.imencode('.png', labels.astype(np.uint16), options)[1].tobytes())

    def read_one(path: Path) -> np.ndarray:
        return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)

    write = [_milliseconds(lambda p=p, m=m: write_one(p, m.labels)) for p, m in zip(paths, maps)]
    whole = [_milliseconds(lambda i=i: read_one(paths[i % len(maps)])) for i in range(reads // 4)]
    crop = _crop_times(
        maps, lambda i, top, left: read_one(paths[i])[top : top + CROP, left : left + CROP].copy(), reads // 4
    )
    what = 'PNG, 16 bit, OpenCV' + ('' if level is None else f', level {level}')
    size = statistics.fmean(path.stat().st_size for path in paths)
    return Row(name, what, size, statistics.median(write), statistics.median(whole), crop)


def _crop_times(maps: list[LabelMap], read: Callable[[int, int, int], np.ndarray], reads: int) -> float:
    rng = np.random.default_rng(1)
    times = []
    for _ in range(reads):
        index = int(rng.integers(len(maps)))
        height, width = maps[index].shape
        top, left = int(rng.integers(height - CROP + 1)), int(rng.integers(width - CROP + 1))
        times.append(_milliseconds(lambda i=index, t=top, x=left: read(i, t, x)))
    return statistics.median(times)


def _milliseconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return 1000 * (time.perf_counter() - begun)


def print_table(rows: Sequence[Row]) -> None:
    """Print the rows, each size also relative to the PNG of OpenCV's default level."""
    print(f'{"label maps":12} {"kept as":28} {"bytes":>7} {"ratio":>6} {"write ms":>9} {"whole ms":>9} {"crop ms":>8}')
    for row in rows:
        png = next(r for r in rows if r.images == row.images and r.what == 'PNG, 16 bit, OpenCV')
        print(
            f'{row.images:12} {row.what:28} {row.size:7.0f} {row.size / png.size:6.3f} {row.write:9.3f} '
            f'{row.whole:9.3f} {row.crop:8.3f}'
        )

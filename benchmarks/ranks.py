"""Extraction with two ranks against one, felzenszwalb, one thread each.

Ranks are processes that import everything first and then start together, so start-up is excluded. On a machine with
other load, wall time includes that load; CPU time per image shows whether the ranks slow each other down.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import cv2

from benchmarks.fixtures import Row, photographs
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.segmenters import build_segmenter

IMAGES = 96  # with fewer, the last image of the slower rank matters
SIZE = (321, 481)


def run(repeats: int = 3) -> list[Row]:
    """Return medians over ``repeats`` of extracting the same images with one rank and with two, taken in turn.

    Raises:
        SAPDError: a rank fails.
    """
    wall: dict[int, list[float]] = {1: [], 2: []}
    processor: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(Path(folder) / 'photos')
        for repeat in range(repeats):
            for ranks in (1, 2):
                seconds, used = _extract(photos, Path(folder) / f'store-{ranks}-{repeat}', ranks)
                wall[ranks].append(IMAGES / seconds)
                processor[ranks].append(used / IMAGES)
    one, two = (statistics.median(values) for values in wall.values())
    used_one, used_two = (statistics.median(values) for values in processor.values())
    return [
        Row('one rank', one, 'images/s'),
        Row('two ranks', two, 'images/s'),
        Row('two ranks / one, wall clock (bar: >= 1.8, two free cores)', two / one, 'x'),
        Row('one rank, processor time', used_one, 's/image'),
        Row('two ranks, processor time', used_two, 's/image'),
        Row('two ranks / one, by processor time', 2 * used_one / used_two, 'x'),
        Row('processes that waited for a core, at the end', os.getloadavg()[0], 'load'),
    ]


def _photos(folder: Path) -> Path:
    folder.mkdir()
    sources = list(photographs(SIZE).values())
    for i in range(IMAGES):
        photo = cv2.flip(sources[i % len(sources)], i // len(sources) % 3 - 1)
        cv2.imwrite(str(folder / f'{i}.png'), photo[:, :, ::-1])
    return folder


def _extract(photos: Path, store: Path, ranks: int) -> tuple[float, float]:
    """Return wall seconds from the common start to the last end, and CPU seconds of all ranks."""
    context = multiprocessing.get_context('spawn')
    ready = context.Barrier(ranks + 1)
    with context.Pool(ranks, _prepare, (photos / '0.png', ready)) as pool:
        ready.wait()
        begun = time.perf_counter()
        used = pool.starmap(_rank, [(photos, store, Rank(i, ranks)) for i in range(ranks)], chunksize=1)
        seconds = time.perf_counter() - begun
        pool.close()
        pool.join()  # leaving the block kills the processes, which would leak tqdm's locks
    return seconds, sum(used)


def _prepare(photo: Path, ready: Barrier) -> None:
    cv2.setNumThreads(1)
    build_segmenter('felzenszwalb')(cv2.imread(str(photo)))  # imports scikit-image
    ready.wait()


def _rank(photos: Path, store: Path, rank: Rank) -> float:
    begun = time.process_time()
    report = extract_masks(photos, store, build_segmenter('felzenszwalb'), rank=rank, progress=False)
    if report.exit_status:
        raise SAPDError(f'{rank}: found {len(report.failed)} images without a mask, expected all masks.')
    return time.process_time() - begun

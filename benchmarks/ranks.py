"""Extraction by two ranks against one, felzenszwalb, one thread each.

Ranks are processes of their own that have imported everything and then begin together, so start-up is left out. On a
machine that does other work as well, the wall clock tells how much of the cores was left for us; the processor time an
image tells whether the ranks stand in each other's way.
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import skimage.data

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.timing import Row
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.segmenters import build_segmenter

IMAGES = 96  # with fewer, the last image of the slower rank weighs
SIZE = (481, 321)


def run(repeats: int = 3) -> list[Row]:
    """Medians over ``repeats`` of extracting the same images with one rank and with two, taken in turn.

    Raises:
        SAPDError: where a rank fails.
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
    rate = {ranks: statistics.median(values) for ranks, values in wall.items()}
    used_each = {ranks: statistics.median(values) for ranks, values in processor.items()}
    return [
        Row('one rank', rate[1], 'images/s'),
        Row('two ranks', rate[2], 'images/s'),
        Row('two ranks / one, wall clock (bar: >= 1.8, two free cores)', rate[2] / rate[1], 'x'),
        Row('one rank, processor time', used_each[1], 's/image'),
        Row('two ranks, processor time', used_each[2], 's/image'),
        Row('two ranks / one, by processor time', 2 * used_each[1] / used_each[2], 'x'),
        Row('processes that waited for a core, at the end', os.getloadavg()[0], 'load'),
    ]


def _photos(folder: Path) -> Path:
    folder.mkdir()
    sources = [skimage.data.astronaut(), skimage.data.coffee(), skimage.data.rocket()]
    for i in range(IMAGES):
        photo = cv2.resize(sources[i % 3], SIZE, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f'{i}.png'), cv2.flip(photo, i // 3 % 3 - 1)[:, :, ::-1])
    return folder


def _extract(photos: Path, store: Path, ranks: int) -> tuple[float, float]:
    """Return wall seconds from the common beginning to the last end, and processor seconds of all ranks."""
    context = multiprocessing.get_context('spawn')
    ready, results = context.Barrier(ranks + 1), context.Queue()
    processes = [
        context.Process(target=_rank, args=(photos, store, Rank(i, ranks), ready, results)) for i in range(ranks)
    ]
    for process in processes:
        process.start()
    ready.wait()
    begun = time.perf_counter()
    used = [results.get(timeout=600) for _ in processes]
    seconds = time.perf_counter() - begun
    for process in processes:
        process.join()
    if None in used:
        raise SAPDError(f'ranks: found a rank that did not end well ({used}), expected all masks.')
    return seconds, sum(used)


def _rank(photos: Path, store: Path, rank: Rank, ready: Any, results: Any) -> None:
    cv2.setNumThreads(1)
    segmenter = build_segmenter('felzenszwalb')
    segmenter(cv2.imread(str(photos / '0.png')))  # imports scikit-image
    ready.wait()
    begun = time.process_time()
    status = extract_masks(photos, store, segmenter, rank=rank, progress=False).exit_status
    results.put(None if status else time.process_time() - begun)

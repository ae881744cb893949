"""MobileSAM's masks per second, with both presets."""

from __future__ import annotations

import time
from itertools import cycle, islice
from typing import Any

import torch

from benchmarks.fixtures import Row, photographs
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters import build_segmenter, find_sam_checkpoint

# Name -> settings of the segmenter.
CASES: dict[str, dict[str, Any]] = {
    'fast': {'preset': 'fast'},
    'fast, 64 points per batch': {'preset': 'fast', 'points_per_batch': 64},
    'fast, bfloat16': {'preset': 'fast', 'dtype': 'bfloat16'},
    'stock': {'preset': 'stock'},
}


def run(device: torch.device, tiny: bool) -> list[Row]:
    """Segment photos of 321x481, after one that warms up; 'tiny' means one small photo and a few prompts.

    Raises:
        SAPDError: there is no checkpoint of MobileSAM.
    """
    checkpoint = find_sam_checkpoint(variant='mobile_sam')
    if checkpoint is None:
        raise SAPDError('found no checkpoint of MobileSAM: set SAPD_SAM_CHECKPOINT.')
    photos = list(photographs((64, 96) if tiny else (321, 481)).values())
    rows = []
    for name, settings in CASES.items():
        if tiny and settings['preset'] == 'stock':
            settings = {**settings, 'points_per_side': 2}
        segmenter = build_segmenter('mobile_sam', checkpoint=checkpoint, device=str(device), **settings)
        segmenter(photos[0])
        some = list(islice(cycle(photos), 1 if tiny else 12))
        begun = time.perf_counter()
        masks = sum(len(segmenter(photo)) for photo in some)  # the label map is on the CPU, so the device has finished
        seconds = time.perf_counter() - begun
        rows += [
            Row(f'{name}: label maps per second', len(some) / seconds, '1/s'),
            Row(f'{name}: masks per second', masks / seconds, '1/s'),
        ]
    return rows

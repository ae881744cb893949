"""Loading MMagic training samples with masks against loading them without, through NAFNet's pipeline and EDSR's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from mmagic.registry import DATASETS
from mmengine.registry import init_default_scope

from benchmarks.fixtures import Row, compare_loaders, photo_pairs

_LOAD = [{'type': 'LoadImageFromFile', 'key': key} for key in ('img', 'gt')]
_FLIPS = [
    *({'type': 'Flip', 'keys': ['img', 'gt'], 'direction': way} for way in ('horizontal', 'vertical')),
    {'type': 'RandomTransposeHW', 'keys': ['img', 'gt']},
]
_CROP = {'type': 'PairedRandomCrop', 'gt_patch_size': 128}
ORDERS = {'flips, then crop': [*_FLIPS, _CROP], 'crop, then flips': [_CROP, *_FLIPS]}


def run(repeats: int = 15) -> list[Row]:
    """Measure 16 patches of 128x128 from 321x481 photos in one process."""
    init_default_scope('mmagic')
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        for order, transforms in ORDERS.items():
            scale = {'type': 'SetValues', 'dictionary': {'scale': 1}}
            config: dict[str, Any] = {
                'type': 'BasicImageDataset',
                'data_root': str(pairs),
                'data_prefix': {'img': 'degraded', 'gt': 'clean'},
                'pipeline': [*_LOAD, scale, *transforms, {'type': 'PackInputs'}],
            }
            masked = {**config, 'type': 'PairedImageMaskDataset', 'mask_store': str(pairs / 'masks')}

            def load(dataset: Any) -> None:
                np.random.seed(0)
                for index in range(16):
                    dataset[index % len(dataset)]

            rows += compare_loaders(load, [DATASETS.build(c) for c in (config, masked)], repeats, f'{order}: ')
    return rows

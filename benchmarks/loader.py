"""Loading training batches with masks against loading them without."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from basicsr.data import build_dataset
from torch.utils.data import default_collate

from benchmarks.fixtures import options, photo_pairs
from sapd_plugin.evaluation.timing import Row, medians_ms


def run(repeats: int = 15) -> list[Row]:
    """Medians over ``repeats`` of a batch of 16 patches of 128x128 from 321x481 photos, one process, taken in turn."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        stock_opt = {**options(pairs)['datasets']['train'], 'gt_size': 128}
        mask_opt = {**stock_opt, 'type': 'PairedImageMaskDataset', 'mask_store': str(pairs / 'masks')}
        datasets = [build_dataset(opt) for opt in (stock_opt, mask_opt)]

        def load(dataset: object) -> None:
            random.seed(0)
            default_collate([dataset[index % len(dataset)] for index in range(16)])  # type: ignore[index, arg-type]

        stock, masks = medians_ms([lambda d=d: load(d) for d in datasets], repeats)  # type: ignore[misc]
    return [
        Row('a batch without masks', stock, 'ms'),
        Row('a batch with masks', masks, 'ms'),
        Row('masks cost (bar: <= 5)', 100 * (masks / stock - 1), '%'),
    ]

"""Loading BasicSR's training batches with masks against loading them without."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

from basicsr.data import build_dataset
from torch.utils.data import default_collate

from benchmarks.fixtures import Row, compare_loaders, options, photo_pairs


def run(repeats: int = 15) -> list[Row]:
    """Measure a batch of 16 patches of 128x128 from 321x481 photos in one process."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        stock = {**options(pairs)['datasets']['train'], 'gt_size': 128}
        masked = {**stock, 'type': 'PairedImageMaskDataset', 'mask_store': str(pairs / 'masks')}

        def load(dataset: Any) -> None:
            random.seed(0)
            default_collate([dataset[index % len(dataset)] for index in range(16)])

        return compare_loaders(load, [build_dataset(opt) for opt in (stock, masked)], repeats, 'a batch ')

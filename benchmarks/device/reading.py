"""Reading patches of masks from a store with several workers of a data loader."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from benchmarks.fixtures import Row
from benchmarks.training import labelled_photographs
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter

SIDE = 256


class Patches(Dataset[torch.Tensor]):
    """Random patches of the label maps of a store."""

    def __init__(self, store: Path, names: list[str], count: int) -> None:
        self.store, self.names, self.count = MaskStore(store), names, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> torch.Tensor:
        record = self.store.record(self.names[index % len(self.names)])
        random = np.random.default_rng(index)
        rows, columns = (slice(at := int(random.integers(side - SIDE + 1)), at + SIDE) for side in record.shape[:2])
        return torch.from_numpy(record[rows, columns, ...].astype(np.int32))


def run(tiny: bool) -> list[Row]:
    """Read patches of 256x256 from maps of 321x481 in this process, and with 8 workers; 'tiny' means 1."""
    workers, count = (1, 16) if tiny else (8, 8192)
    with tempfile.TemporaryDirectory() as folder:
        names = []
        with MaskStoreWriter(Path(folder) / 'masks', {'segmenter': 'felzenszwalb'}) as writer:
            for number, (_, labels) in enumerate(labelled_photographs()):
                for flip in (-1, 0, 1):
                    names.append(f'{number}, flipped {flip}')
                    writer.put(names[-1], LabelMap.from_labels(cv2.flip(labels, flip)))
        rows = []
        for number in (0, workers):
            dataset = Patches(Path(folder) / 'masks', names, count)
            loader = DataLoader(dataset, batch_size=8, num_workers=number, persistent_workers=number > 0)
            for _ in range(2):  # the first pass starts the workers
                begun = time.perf_counter()
                for _ in loader:
                    pass
                seconds = time.perf_counter() - begun
            rows.append(Row(f'{number} workers: patches of {SIDE}x{SIDE}', count / seconds, '1/s'))
    return rows

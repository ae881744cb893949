"""Small mask stores."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter

SETTINGS: dict[str, Any] = {
    'segmenter': 'test',
    'parameters': {'scale': 3, 'sides': [1, 2]},
    'versions': {'library': '1'},
}
KEYS = ['a/x', 'a/x.y', 'b/x', 'd.png', 'übung 1']


def label_map(seed: int) -> LabelMap:
    """150x200 pixels of noise, 50 regions."""
    return LabelMap.from_labels(np.random.default_rng(seed).integers(0, 51, (150, 200)))


def fill(path: Path, keys: list[str], shard: int = 0, ranks: int | None = None, **settings: object) -> Path:
    """Write a map for each key, of which equally long ones get the same."""
    with MaskStoreWriter(path, {**SETTINGS, **settings}, shard, ranks) as writer:
        for key in keys:
            writer.put(key, label_map(len(key)))
    return path


def count_lines(store: Path) -> int:
    return (store / 'meta_info.txt').read_text(encoding='utf-8').count('\n')


@contextlib.contextmanager
def small_files(limit: int) -> Iterator[None]:
    """Refuse to write files beyond ``limit`` bytes, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

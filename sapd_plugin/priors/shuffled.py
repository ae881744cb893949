"""Masks shuffled between images: the control experiment for whether an image needs its own masks."""

from __future__ import annotations

import random
from collections.abc import Iterable

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.codec import Record


class ShuffledMasks:
    """Reader of a store that gives each image the mask of another image, always the same one.

    The seed shuffles ``keys`` into one circle, and each image gets its neighbour's mask.

    Raises:
        SAPDError: fewer than two images.
    """

    def __init__(self, store: MaskStore, keys: Iterable[str], seed: int) -> None:
        self.store = store
        circle = sorted(set(keys))
        if len(circle) < 2:
            raise SAPDError(f'mask_shuffle: found {len(circle)} image, expected at least 2 to exchange masks between.')
        random.Random(seed).shuffle(circle)
        self._neighbour = dict(zip(circle, [*circle[1:], circle[0]]))

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the store."""
        return self.store.fingerprint

    def record(self, key: str) -> StretchedMask:
        """Open the neighbour's mask, at the size of the image of ``key``. Raises as the store does."""
        height, width = self.store.size(key)
        return StretchedMask(self.store.record(self._neighbour[key]), height, width)

    def __repr__(self) -> str:
        return f'ShuffledMasks({self.store!r})'


class StretchedMask:
    """A record resized to an image (H,W,1) of a different size, by nearest pixel; at its own size, unchanged.

    >>> from sapd_plugin.priors.store.codec import encode
    >>> from sapd_plugin.priors.labels import LabelMap
    >>> record = Record(encode(LabelMap.from_labels(np.array([[1, 1, 2], [1, 3, 3]])), bytes(16)))
    >>> StretchedMask(record, 4, 3)[1:4, 1:3, ...][..., 0].tolist()
    [[1, 3], [2, 2], [2, 2]]
    """

    def __init__(self, record: Record, height: int, width: int) -> None:
        self._record = record
        self.shape = (height, width, 1)
        self.dtype = record.dtype
        # Those of the neighbour's photo, as its mask is.
        self.context = record.context

    def __getitem__(self, index: tuple) -> np.ndarray:
        """Read ``mask[top:bottom, left:right]`` (a trailing ``...`` is allowed) as (h, w, 1) of ``dtype``."""
        rows, columns = (
            self._nearest(part, length, own) for part, length, own in zip(index[:2], self.shape, self._record.shape)
        )
        if not len(rows) or not len(columns):
            return np.empty((len(rows), len(columns), 1), self.dtype)
        top, left = rows[0], columns[0]
        window = self._record[top : rows[-1] + 1, left : columns[-1] + 1]
        return window[(rows - top)[:, None], columns - left]

    @staticmethod
    def _nearest(part: slice, length: int, own: int) -> np.ndarray:
        begin, end, _ = part.indices(length)
        return (2 * np.arange(begin, end) + 1) * own // (2 * length)

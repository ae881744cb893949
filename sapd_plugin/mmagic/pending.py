"""A mask that is flipped and transposed before it is read, so that a pipeline only reads its final crop."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from sapd_plugin.priors.shuffled import StretchedMask
from sapd_plugin.priors.store.codec import Record


@dataclass(frozen=True)
class PendingMask:
    """A record as an image (H,W,1): transposed first, then flipped vertically, then horizontally, as flagged.

    Indexing with two slices reads only that part.

    >>> from sapd_plugin.priors.store.codec import encode
    >>> from sapd_plugin.priors.labels import LabelMap
    >>> record = Record(encode(LabelMap.from_labels(np.array([[1, 1, 2], [1, 3, 2]])), bytes(16)))
    >>> PendingMask(record).transposed().flipped('horizontal')[0:2, :, ...][..., 0].tolist()
    [[1, 1], [3, 1]]
    """

    record: Record | StretchedMask
    transpose: bool = False
    vertical: bool = False
    horizontal: bool = False

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return (H, W, 1) after the transposition."""
        height, width, _ = self.record.shape
        return (width, height, 1) if self.transpose else (height, width, 1)

    def flipped(self, direction: str) -> PendingMask:
        """Return the mask flipped; ``direction`` is 'horizontal' or 'vertical'."""
        if direction == 'horizontal':
            return replace(self, horizontal=not self.horizontal)
        return replace(self, vertical=not self.vertical)

    def transposed(self) -> PendingMask:
        """Return the mask with rows and columns swapped."""
        return replace(self, transpose=not self.transpose, vertical=self.horizontal, horizontal=self.vertical)

    def __getitem__(self, index: tuple) -> np.ndarray:
        """Read ``mask[top:bottom, left:right]`` (a trailing ``...`` is allowed) as (h, w, 1) of the record's dtype."""
        rows = _mirrored(index[0], self.shape[0], self.vertical)
        columns = _mirrored(index[1], self.shape[1], self.horizontal)
        crop = self.record[columns, rows].transpose(1, 0, 2) if self.transpose else self.record[rows, columns]
        crop = crop[::-1] if self.vertical else crop
        return crop[:, ::-1] if self.horizontal else crop


def _mirrored(part: slice, length: int, mirror: bool) -> slice:
    begin, end, _ = part.indices(length)
    return slice(length - end, length - begin) if mirror else slice(begin, end)

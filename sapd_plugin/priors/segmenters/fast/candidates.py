"""Masks between prompting and the label map: packed to bits, with their boxes and scores."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Logits by which the threshold is moved up and down for the stability score, as in the stock generator.
STABILITY_OFFSET = 1.0


class Masks(NamedTuple):
    """A generator's result: masks (M,H,W) bool; predicted IoU and stability, (M,) float32."""

    masks: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray


class Candidates:
    """A growing list of masks of one size, kept as bits on the host: 1/8 byte per pixel and mask."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self._bits: list[np.ndarray] = []
        self._boxes: list[Tensor] = []
        self._iou: list[Tensor] = []
        self._stability: list[Tensor] = []

    def __len__(self) -> int:
        return len(self._bits)

    def add(self, masks: Tensor, boxes: Tensor, iou: Tensor, stability: Tensor) -> None:
        """Add (M,H,W) bool masks, (M,4) boxes, and (M,) scores, from any device: one transfer for all."""
        self._bits.extend(np.packbits(masks.flatten(1).cpu().numpy(), axis=1))
        for kept, new in ((self._boxes, boxes), (self._iou, iou), (self._stability, stability)):
            kept.append(new.cpu())

    @property
    def boxes(self) -> Tensor:
        """(M,4) of x0, y0, x1, y1 in pixels, x1 and y1 inclusive."""
        return torch.cat([torch.zeros(0, 4, dtype=torch.long), *self._boxes])

    @property
    def iou(self) -> Tensor:
        """(M,) predicted IoU."""
        return torch.cat([torch.zeros(0), *self._iou])

    @property
    def stability(self) -> Tensor:
        """(M,) stability scores."""
        return torch.cat([torch.zeros(0), *self._stability])

    def mask(self, index: int) -> np.ndarray:
        """Unpack one mask: (H,W) bool."""
        count = self.size[0] * self.size[1]
        return np.unpackbits(self._bits[index], count=count).view(bool).reshape(self.size)

    def select(self, indices: Iterable[int]) -> Masks:
        """Unpack some of the masks, in the order given."""
        indices = list(indices)
        masks = np.zeros((len(indices), *self.size), dtype=bool)
        for mask, index in zip(masks, indices):
            mask[:] = self.mask(index)
        return Masks(masks, self.iou[indices].numpy(), self.stability[indices].numpy())


def stability_score(logits: Tensor, threshold: float) -> Tensor:
    """Return the IoU of masks at a higher and a lower threshold, (M,H,W) -> (M,); NaN where the lower is empty."""
    higher, lower = (
        # Rows are counted in 16 bits: half the time of 64.
        (logits > threshold + offset).sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32)
        for offset in (STABILITY_OFFSET, -STABILITY_OFFSET)
    )
    return higher / lower


def boxes_of(logits: Tensor, threshold: float) -> Tensor:
    """Bound ``logits > threshold``: (M,H,W) -> (M,4) int64 of x0, y0, x1, y1, the last two inclusive; 0 if empty."""
    bounds = []
    for axis in (1, 2):
        # A maximum over floats is quicker than any() over booleans.
        seen = (logits.amax(axis) > threshold).to(torch.uint8)
        bounds += [seen.argmax(1), seen.shape[1] - 1 - seen.flip(1).argmax(1)]
    left, right, top, bottom = bounds
    inside = (logits.flatten(1).amax(1) > threshold)[:, None]
    return torch.stack([left, top, right, bottom], dim=1) * inside

"""Masks of a generator, and their stability, boxes and overlap."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# Offset of the threshold, up and down, for the stability score, in logits; as in the stock generator.
STABILITY_OFFSET = 1.0


class Masks(NamedTuple):
    """A generator's result: masks (M,H,W) bool; predicted IoU and stability, (M,) float32."""

    masks: np.ndarray
    predicted_iou: np.ndarray
    stability: np.ndarray


def stability_score(logits: Tensor, threshold: float) -> Tensor:
    """Return the IoU of masks at a higher and a lower threshold, (M,H,W) -> (M,); NaN if the lower is empty."""
    higher, lower = (
        # Counting rows in 16 bits takes half the time of 64.
        (logits > threshold + offset).sum(-1, dtype=torch.int16).sum(-1, dtype=torch.int32)
        for offset in (STABILITY_OFFSET, -STABILITY_OFFSET)
    )
    return higher / lower


def boxes_of(logits: Tensor, threshold: float) -> Tensor:
    """Return boxes of ``logits > threshold``: (M,H,W) -> (M,4) int64 x0, y0, x1, y1, last two inclusive; 0 if empty."""
    bounds = []
    for axis in (1, 2):
        # A maximum over floats is faster than any() over booleans.
        seen = (logits.amax(axis) > threshold).to(torch.uint8)
        bounds += [seen.argmax(1), seen.shape[1] - 1 - seen.flip(1).argmax(1)]
    left, right, top, bottom = bounds
    inside = (logits.flatten(1).amax(1) > threshold)[:, None]
    return torch.stack([left, top, right, bottom], dim=1) * inside


def mask_nms(masks: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Keep the best of near duplicates, by the IoU of masks, not of boxes: a frame and its content have the same box.

    Args:
        masks: (M,P) bool, one mask per row.
        scores: (M,); of equal scores the earlier mask is preferred.
        threshold: of two masks with a larger IoU, the one with the lower score is dropped.

    Returns:
        Indices of the masks that are kept, best first.
    """
    inside = masks.float()
    area = inside.sum(1)
    shared = inside @ inside.T
    overlap = (shared > threshold * (area[:, None] + area - shared)).cpu().numpy()
    kept: list[int] = []
    for index in torch.argsort(scores, descending=True, stable=True).tolist():
        if not overlap[index, kept].any():
            kept.append(index)
    return kept

"""The masks that the fast generator has accepted so far, at SAM's low resolution."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from sapd_plugin.priors.segmenters.fast.candidates import Masks
from sapd_plugin.priors.segmenters.fast.geometry import Geometry

# Share of the photo. A larger mask is kept, but what lies on it is still prompted.
LARGEST_COVER = 0.5
# Every second logit along a side is enough to compare masks.
_STRIDE = 2
# Masks enlarged together; 30 MB at 1280x720.
_AT_ONCE = 8


class AcceptedMasks:
    """Accepted masks, of which no two are nearly the same, and the pixels that they cover.

    Args:
        geometry: of the photo.
        threshold: of the logits.
        nms_thresh: see `mask_nms`.
    """

    def __init__(self, geometry: Geometry, threshold: float, nms_thresh: float) -> None:
        self._geometry = geometry
        self._threshold = threshold
        self._nms_thresh = nms_thresh
        self._logits = torch.zeros(0, *geometry.logits_size)
        self._iou = self._stability = torch.zeros(0)
        self._cover = np.zeros(geometry.inside(self._logits).shape[1:], dtype=bool)

    def add(self, logits: Tensor, iou: Tensor, stability: Tensor) -> bool:
        """Add masks; of two that are nearly the same the better one stays.

        Args:
            logits: (M,h,w).
            iou: (M,) predicted IoU.
            stability: (M,).

        Returns:
            True where the masks cover more than before.
        """
        before = int(self._cover.sum())
        logits = torch.cat([self._logits.to(logits), logits])
        iou, stability = torch.cat([self._iou.to(iou), iou]), torch.cat([self._stability.to(iou), stability])
        masks = self._geometry.inside(logits) > self._threshold
        kept = mask_nms(masks[:, ::_STRIDE, ::_STRIDE].flatten(1), iou, self._nms_thresh)
        self._logits, self._iou, self._stability = logits[kept], iou[kept], stability[kept]
        masks = masks[kept]
        counts = masks.flatten(1).sum(1) <= LARGEST_COVER * self._cover.size
        self._cover = masks[counts].any(0).cpu().numpy()
        return int(self._cover.sum()) > before

    def covers(self, points: np.ndarray) -> np.ndarray:
        """Return a (P,) bool array: which of the points, (P,2) of x, y in the photo's pixels, are covered."""
        shape = np.array(self._cover.shape)
        at = (points[:, ::-1] / self._geometry.size * shape).astype(int)
        return self._cover[tuple(np.minimum(at, shape - 1).T)]

    def enlarged(self) -> Masks:
        """Return the masks at the photo's size."""
        masks = np.zeros((len(self._logits), *self._geometry.size), dtype=bool)
        for first in range(0, len(masks), _AT_ONCE):
            part = slice(first, first + _AT_ONCE)
            masks[part] = (self._geometry.enlarge(self._logits[part]) > self._threshold).cpu().numpy()
        return Masks(masks, self._iou.cpu().numpy(), self._stability.cpu().numpy())


def mask_nms(masks: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Keep the best of masks that are nearly the same.

    Comparing boxes would not do: a frame and what it frames share one.

    Args:
        masks: (M,P) bool, one mask per row.
        scores: (M,); of equal scores the earlier mask is preferred.
        threshold: of two masks with a larger IoU the one with the lower score goes.

    Returns:
        Indices of the masks that stay, best first.
    """
    inside = masks.float()
    area = inside.sum(1)
    shared = inside @ inside.T
    union = area[:, None] + area - shared
    overlap = (shared > threshold * union).cpu().numpy()
    kept: list[int] = []
    for index in torch.argsort(scores, descending=True, stable=True).tolist():
        if not overlap[index, kept].any():
            kept.append(index)
    return kept

"""The fast generator, which prompts only uncovered pixels, from a coarse grid to a fine one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sapd_plugin.priors.segmenters.fast.geometry import Geometry
from sapd_plugin.priors.segmenters.fast.masks import Masks, mask_nms, stability_score
from sapd_plugin.priors.segmenters.fast.prompting import EncodedPhoto, Prompter

# Points along the longer side, per level.
LEVELS = (8, 16, 24)
# Fraction of the photo. A larger mask is kept, but its pixels are still prompted.
LARGEST_COVER = 0.5
_GOLDEN = 0.618033988749895
# Every second logit along each axis is enough to compare masks.
_STRIDE = 2
# Masks enlarged at once; 30 MB at 1280x720.
_AT_ONCE = 8


@dataclass
class AdaptiveGenerator:
    """Generate masks of a photo, prompting only pixels that are not covered yet.

    Masks are filtered and compared at SAM's low resolution, a quarter of its input; only those that are kept are
    enlarged. The number of prompts per batch bounds the memory.
    """

    prompter: Prompter
    pred_iou_thresh: float
    stability_score_thresh: float
    mask_nms_thresh: float
    points_per_batch: int

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Masks:
        """Segment an RGB uint8 (H,W,3) photo; masks by descending predicted IoU."""
        photo = self.prompter.encode(image)
        accepted = AcceptedMasks(photo.geometry, self.prompter.sam.mask_threshold, self.mask_nms_thresh)
        for level in LEVELS:
            waiting = spread_grid(level, photo.geometry.size)
            while len(waiting := waiting[~accepted.covers(waiting)]):
                batch, waiting = waiting[: self.points_per_batch], waiting[self.points_per_batch :]
                # A batch is spread over all that is uncovered. If it adds no cover, one huge mask fills that.
                if not accepted.add(*self._prompt(photo, batch)):
                    break
        return accepted.enlarged()

    def _prompt(self, photo: EncodedPhoto, points: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Prompt and filter: (M,h,w) logits inside the photo, (M,) predicted IoU, (M,) stability."""
        decoded = photo.decode(points)
        passed = (decoded.iou > self.pred_iou_thresh).cpu()
        logits, iou = photo.passing(decoded, passed, passed.any(1).nonzero()[:, 0].tolist())
        inside = photo.geometry.inside(logits)
        stability = stability_score(inside, self.prompter.sam.mask_threshold)
        kept = (stability >= self.stability_score_thresh).nonzero()[:, 0]
        return logits[kept], iou[kept], stability[kept]


class AcceptedMasks:
    """Masks at SAM's low resolution without near duplicates, and the pixels that they cover.

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
        """Add (M,h,w) logits and (M,) scores; of two near duplicates, the better one is kept.

        Returns:
            True if the masks cover more than before.
        """
        before = int(self._cover.sum())
        logits = torch.cat([self._logits.to(logits), logits])
        iou, stability = torch.cat([self._iou.to(iou), iou]), torch.cat([self._stability.to(iou), stability])
        masks = self._geometry.inside(logits) > self._threshold
        best = mask_nms(masks[:, ::_STRIDE, ::_STRIDE].flatten(1), iou, self._nms_thresh)
        kept = torch.tensor(best, dtype=torch.long).to(iou.device, non_blocking=True)
        self._logits, self._iou, self._stability = logits[kept], iou[kept], stability[kept]
        masks = masks[kept]
        counts = masks.flatten(1).sum(1) <= LARGEST_COVER * self._cover.size
        self._cover = (masks & counts[:, None, None]).any(0).cpu().numpy()
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


def spread_grid(points: int, size: tuple[int, int]) -> np.ndarray:
    """Return a grid of points on a photo (H,W), ordered so that consecutive points are spread over the photo.

    Returns:
        (P,2) float64 of x, y in pixels, the centers of square cells; ``points`` of them along the longer side.
    """
    height, width = size
    rows, columns = (max(1, round(points * side / max(size))) for side in size)
    y, x = np.mgrid[:rows, :columns]
    grid = np.stack([(x + 0.5) * width / columns, (y + 0.5) * height / rows], axis=-1).reshape(-1, 2)
    # Multiples of the golden ratio, modulo 1, are spread evenly for any count.
    return grid[np.argsort(np.arange(len(grid)) * _GOLDEN % 1.0, kind='stable')]

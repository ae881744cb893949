"""The fast generator, which prompts where nothing is covered yet, from a coarse grid to a fine one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from sapd_plugin.priors.segmenters.fast.accepted import AcceptedMasks
from sapd_plugin.priors.segmenters.fast.candidates import Masks, stability_score
from sapd_plugin.priors.segmenters.fast.prompting import EncodedPhoto, Prompter

# Points along the longer side, level by level.
LEVELS = (8, 16, 24)
_GOLDEN = 0.618033988749895


@dataclass
class AdaptiveGenerator:
    """Generate masks of a photo, prompting only where nothing is covered yet.

    Masks are filtered, compared and counted as cover at SAM's low resolution, a quarter of its input; only those that
    stay are enlarged. One batch's prompts bound the memory.
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
                # A batch is spread over all that is open. Where it covers nothing more, one huge mask fills it.
                if not accepted.add(*self._prompt(photo, batch)):
                    break
        return accepted.enlarged()

    def _prompt(self, photo: EncodedPhoto, points: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        """Prompt and filter: (M,h,w) logits inside of the photo, (M,) predicted IoU, (M,) stability."""
        decoded = photo.decode(points)
        passed = decoded.iou > self.pred_iou_thresh
        prompts = passed.any(1).nonzero()[:, 0].tolist()
        logits = [photo.logits(decoded, prompt)[passed[prompt]] for prompt in prompts]
        joined = torch.cat([decoded.iou.new_empty(0, *photo.geometry.logits_size), *logits])
        inside = photo.geometry.inside(joined)
        stability = stability_score(inside, self.prompter.sam.mask_threshold)
        kept = stability >= self.stability_score_thresh
        return joined[kept], decoded.iou[passed][kept], stability[kept]


def spread_grid(points: int, size: tuple[int, int]) -> np.ndarray:
    """Lay a grid of square cells over a photo, in an order in which every stretch is spread over the whole.

    Args:
        points: along the longer side.
        size: (H,W) in pixels.

    Returns:
        (P,2) float64 of x, y in pixels, the middles of the cells.
    """
    height, width = size
    rows, columns = (max(1, round(points * side / max(size))) for side in size)
    y, x = np.mgrid[:rows, :columns]
    grid = np.stack([(x + 0.5) * width / columns, (y + 0.5) * height / rows], axis=-1).reshape(-1, 2)
    # Multiples of the golden ratio, modulo 1, fall evenly however many are taken.
    return grid[np.argsort(np.arange(len(grid)) * _GOLDEN % 1.0, kind='stable')]

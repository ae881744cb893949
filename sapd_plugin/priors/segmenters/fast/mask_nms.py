"""Non-maximum suppression by the masks themselves."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_nms(masks: Tensor, scores: Tensor, threshold: float) -> list[int]:
    """Keep the best of masks that are nearly the same.

    Boxes tell apart less: a frame and what it frames share one.

    Args:
        masks: (M,P) bool, one mask a row.
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

"""Masks cut while training, from what the student restores at that moment (METHOD.md, reading 1, a switch)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from sapd_plugin.errors import SAPDError


class OnlineMasks:
    """Segments the patches of a batch every so many iterations; in between the store's masks are used.

    Args:
        segment: an RGB uint8 (H,W,3) array -> (H,W) integer label map, 0 = no mask.
        every: 1 = at each iteration, so that no store is needed.

    Raises:
        SAPDError: ``every`` is no whole number of at least 1.
    """

    def __init__(self, segment: Callable[[np.ndarray], np.ndarray], every: int = 1) -> None:
        if isinstance(every, bool) or not isinstance(every, int) or every < 1:
            raise SAPDError(f'online.every: found {every!r}, expected a whole number of at least 1.')
        self.segment, self.every = segment, every

    def due(self, iteration: int) -> bool:
        """Tell whether ``iteration``, counted from 1, takes new masks."""
        return iteration % self.every == 0

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        """Cut masks of RGB images (N,3,H,W), nominally in [0, 1]: (N,1,H,W) int32 on the same device."""
        photos = (rgb.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        labels = np.stack([self.segment(photo).astype(np.int32) for photo in photos])
        return torch.from_numpy(labels).unsqueeze(1).to(rgb.device)

"""Masks that are extracted during training from restored images (docs/method.md, section Masks)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sapd_plugin.errors import check_count, within

Segment = Callable[[np.ndarray], np.ndarray]


class OnlineMasks:
    """Segment the restored patches of a batch every ``every`` iterations.

    Args:
        segment: maps an RGB uint8 (H,W,3) array to an (H,W) integer label map, 0 = no mask.
        every: number of iterations; with 1, batches need no masks of their own.

    Raises:
        SAPDError: ``every`` is not an integer of at least 1.
    """

    def __init__(self, segment: Segment, every: int = 1) -> None:
        check_count('every', every)
        self.segment, self.every = segment, every

    def due(self, iteration: int) -> bool:
        """Return whether masks are extracted at ``iteration``, counted from 1."""
        return iteration % self.every == 0

    @torch.no_grad()
    def __call__(self, rgb: Tensor) -> Tensor:
        """Segment RGB images (N,3,H,W), nominally in [0, 1]; return (N,1,H,W) int32 on the same device.

        The segmenter has a precision of its own, so it does not see the training's autocast.
        """
        images = (rgb.detach().float().clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        with torch.autocast(rgb.device.type, enabled=False):
            labels = np.stack([self.segment(image).astype(np.int32) for image in images])
        return torch.from_numpy(labels).unsqueeze(1).to(rgb.device)


def build_online(
    key: str, block: Mapping[str, Any] | None, build: Callable[[Mapping[str, Any]], Segment]
) -> OnlineMasks | None:
    """Build :class:`OnlineMasks` from a config block; return None if there is no block.

    Args:
        key: config key of the block, for messages.
        block: ``every`` and the segmenter's settings.
        build: builds the segmenter from its settings.

    Raises:
        SAPDError: ``every`` is not an integer of at least 1, or ``build`` refuses the settings.
    """
    if not block:
        return None
    settings = dict(block)
    every = settings.pop('every', 1)
    segment = build(settings)
    with within(key):
        return OnlineMasks(segment, every)


def needs_stored_masks(block: Mapping[str, Any] | None) -> bool:
    """Return whether batches have to hold masks, given the config block of the online masks."""
    return not block or block.get('every', 1) != 1

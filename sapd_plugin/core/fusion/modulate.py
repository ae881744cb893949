"""The fusion `modulate`: each region's features are scaled and shifted by functions of the region's own statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.partition import Level, moments


class Modulation(nn.Module):
    """Scale and shift each region's features, ``f (1 + gamma_r) + beta_r``.

    ``gamma_r`` and ``beta_r`` are functions of the mean and deviation of the features over the region, and of its area
    (our reading; compare SPADE, arXiv 1903.07291, and region normalisation, arXiv 1911.10375). They start at zero.

    Args:
        channels: channels of the features.
        context: number of statistics of the whole photo's regions, S.
    """

    def __init__(self, channels: int, context: int = 0) -> None:
        super().__init__()
        inputs, hidden = 2 * channels + 1 + context, min(channels, 64)
        self.hidden = nn.Linear(inputs, hidden)
        self.last = nn.Linear(inputs + hidden, 2 * channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, features: Tensor, level: Level, context: Tensor | None = None) -> Tensor:
        """Return the modulated features, same shape and dtype.

        Args:
            features: f, (N,C,P) floating.
            level: the regions at this size.
            context: (N,R,S), statistics of the whole photo's regions, or None.
        """
        known, scale = moments(features, level, context)
        gain, shift = self.last(torch.cat([known, self.hidden(known).relu()], dim=2)).chunk(2, dim=2)
        # One after the other: the backward pass needs the painted gain, but not the painted shift.
        scaled = to_single(features) * level.paint(1 + gain)
        return scaled.add_(level.paint(shift * scale)).to(features.dtype)

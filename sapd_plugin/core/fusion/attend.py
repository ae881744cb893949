"""The fusion `attend`: each pixel attends to all regions of the patch, its own and others of the same material."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.partition import Level, moments


class RegionAttention(nn.Module):
    """Add to each pixel a mixture of the regions' values, ``f_p + sum_r softmax_r(q_p . k_r + b [r = M_p]) v_r``.

    Keys and values are functions of each region's statistics (our reading; compare the region attention transformer,
    arXiv 2407.09268). The values start at zero.

    Args:
        channels: channels of the features.
        context: number of statistics of the whole photo's regions, S.
    """

    def __init__(self, channels: int, context: int = 0) -> None:
        super().__init__()
        inputs, width = 2 * channels + 1 + context, min(channels, 32)
        self.query = nn.Linear(channels, width)
        self.key = nn.Linear(inputs, width)
        self.value = nn.Linear(inputs, channels)
        self.own = nn.Parameter(torch.ones(()))
        nn.init.zeros_(self.value.weight)
        nn.init.zeros_(self.value.bias)

    def forward(self, features: Tensor, level: Level, context: Tensor | None = None) -> Tensor:
        """Return the features with the mixture added, same shape and dtype; arguments as for ``Modulation``."""
        known, scale = moments(features, level, context)
        query = self.query((to_single(features) / scale).transpose(1, 2))
        likeness = self.key(known) @ query.transpose(1, 2) * query.shape[2] ** -0.5 + self.own * level.members
        share = likeness.masked_fill(level.sizes == 0, float('-inf')).softmax(dim=1)
        mixture = (self.value(known) * scale).transpose(1, 2) @ share
        return (to_single(features) + mixture).to(features.dtype)

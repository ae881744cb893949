"""Fewer image tokens: those of the padding, which no mask shows, stand for sixteen each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.priors.segmenters.fast.geometry import GRID_SIDE

POOL = 4


def pool_padding(tokens: Tensor, place: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Average the padding's tokens and their places in blocks of 4x4, smaller at its ends.

    Dropping them would hurt: SAM was trained with them. A pooled token's attention score is raised by the logarithm of
    how many it stands for, so that it draws as much attention as they did.

    Args:
        tokens: (4096,C), raster order.
        place: (4096,C) positional encoding.
        grid: (rows, columns) of the photo's tokens, in the upper left corner.

    Returns:
        (N,C) tokens with the photo's first, (N,C) places, (N,) addends of the scores.
    """
    rows, columns = grid
    both = torch.cat([tokens, place], dim=1).T.reshape(1, -1, GRID_SIDE, GRID_SIDE)
    parts = [both[..., :rows, :columns].flatten(2)]
    counts = [tokens.new_zeros(rows * columns)]
    for padding in (both[..., :rows, columns:], both[..., rows:, :]):
        if padding.numel():
            ones = torch.ones_like(padding[:, :1])
            summed = F.avg_pool2d(F.pad(ones, _to_blocks(ones)), POOL) * POOL**2
            parts.append(F.avg_pool2d(padding, POOL, ceil_mode=True, count_include_pad=False).flatten(2))
            counts.append(summed.flatten().log())
    joined = torch.cat(parts, dim=2)[0].T
    width = tokens.shape[1]
    return joined[:, :width].contiguous(), joined[:, width:].contiguous(), torch.cat(counts)


def _to_blocks(padding: Tensor) -> tuple[int, int, int, int]:
    return 0, -padding.shape[-1] % POOL, 0, -padding.shape[-2] % POOL

"""Label maps as input planes of a network (METHOD.md, reading 2; the paper does not say how masks are encoded)."""

from __future__ import annotations

import torch
from torch import Tensor

from sapd_plugin.core.regions import boundaries, rank_regions, region_masks, region_means

ENCODINGS = ('planes', 'region_mean', 'boundary', 'none')


def encoding_channels(encoding: str, planes: int, image_channels: int) -> int:
    """Number of channels that :func:`encode_mask` returns for these settings."""
    return {
        'planes': planes,
        'none': planes,  # same size, so that the control has the parameters of the real thing
        'region_mean': image_channels + 1,
        'boundary': 1,
    }[encoding]


def encode_mask(mask: Tensor, restored: Tensor, encoding: str, planes: int) -> Tensor:
    """Turn a label map into network input.

    Args:
        mask: (N,1,H,W) integer label map.
        restored: (N,C,H,W) floating; gives the dtype and, for 'region_mean', the colours.
        encoding: 'planes': the largest regions of the patch as binary planes, largest first;
            'region_mean': each region's mean colour of ``restored`` and a boundary plane;
            'boundary': the boundary plane alone; 'none': zero planes, the cascade without priors.
        planes: number of planes of 'planes' and 'none'.

    Returns:
        (N,P,H,W), P as :func:`encoding_channels` tells, dtype of ``restored``.
    """
    n, _, h, w = mask.shape
    if encoding == 'none':
        return restored.new_zeros(n, planes, h, w)
    if encoding == 'boundary':
        return boundaries(mask).to(restored.dtype)
    if encoding == 'planes':
        ranks, _ = rank_regions(mask, planes)
        return region_masks(ranks, planes, restored.dtype)
    ranks, sizes = rank_regions(mask, max_regions=mask[0].numel())
    means = region_means(restored, ranks, sizes).transpose(1, 2)
    # Column 0 is what unmasked pixels read.
    palette = torch.cat([means.new_zeros(n, means.shape[1], 1), means], dim=2)
    index = ranks.view(n, 1, -1).expand(-1, palette.shape[1], -1)
    colours = palette.gather(2, index).view(n, -1, h, w)
    return torch.cat([colours, boundaries(mask).to(restored.dtype)], dim=1)

"""Label maps as input planes of a network; the paper does not say how masks are encoded (docs/method.md, SPF)."""

from __future__ import annotations

import torch
from torch import Tensor

from sapd_plugin.core.regions import boundaries, region_masks, region_means, region_order

ENCODINGS = ('planes', 'region_mean', 'boundary', 'none')


def encoding_channels(encoding: str, planes: int, image_channels: int) -> int:
    """Return the number of channels that :func:`encode_mask` returns for these settings."""
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
        restored: (N,C,H,W) floating; gives the dtype and, for 'region_mean', the colors.
        encoding: 'planes': the largest regions of the patch as binary planes, largest first;
            'region_mean': each region's mean color of ``restored`` and a boundary plane;
            'boundary': the boundary plane alone; 'none': zero planes, the cascade without priors.
        planes: number of planes of 'planes' and 'none'.

    Returns:
        (N,P,H,W), P = :func:`encoding_channels`, dtype of ``restored``.
    """
    n, _, h, w = mask.shape
    if encoding == 'none':
        return restored.new_zeros(n, planes, h, w)
    if encoding == 'boundary':
        return boundaries(mask).to(restored.dtype)
    if encoding == 'planes':
        order, _ = region_order(mask, planes)
        return region_masks(order, planes, restored.dtype)
    order, sizes = region_order(mask, max_regions=mask[0].numel())
    means = region_means(restored, order, sizes).transpose(1, 2)
    # Column 0 is what unmasked pixels read.
    palette = torch.cat([means.new_zeros(n, means.shape[1], 1), means], dim=2)
    index = order.view(n, 1, -1).expand(-1, palette.shape[1], -1)
    colors = palette.gather(2, index).view(n, -1, h, w)
    return torch.cat([colors, boundaries(mask).to(restored.dtype)], dim=1)

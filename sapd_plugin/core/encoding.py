"""Label maps as input planes of a network (our reading: docs/method.md, section SPF)."""

from __future__ import annotations

import torch
from torch import Tensor

from sapd_plugin.core.regions import boundaries, region_means, region_order

ENCODINGS = ('planes', 'region_mean', 'boundary', 'none')


def encoding_channels(encoding: str, planes: int, image_channels: int) -> int:
    """Return the number of channels of :func:`encode_mask`'s result."""
    return {
        'planes': planes,
        'none': planes,  # so that the control has the same number of parameters as 'planes'
        'region_mean': image_channels + 1,
        'boundary': 1,
    }[encoding]


def encode_mask(mask: Tensor, restored: Tensor, encoding: str, planes: int) -> Tensor:
    """Encode label maps as input planes, E(M).

    Args:
        mask: M, (N,1,H,W) integer, 0 = no mask.
        restored: y, (N,C,H,W) floating.
        encoding: 'planes': the largest regions of the patch as binary planes, largest first;
            'region_mean': each region's mean color of ``restored``, and a boundary plane;
            'boundary': the boundary plane alone; 'none': zeros, a control without masks.
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
        index = torch.arange(1, planes + 1, device=mask.device).view(1, -1, 1, 1)
        return (order == index).to(restored.dtype)
    order, sizes = region_order(mask, max_regions=mask[0].numel())
    means = region_means(restored, order, sizes).transpose(1, 2)
    # Pixels without a mask have index 0.
    palette = torch.cat([means.new_zeros(n, means.shape[1], 1), means], dim=2)
    index = order.view(n, 1, -1).expand(-1, palette.shape[1], -1)
    colors = palette.gather(2, index).view(n, -1, h, w)
    return torch.cat([colors, boundaries(mask).to(restored.dtype)], dim=1)

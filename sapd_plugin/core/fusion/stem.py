"""What enters at the second network's first convolution: boundaries, region means, and the degraded image."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.partition import Partition, fit

MAP_CHANNELS = 8


class RegionMap(nn.Module):
    """The fusion `map`: planes in which each region has the mean of learned features of the restored image.

    It averages over the whole region, beyond any receptive field, and stops at the region's edge (compare the MAP unit
    of SAM-Deblur, arXiv 2309.02270).

    Args:
        image_channels: channels C of the restored image.
        context: number of statistics of the whole photo's regions, S.
    """

    def __init__(self, image_channels: int, context: int = 0) -> None:
        super().__init__()
        self.features = nn.Conv2d(image_channels, MAP_CHANNELS, 3, padding=1)
        self.planes = MAP_CHANNELS + 1 + context

    def forward(self, restored: Tensor, partition: Partition) -> Tensor:
        """Return (N,``planes``,H,W): the painted means, the logarithm of the region's area, and the context."""
        features = to_single(self.features(restored)).flatten(2)
        with torch.autocast(restored.device.type, enabled=False):
            level = partition.at(1, (restored.shape[2], restored.shape[3]))
            known = [] if partition.context is None else [partition.context]
            planes = level.paint(torch.cat([level.means(features), level.log_area, *known], dim=2))
        return planes.unflatten(2, restored.shape[2:])


class StemInjection(nn.Module):
    """Add a convolution of planes to the output of the second network's first convolution; it starts at zero.

    Args:
        planes: number of planes at the size of the image.
        channels: channels of the first convolution's output.
        stride: image pixels per cell of that output.
    """

    def __init__(self, planes: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(planes * stride * stride, channels, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, features: Tensor, planes: Tensor) -> Tensor:
        """Return ``features`` (N,channels,h,w) with the convolution of ``planes`` (N,planes,H,W) added, same dtype."""
        fitted = fit(planes, self.stride, (features.shape[2], features.shape[3]))
        return features + self.conv(F.pixel_unshuffle(fitted, self.stride)).to(features.dtype)

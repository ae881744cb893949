"""Layers that several networks share."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn


def named(**layers: nn.Module) -> nn.Sequential:
    """Return layers one after another, with names in the state dict in place of numbers."""
    return nn.Sequential(OrderedDict(layers))


def padded_conv(inputs: int, outputs: int, kernel_size: int, bias: bool = True, stride: int = 1) -> nn.Conv2d:
    """Return a convolution padded by half its odd kernel: it keeps the size of the image, or divides it by stride."""
    return nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=bias)


class SupervisedAttention(nn.Module):
    """Restores an image from features, and passes on what that image attends to (MPRNet paper, section 3.2).

    Args:
        n_feat: channels of the features.
        channels: of the image.
        kernel_size: 1 in MPRNet, 3 in HINet.
        bias: of the convolutions.
    """

    def __init__(self, n_feat: int, channels: int, kernel_size: int, bias: bool) -> None:
        super().__init__()
        self.conv1 = padded_conv(n_feat, n_feat, kernel_size, bias)
        self.conv2 = padded_conv(n_feat, channels, kernel_size, bias)
        self.conv3 = padded_conv(channels, n_feat, kernel_size, bias)

    def forward(self, features: Tensor, degraded: Tensor) -> tuple[Tensor, Tensor]:
        """Return features for the next stage (N,n_feat,H,W) and this stage's restored image (N,C,H,W)."""
        restored = degraded + self.conv2(features)
        attention = torch.sigmoid(self.conv3(restored))
        return features + attention * self.conv1(features), restored

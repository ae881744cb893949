"""Parts that several networks share: the check of their arguments, padding, and layers."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.errors import check_count


def check_counts(network: str, least: int = 1, /, **counts: object) -> None:
    """Refuse constructor arguments that are not integers >= ``least``.

    Args:
        network: the network's name, for messages.
        least: the smallest valid number.
        **counts: arguments by name; each element of a list or tuple is checked.

    Raises:
        SAPDError: naming the network, the argument and what was found.
    """
    for name, value in counts.items():
        for member in value if isinstance(value, (list, tuple)) else [value]:
            check_count(f'{network}.{name}', member, least)


def pad_to_multiple(image: Tensor, multiple: int, mode: str = 'reflect') -> Tensor:
    """Pad an image on the right and at the bottom; the caller crops its output to the first H rows and W columns.

    Args:
        image: (N,C,H,W).
        multiple: both sides become multiples of this.
        mode: as in ``torch.nn.functional.pad``: 'reflect', 'replicate' or 'constant' (zeros). An image that is too
            small for 'reflect' is padded with 'replicate'.

    Returns:
        The padded image, or ``image`` itself if nothing has to be padded.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == right == 0:
        return image
    if mode == 'reflect' and (bottom >= height or right >= width):
        mode = 'replicate'
    return F.pad(image, (0, right, 0, bottom), mode=mode)


def named(**layers: nn.Module) -> nn.Sequential:
    """Return a sequence of layers with names instead of numbers in the state dict."""
    return nn.Sequential(OrderedDict(layers))


def padded_conv(inputs: int, outputs: int, kernel_size: int = 3, bias: bool = True, stride: int = 1) -> nn.Conv2d:
    """Return a convolution that keeps the size of the image, or divides it by ``stride``; odd ``kernel_size``."""
    return nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=bias)


class Residual(nn.Module):
    """Layers with a skip connection, (N,C,H,W) to (N,C,H,W)."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, features: Tensor) -> Tensor:
        """Return ``features`` plus the output of the layers."""
        return features + self.body(features)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel, (N,C,H,W) to (N,C,H,W).

    Args:
        channels: number of channels C.
        eps: added to the variance.
        bias: False divides by the standard deviation without subtracting the mean, and has no shift.
    """

    def __init__(self, channels: int, eps: float = 1e-5, bias: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if bias else None
        self.eps = eps

    def forward(self, features: Tensor) -> Tensor:
        """Return the normalised features."""
        pixels = features.movedim(1, -1)
        if self.bias is not None:
            normed = F.layer_norm(pixels, self.weight.shape, self.weight, self.bias, self.eps)
        else:
            normed = pixels * (pixels.var(-1, keepdim=True, unbiased=False) + self.eps).rsqrt() * self.weight
        return normed.movedim(-1, 1)


class ChannelAttention(nn.Module):
    """Channel attention: each channel is multiplied by a weight in (0, 1) (RCAN paper, section 3.3).

    Args:
        channels: number of channels C of the features (N,C,H,W).
        reduction: the hidden layer has ``channels // reduction`` channels.
        bias: whether the convolutions have a bias.
    """

    def __init__(self, channels: int, reduction: int, bias: bool = True) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1, bias=bias),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1, bias=bias),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return the weighted features."""
        return features * self.conv_du(features.mean((2, 3), keepdim=True))


class SupervisedAttention(nn.Module):
    """Supervised attention module: restore an image, and weight the features by it (MPRNet paper, section 3.2).

    Args:
        n_feat: channels of the features.
        channels: channels of the image.
        kernel_size: 1 in MPRNet, 3 in HINet.
        bias: whether the convolutions have a bias.
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

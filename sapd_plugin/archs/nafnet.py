"""NAFNet (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022), plain and with TLC.

Independent implementation. Licence of the authors' weights (megvii-research/NAFNet): MIT.

TLC (Chu et al., "Improving Image Restoration by Revisiting Global Information Aggregation", ECCV 2022) is used for
NAFNet's published GoPro and REDS numbers. In testing, channel attention takes the mean over a window of about the size
of a training patch instead of the whole image. The parameters stay the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.archs.layers import ChannelNorm, check_counts, pad_to_multiple
from sapd_plugin.errors import SAPDError


class NAFNet(nn.Module):
    """A one-stage U-shaped network of blocks without activation functions (paper, sections 3 and 4).

    Argument and parameter names are the authors'. They published widths 32 and 64. ``enc_blk_nums``,
    ``middle_blk_num`` and ``dec_blk_nums`` are [1, 1, 1, 28], 1, [1, 1, 1, 1] for GoPro and REDS, and [2, 2, 4, 8], 12,
    [2, 2, 2, 2] for SIDD.

    Args:
        img_channel: channels of the image.
        width: channels of the features at full size; they double with each level.
        middle_blk_num: number of blocks at the smallest size.
        enc_blk_nums: number of blocks of each encoder level, from full size down.
        dec_blk_nums: number of blocks of each decoder level, up to full size; as many levels as ``enc_blk_nums``.

    Raises:
        SAPDError: a count that is not an integer >= 1, or different numbers of levels.
    """

    def __init__(
        self,
        img_channel: int = 3,
        width: int = 16,
        middle_blk_num: int = 1,
        enc_blk_nums: Sequence[int] = (),
        dec_blk_nums: Sequence[int] = (),
    ) -> None:
        super().__init__()
        name = type(self).__name__
        enc_blk_nums, dec_blk_nums = list(enc_blk_nums), list(dec_blk_nums)
        check_counts(name, img_channel=img_channel, width=width, middle_blk_num=middle_blk_num)
        check_counts(name, enc_blk_nums=enc_blk_nums, dec_blk_nums=dec_blk_nums)
        if len(enc_blk_nums) != len(dec_blk_nums):
            raise SAPDError(
                f'{name}.dec_blk_nums: found {len(dec_blk_nums)} levels, expected {len(enc_blk_nums)}, as enc_blk_nums.'
            )
        levels = len(enc_blk_nums)
        widths = [width * 2**level for level in range(levels + 1)]
        self.intro = nn.Conv2d(img_channel, width, 3, padding=1)
        self.ending = nn.Conv2d(width, img_channel, 3, padding=1)
        self.encoders = nn.ModuleList(map(_blocks, widths, enc_blk_nums))
        self.decoders = nn.ModuleList(map(_blocks, widths[-2::-1], dec_blk_nums))
        self.middle_blks = _blocks(widths[-1], middle_blk_num)
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(wide, 2 * wide, 1, bias=False), nn.PixelShuffle(2)) for wide in widths[:0:-1]
        )
        self.downs = nn.ModuleList(nn.Conv2d(narrow, 2 * narrow, 2, stride=2) for narrow in widths[:-1])

    def forward(self, image: Tensor) -> Tensor:
        """Restore ``image`` (N,C,H,W), padded with zeros as in the authors' code; return the same shape."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, 2 ** len(self.encoders), 'constant')
        x = self.intro(padded)
        skips = []
        for encoder, down in zip(self.encoders, self.downs):
            x = encoder(x)
            skips.append(x)
            x = down(x)
        x = self.middle_blks(x)
        for decoder, up in zip(self.decoders, self.ups):
            x = decoder(up(x) + skips.pop())
        return (self.ending(x) + padded)[..., :height, :width]


class NAFNetLocal(NAFNet):
    """:class:`NAFNet` with TLC; it loads NAFNet's checkpoints, and equals NAFNet on images up to the window's size.

    Args:
        *args: as for NAFNet.
        train_size: (H, W) of the training patches, or (N, C, H, W) as in the authors' configs. The window's sides are
            1.5 times as large, at every level.
        **kwargs: as for NAFNet.

    Raises:
        SAPDError: as NAFNet, or a size is not an integer >= 1.
    """

    def __init__(self, *args: Any, train_size: Sequence[int] = (256, 256), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        patch = list(train_size)[-2:]
        check_counts('NAFNetLocal', train_size=patch)
        levels = len(self.encoders)
        for block in self.modules():
            if isinstance(block, _Block):
                level = (block.conv3.out_channels // self.intro.out_channels).bit_length() - 1
                block.sca[0] = WindowMean([_window(side, level, levels) for side in patch])


def _window(side: int, level: int, levels: int) -> int:
    """Return 1.5 times the side that a padded training patch has at this level."""
    padded = side + -side % 2**levels
    return (padded >> level) * int(1.5 * side) // side


def _blocks(channels: int, number: int) -> nn.Sequential:
    return nn.Sequential(*[_Block(channels) for _ in range(number)])


class _Block(nn.Module):
    """Depthwise convolution and channel attention, then a feed-forward part, both gated by a product."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        double = 2 * channels
        self.conv1 = nn.Conv2d(channels, double, 1)
        self.conv2 = nn.Conv2d(double, double, 3, padding=1, groups=double)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.sca = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1))
        self.conv4 = nn.Conv2d(channels, double, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.norm1, self.norm2 = ChannelNorm(channels, eps=1e-6), ChannelNorm(channels, eps=1e-6)
        # The block starts as the identity.
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        gated = _simple_gate(self.conv2(self.conv1(self.norm1(x))))
        x = x + self.conv3(gated * self.sca(gated)) * self.beta
        return x + self.conv5(_simple_gate(self.conv4(self.norm2(x)))) * self.gamma


def _simple_gate(x: Tensor) -> Tensor:
    left, right = x.chunk(2, dim=1)
    return left * right


class WindowMean(nn.Module):
    """The mean over a window around each pixel; near the border, over the nearest window inside the image.

    Args:
        window: height and width of the window; a larger one is reduced to the size of the image.
    """

    def __init__(self, window: Sequence[int]) -> None:
        super().__init__()
        self.window = tuple(window)

    def forward(self, x: Tensor) -> Tensor:
        """Return the means of ``x`` (N,C,H,W), same shape, or (N,C,1,1) if the window covers the whole image."""
        height, width = x.shape[-2:]
        if self.window[0] >= height and self.window[1] >= width:
            return F.adaptive_avg_pool2d(x, 1)
        mean = _running_mean(_running_mean(x, self.window[0], 2), self.window[1], 3)
        down, right = height - mean.shape[2], width - mean.shape[3]
        return F.pad(mean, (right // 2, (right + 1) // 2, down // 2, (down + 1) // 2), mode='replicate')


def _running_mean(x: Tensor, window: int, dim: int) -> Tensor:
    length = x.shape[dim]
    window = min(window, length)
    sums = F.pad(x.cumsum(dim), (1, 0) if dim == 3 else (0, 0, 1, 0))
    count = length - window + 1
    return (sums.narrow(dim, window, count) - sums.narrow(dim, 0, count)) / window

"""RCAN (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018).

Independent implementation. Licence of the authors' weights (yulunzhang/RCAN): no licence file found; ask the authors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.archs.layers import ChannelAttention, Residual, check_counts, padded_conv
from sapd_plugin.errors import SAPDError

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # mean of DIV2K
SCALES = (1, 2, 3, 4, 8)


class RCAN(nn.Module):
    """Residual groups of residual blocks with channel attention, then an upsampler (paper, section 3).

    Parameter names and defaults are the authors'. The parameters work on the 0-255 scale, as the authors' do. Images
    are in [0, 1], as for every network here.

    ``scale=1`` is our addition: without the upsampler, the network restores an image at its own size.

    Args:
        scale: 1, 2, 3, 4 or 8.
        n_resgroups: number of residual groups.
        n_resblocks: number of blocks in each group.
        n_feats: channels of the features.
        reduction: the hidden layer of channel attention has ``n_feats // reduction`` channels; at most ``n_feats``.

    Raises:
        SAPDError: an unknown scale, a count that is not an integer >= 1, or ``reduction`` is above ``n_feats``.
    """

    def __init__(
        self, scale: int = 4, n_resgroups: int = 10, n_resblocks: int = 20, n_feats: int = 64, reduction: int = 16
    ) -> None:
        super().__init__()
        check_counts('RCAN', scale=scale, n_resgroups=n_resgroups, n_resblocks=n_resblocks, n_feats=n_feats)
        check_counts('RCAN', reduction=reduction)
        if scale not in SCALES:
            raise SAPDError(f'RCAN.scale: found {scale}, expected one of {", ".join(map(str, SCALES))}.')
        if reduction > n_feats:
            raise SAPDError(f'RCAN.reduction: found {reduction}, expected at most n_feats, {n_feats}.')
        self.sub_mean, self.add_mean = _mean_shift(-1), _mean_shift(1)
        self.head = nn.Sequential(padded_conv(3, n_feats))
        groups = [_group(n_feats, n_resblocks, reduction) for _ in range(n_resgroups)]
        self.body = nn.Sequential(*groups, padded_conv(n_feats, n_feats))
        self.tail = nn.Sequential(_upsampler(n_feats, scale), padded_conv(n_feats, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Upscale or restore ``image`` (N,3,H,W), RGB in [0, 1]; return (N,3,scale*H,scale*W)."""
        x = self.head(self.sub_mean(image * 255))
        return self.add_mean(self.tail(x + self.body(x))) / 255


def _group(channels: int, blocks: int, reduction: int) -> Residual:
    """Return a residual group, RG (paper, section 3.2)."""
    return Residual(*[_block(channels, reduction) for _ in range(blocks)], padded_conv(channels, channels))


def _block(channels: int, reduction: int) -> Residual:
    """Return a residual channel attention block, RCAB (paper, section 3.4)."""
    return Residual(
        padded_conv(channels, channels),
        nn.ReLU(inplace=True),
        padded_conv(channels, channels),
        ChannelAttention(channels, reduction),
    )


def _upsampler(channels: int, scale: int) -> nn.Sequential:
    steps = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}[scale]
    layers: list[nn.Module] = []
    for step in steps:
        layers += [padded_conv(channels, step * step * channels), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


def _mean_shift(sign: int) -> nn.Conv2d:
    """Return a fixed 1x1 convolution, as in the authors' checkpoints."""
    shift = nn.Conv2d(3, 3, 1)
    shift.weight = nn.Parameter(torch.eye(3).view(3, 3, 1, 1), requires_grad=False)
    shift.bias = nn.Parameter(sign * 255 * torch.tensor(RGB_MEAN), requires_grad=False)
    return shift

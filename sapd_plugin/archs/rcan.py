"""RCAN (Zhang et al., "Image Super-Resolution Using Very Deep Residual Channel Attention Networks", ECCV 2018).

Independent implementation. Licence of the authors' weights (yulunzhang/RCAN): no licence file found; ask the authors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.archs.arguments import check_counts
from sapd_plugin.errors import SAPDError

RGB_MEAN = (0.4488, 0.4371, 0.4040)  # of DIV2K
SCALES = (1, 2, 3, 4, 8)


class RCAN(nn.Module):
    """Residual groups of residual blocks with channel attention, then an upsampler (Sec. 3, Fig. 2).

    Parameter names and defaults are the authors', so that their checkpoints load strictly. The parameters work on the
    0-255 scale, as theirs do; images are 0-1 like every network's here.

    ``scale=1`` is ours: the upsampler is left out, and the network restores an image at its own size.

    Args:
        scale: 1, 2, 3, 4 or 8.
        n_resgroups: number of residual groups.
        n_resblocks: number of blocks in each group.
        n_feats: channels of the features.
        reduction: by how much the channel attention narrows them; at most ``n_feats``.

    Raises:
        SAPDError: another scale, a count that is not an integer >= 1, or a ``reduction`` above ``n_feats``.
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
        self.head = nn.Sequential(_conv(3, n_feats))
        groups = [_Group(n_feats, n_resblocks, reduction) for _ in range(n_resgroups)]
        self.body = nn.Sequential(*groups, _conv(n_feats, n_feats))
        self.tail = nn.Sequential(_upsampler(n_feats, scale), _conv(n_feats, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Upscale or restore ``image`` (N,3,H,W), RGB 0-1; returns (N,3,scale*H,scale*W)."""
        x = self.head(self.sub_mean(image * 255))
        return self.add_mean(self.tail(x + self.body(x))) / 255


class _Group(nn.Module):
    def __init__(self, channels: int, blocks: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*[_Block(channels, reduction) for _ in range(blocks)], _conv(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _Block(nn.Module):
    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _conv(channels, channels),
            nn.ReLU(inplace=True),
            _conv(channels, channels),
            _ChannelAttention(channels, reduction),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _ChannelAttention(nn.Module):
    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        self.conv_du = nn.Sequential(
            nn.Conv2d(channels, channels // reduction, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // reduction, channels, 1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv_du(x.mean(dim=(2, 3), keepdim=True))


def _upsampler(channels: int, scale: int) -> nn.Sequential:
    steps = {1: (), 2: (2,), 3: (3,), 4: (2, 2), 8: (2, 2, 2)}[scale]
    layers: list[nn.Module] = []
    for step in steps:
        layers += [_conv(channels, step * step * channels), nn.PixelShuffle(step)]
    return nn.Sequential(*layers)


def _mean_shift(sign: int) -> nn.Conv2d:
    """A fixed 1x1 convolution, as in the authors' checkpoints."""
    shift = nn.Conv2d(3, 3, 1)
    shift.weight = nn.Parameter(torch.eye(3).view(3, 3, 1, 1), requires_grad=False)
    shift.bias = nn.Parameter(sign * 255 * torch.tensor(RGB_MEAN), requires_grad=False)
    return shift


def _conv(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)

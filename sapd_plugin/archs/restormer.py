"""Restormer (Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR 2022).

Independent implementation. Licence of the authors' weights (swz30/Restormer): Academic Public License, non-commercial.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.archs.layers import ChannelNorm, check_counts, named, pad_to_multiple, padded_conv
from sapd_plugin.errors import SAPDError, check_choice

LAYER_NORMS = ('WithBias', 'BiasFree')


class Restormer(nn.Module):
    """A U-shaped transformer of four levels with attention across channels (paper, section 3).

    Parameter names and defaults are the authors'. They published deraining, motion and defocus deblurring networks with
    the defaults, and denoising networks with ``LayerNorm_type='BiasFree'``, some of them with one channel.

    Args:
        inp_channels: channels of the image.
        out_channels: channels of the restored image; has to equal ``inp_channels`` unless ``dual_pixel_task``.
        dim: channels at full size, even; they double with each level.
        num_blocks: number of transformer blocks at each of the four levels.
        num_refinement_blocks: number of blocks after the decoder, at full size.
        heads: number of attention heads at each level; each divides the channels of its level.
        ffn_expansion_factor: hidden channels of the feed-forward part, as a multiple of the block's channels.
        bias: whether the convolutions have a bias.
        LayerNorm_type: 'WithBias', or 'BiasFree', which neither subtracts the mean nor adds a shift.
        dual_pixel_task: defocus deblurring from two views, ``inp_channels=6``; the image is not added to the output.

    Raises:
        SAPDError: a count that is too small, or arguments that do not fit together.
    """

    def __init__(
        self,
        inp_channels: int = 3,
        out_channels: int = 3,
        dim: int = 48,
        num_blocks: Sequence[int] = (4, 6, 6, 8),
        num_refinement_blocks: int = 4,
        heads: Sequence[int] = (1, 2, 4, 8),
        ffn_expansion_factor: float = 2.66,
        bias: bool = False,
        LayerNorm_type: str = 'WithBias',
        dual_pixel_task: bool = False,
    ) -> None:
        super().__init__()
        num_blocks, heads = list(num_blocks), list(heads)
        check_counts('Restormer', inp_channels=inp_channels, out_channels=out_channels, dim=dim, heads=heads)
        check_counts('Restormer', 0, num_blocks=num_blocks, num_refinement_blocks=num_refinement_blocks)
        for key, value in (('num_blocks', num_blocks), ('heads', heads)):
            if len(value) != 4:
                raise SAPDError(f'Restormer.{key}: found {value}, expected four numbers, one per level.')
        if dim % 2 or any(dim * 2**level % head for level, head in enumerate(heads)):
            raise SAPDError(
                f'Restormer.dim: found {dim}, expected an even number such that heads, {heads}, divide dim, 2 dim, '
                '4 dim and 8 dim.'
            )
        if not dual_pixel_task and inp_channels != out_channels:
            raise SAPDError(
                f'Restormer.out_channels: found {out_channels}, expected inp_channels ({inp_channels}): the image is '
                'added to the output.'
            )
        check_choice('Restormer.LayerNorm_type', LayerNorm_type, LAYER_NORMS)
        widths = [dim, 2 * dim, 4 * dim, 8 * dim]

        def level(width: int, depth: int, head: int) -> nn.Sequential:
            blocks = (_Block(width, head, ffn_expansion_factor, bias, LayerNorm_type) for _ in range(depth))
            return nn.Sequential(*blocks)

        self.patch_embed = named(proj=padded_conv(inp_channels, dim, bias=False))
        self.encoder_level1 = level(widths[0], num_blocks[0], heads[0])
        self.down1_2 = _down(widths[0])
        self.encoder_level2 = level(widths[1], num_blocks[1], heads[1])
        self.down2_3 = _down(widths[1])
        self.encoder_level3 = level(widths[2], num_blocks[2], heads[2])
        self.down3_4 = _down(widths[2])
        self.latent = level(widths[3], num_blocks[3], heads[3])
        self.up4_3 = _up(widths[3])
        self.reduce_chan_level3 = nn.Conv2d(widths[3], widths[2], 1, bias=bias)
        self.decoder_level3 = level(widths[2], num_blocks[2], heads[2])
        self.up3_2 = _up(widths[2])
        self.reduce_chan_level2 = nn.Conv2d(widths[2], widths[1], 1, bias=bias)
        self.decoder_level2 = level(widths[1], num_blocks[1], heads[1])
        self.up2_1 = _up(widths[1])
        # At full size the skip connection is concatenated and not reduced, so these two work on 2 * dim channels.
        self.decoder_level1 = level(widths[1], num_blocks[0], heads[0])
        self.refinement = level(widths[1], num_refinement_blocks, heads[0])
        self.dual_pixel_task = dual_pixel_task
        if dual_pixel_task:
            self.skip_conv = nn.Conv2d(widths[0], widths[1], 1, bias=bias)
        self.output = padded_conv(widths[1], out_channels, bias=bias)

    def forward(self, image: Tensor) -> Tensor:
        """Restore ``image`` (N,C,H,W); return (N,out_channels,H,W)."""
        height, width = image.shape[-2:]
        padded = pad_to_multiple(image, 8)
        shallow = self.patch_embed(padded)
        level1 = self.encoder_level1(shallow)
        level2 = self.encoder_level2(self.down1_2(level1))
        level3 = self.encoder_level3(self.down2_3(level2))
        deep = self.latent(self.down3_4(level3))
        deep = self.decoder_level3(self.reduce_chan_level3(torch.cat([self.up4_3(deep), level3], dim=1)))
        deep = self.decoder_level2(self.reduce_chan_level2(torch.cat([self.up3_2(deep), level2], dim=1)))
        deep = self.refinement(self.decoder_level1(torch.cat([self.up2_1(deep), level1], dim=1)))
        if self.dual_pixel_task:
            return self.output(deep + self.skip_conv(shallow))[..., :height, :width]
        return (self.output(deep) + padded)[..., :height, :width]


class _Block(nn.Module):
    """Attention across channels, then the feed-forward part, each after a norm and with a skip connection."""

    def __init__(self, dim: int, num_heads: int, expansion: float, bias: bool, norm: str) -> None:
        super().__init__()
        self.norm1 = named(body=ChannelNorm(dim, bias=norm == 'WithBias'))
        self.attn = _Attention(dim, num_heads, bias)
        self.norm2 = named(body=ChannelNorm(dim, bias=norm == 'WithBias'))
        self.ffn = _GatedFeedForward(dim, int(dim * expansion), bias)

    def forward(self, features: Tensor) -> Tensor:
        features = features + self.attn(self.norm1(features))
        return features + self.ffn(self.norm2(features))


class _Attention(nn.Module):
    """Multi-Dconv head transposed attention, MDTA (paper, section 3.1)."""

    def __init__(self, dim: int, num_heads: int, bias: bool) -> None:
        super().__init__()
        self.temperature = nn.Parameter(torch.ones(num_heads, 1, 1))
        self.qkv = nn.Conv2d(dim, 3 * dim, 1, bias=bias)
        self.qkv_dwconv = nn.Conv2d(3 * dim, 3 * dim, 3, padding=1, groups=3 * dim, bias=bias)
        self.project_out = nn.Conv2d(dim, dim, 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        count, dim, height, width = features.shape
        heads = self.temperature.shape[0]
        mixed = self.qkv_dwconv(self.qkv(features))
        query, key, value = mixed.view(count, 3, heads, dim // heads, height * width).unbind(1)
        similarity = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1)
        attended = (similarity * self.temperature).softmax(dim=-1) @ value
        return self.project_out(attended.reshape(count, dim, height, width))


class _GatedFeedForward(nn.Module):
    """Gated-Dconv feed-forward network, GDFN (paper, section 3.2)."""

    def __init__(self, dim: int, hidden: int, bias: bool) -> None:
        super().__init__()
        self.project_in = nn.Conv2d(dim, 2 * hidden, 1, bias=bias)
        self.dwconv = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1, groups=2 * hidden, bias=bias)
        self.project_out = nn.Conv2d(hidden, dim, 1, bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        gate, content = self.dwconv(self.project_in(features)).chunk(2, dim=1)
        return self.project_out(F.gelu(gate) * content)


def _down(channels: int) -> nn.Sequential:
    """Return layers that downsample by 2 and double the channels."""
    return named(body=nn.Sequential(padded_conv(channels, channels // 2, bias=False), nn.PixelUnshuffle(2)))


def _up(channels: int) -> nn.Sequential:
    """Return layers that upsample by 2 and halve the channels."""
    return named(body=nn.Sequential(padded_conv(channels, 2 * channels, bias=False), nn.PixelShuffle(2)))

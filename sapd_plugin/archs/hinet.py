"""HINet (Chen et al., "HINet: Half Instance Normalization Network for Image Restoration", CVPR Workshops 2021).

Independent implementation. Licence of the authors' weights (megvii-model/HINet): MIT.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from sapd_plugin.archs.layers import SupervisedAttention, check_counts, pad_to_multiple, padded_conv
from sapd_plugin.errors import SAPDError


class HINet(nn.Module):
    """Two U-Nets in a row, with instance normalisation of half the features in their encoders (paper, section 3).

    Parameter names and defaults are the authors'. They published deraining, deblurring and denoising networks, all with
    the defaults.

    Args:
        in_chn: channels of the image.
        wf: channels at full size, even; they double with each level.
        depth: number of levels of each U-Net; the size is halved between levels.
        relu_slope: negative slope of the leaky ReLUs.
        hin_position_left: first level with half instance normalisation.
        hin_position_right: last level with half instance normalisation.

    Raises:
        SAPDError: a count below 1, or an odd ``wf``.
    """

    output_index = -1

    def __init__(
        self,
        in_chn: int = 3,
        wf: int = 64,
        depth: int = 5,
        relu_slope: float = 0.2,
        hin_position_left: int = 0,
        hin_position_right: int = 4,
    ) -> None:
        super().__init__()
        check_counts('HINet', in_chn=in_chn, wf=wf, depth=depth)
        if wf % 2:
            raise SAPDError(f'HINet.wf: found {wf}, expected an even number: one half is normalised.')
        self.multiple = 2 ** (depth - 1)
        widths = [wf * 2**level for level in range(depth)]
        self.conv_01 = padded_conv(in_chn, wf)
        self.conv_02 = padded_conv(in_chn, wf)
        self.down_path_1, self.down_path_2 = nn.ModuleList(), nn.ModuleList()
        for level, (inputs, width) in enumerate(zip([wf, *widths], widths)):
            halves, last = hin_position_left <= level <= hin_position_right, level == depth - 1
            self.down_path_1.append(_Block(inputs, width, relu_slope, halves, not last))
            self.down_path_2.append(_Block(inputs, width, relu_slope, halves, not last, fuses=not last))
        self.up_path_1, self.up_path_2 = nn.ModuleList(), nn.ModuleList()
        self.skip_conv_1, self.skip_conv_2 = nn.ModuleList(), nn.ModuleList()
        for width in reversed(widths[:-1]):
            for path, skips in ((self.up_path_1, self.skip_conv_1), (self.up_path_2, self.skip_conv_2)):
                path.append(_Up(width, relu_slope))
                skips.append(padded_conv(width, width))
        self.sam12 = SupervisedAttention(wf, in_chn, kernel_size=3, bias=True)
        self.cat12 = nn.Conv2d(2 * wf, wf, 1)
        self.last = padded_conv(wf, in_chn)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Restore ``image`` (N,C,H,W); return the same shape, in training mode a list: first and second stage."""
        height, width = image.shape[-2:]
        # Instance normalisation needs more than one pixel at the lowest level.
        smallest = max(height, width) <= self.multiple
        padded = pad_to_multiple(image, 2 * self.multiple if smallest else self.multiple)

        features, encoded = self._encode(self.conv_01(padded), self.down_path_1, None)
        decoded = self._decode(features, encoded, self.up_path_1, self.skip_conv_1)
        attended, first = self.sam12(decoded[-1], padded)

        features = self.cat12(torch.cat([self.conv_02(padded), attended], dim=1))
        first_stage = zip(_blocks(self.down_path_2), encoded, reversed(decoded))
        fused = [block.csff_enc(enc) + block.csff_dec(dec) for block, enc, dec in first_stage]
        features, encoded = self._encode(features, self.down_path_2, fused)
        second = padded + self.last(self._decode(features, encoded, self.up_path_2, self.skip_conv_2)[-1])

        first, second = (stage[..., :height, :width] for stage in (first, second))
        return [first, second] if self.training else second

    @staticmethod
    def _encode(features: Tensor, path: nn.ModuleList, fused: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
        """Return the lowest level's features, and a list of those of the levels above, full size first."""
        encoded = []
        for level, block in enumerate(_blocks(path)[:-1]):
            features = block(features)
            if fused is not None:
                features = features + fused[level]
            encoded.append(features)
            features = block.downsample(features)
        return path[-1](features), encoded

    @staticmethod
    def _decode(features: Tensor, encoded: list[Tensor], ups: nn.ModuleList, skips: nn.ModuleList) -> list[Tensor]:
        """Return each level's features, full size last."""
        decoded = [features]
        for up, skip, bridge in zip(ups, skips, reversed(encoded)):
            decoded.append(up(decoded[-1], skip(bridge)))
        return decoded


class _Block(nn.Module):
    """Two convolutions with a skip connection; HIN block if it ``halves`` (paper, section 3.1)."""

    def __init__(
        self, inputs: int, outputs: int, slope: float, halves: bool, halves_size: bool, fuses: bool = False
    ) -> None:
        super().__init__()
        self.identity = nn.Conv2d(inputs, outputs, 1)
        self.conv_1 = padded_conv(inputs, outputs)
        self.conv_2 = padded_conv(outputs, outputs)
        self.activation = nn.LeakyReLU(slope)
        self.norm = nn.InstanceNorm2d(outputs // 2, affine=True) if halves else None
        if fuses:
            self.csff_enc = padded_conv(outputs, outputs)
            self.csff_dec = padded_conv(outputs, outputs)
        if halves_size:
            self.downsample = nn.Conv2d(outputs, outputs, 4, stride=2, padding=1, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        out = self.conv_1(features)
        if self.norm is not None:
            normed, kept = out.chunk(2, dim=1)
            out = torch.cat([self.norm(normed), kept], dim=1)
        return self.activation(self.conv_2(self.activation(out))) + self.identity(features)


def _blocks(path: nn.ModuleList) -> list[_Block]:
    return cast('list[_Block]', list(path))


class _Up(nn.Module):
    """Upsample by 2, halve the channels, and merge with the encoder's features."""

    def __init__(self, outputs: int, slope: float) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * outputs, outputs, 2, stride=2)
        self.conv_block = _Block(2 * outputs, outputs, slope, halves=False, halves_size=False)

    def forward(self, features: Tensor, bridge: Tensor) -> Tensor:
        return self.conv_block(torch.cat([self.up(features), bridge], dim=1))

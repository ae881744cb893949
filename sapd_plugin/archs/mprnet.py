"""MPRNet (Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021).

Independent implementation. Licence of the authors' weights (swz30/MPRNet): Academic Public License, non-commercial.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.archs.layers import (
    ChannelAttention,
    Residual,
    SupervisedAttention,
    check_counts,
    named,
    pad_to_multiple,
    padded_conv,
)
from sapd_plugin.errors import SAPDError


class MPRNet(nn.Module):
    """Three stages: a U-Net on quarters of the image, a U-Net on its halves, and full-size layers (paper, section 3).

    Parameter names are the authors'. They published networks with these ``n_feat``, ``scale_unetfeats`` and
    ``scale_orsnetfeats``: deblurring 96, 48, 32 (the defaults), denoising 80, 48, 32, deraining 40, 20, 16.

    Args:
        in_c: channels of the image.
        out_c: channels of the restored image; has to equal ``in_c``, and exists because the authors' code has it.
        n_feat: channels at full size.
        scale_unetfeats: channels that each lower level adds.
        scale_orsnetfeats: channels that the last stage adds.
        num_cab: channel attention blocks in each of the last stage's three groups.
        kernel_size: kernel size of the convolutions, odd.
        reduction: the hidden layer of channel attention has 1/``reduction`` of the channels; at most ``n_feat``.
        bias: whether the convolutions have a bias.

    Raises:
        SAPDError: a count below 1, ``out_c`` differs from ``in_c``, ``reduction`` is above ``n_feat``, or
            ``kernel_size`` is even.
    """

    output_index = 0

    def __init__(
        self,
        in_c: int = 3,
        out_c: int = 3,
        n_feat: int = 96,
        scale_unetfeats: int = 48,
        scale_orsnetfeats: int = 32,
        num_cab: int = 8,
        kernel_size: int = 3,
        reduction: int = 4,
        bias: bool = False,
    ) -> None:
        super().__init__()
        check_counts('MPRNet', in_c=in_c, n_feat=n_feat, num_cab=num_cab, kernel_size=kernel_size, reduction=reduction)
        check_counts('MPRNet', 0, scale_unetfeats=scale_unetfeats, scale_orsnetfeats=scale_orsnetfeats)
        if out_c != in_c:
            raise SAPDError(f'MPRNet.out_c: found {out_c!r}, expected {in_c}, as in_c.')
        if reduction > n_feat or kernel_size % 2 == 0:
            raise SAPDError(
                f'MPRNet: found reduction {reduction}, n_feat {n_feat} and kernel_size {kernel_size}, expected a '
                'reduction of at most n_feat and an odd kernel_size.'
            )
        # One activation for the whole network, as in the published checkpoints.
        make = _Blocks(kernel_size, reduction, bias, nn.PReLU())
        widths = [n_feat, n_feat + scale_unetfeats, n_feat + 2 * scale_unetfeats]
        last = n_feat + scale_orsnetfeats
        self.shallow_feat1, self.shallow_feat2, self.shallow_feat3 = (
            nn.Sequential(make.conv(in_c, n_feat), make.attention(n_feat)) for _ in range(3)
        )
        self.stage1_encoder = _Encoder(make, widths, csff=False)
        self.stage1_decoder = _Decoder(make, widths)
        self.stage2_encoder = _Encoder(make, widths, csff=True)
        self.stage2_decoder = _Decoder(make, widths)
        self.stage3_orsnet = _OriginalResolution(make, widths, last, num_cab)
        self.sam12 = SupervisedAttention(n_feat, in_c, kernel_size=1, bias=bias)
        self.sam23 = SupervisedAttention(n_feat, in_c, kernel_size=1, bias=bias)
        self.concat12 = make.conv(2 * n_feat, n_feat)
        self.concat23 = make.conv(2 * n_feat, last)
        self.tail = make.conv(last, out_c)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Restore ``image`` (N,C,H,W); return the same shape, in training mode a list: third, second, first stage."""
        height, width = image.shape[-2:]
        whole = pad_to_multiple(image, 8)
        halves = _split(whole, dim=2)
        quarters = _split(halves, dim=3)

        encoded = [_joined(level, dim=3) for level in self.stage1_encoder(self.shallow_feat1(quarters))]
        decoded = self.stage1_decoder(encoded)
        attended, first = self.sam12(decoded[0], halves)

        features = self.concat12(torch.cat([self.shallow_feat2(halves), attended], dim=1))
        encoded = [_joined(level, dim=2) for level in self.stage2_encoder(features, encoded, decoded)]
        decoded = self.stage2_decoder(encoded)
        attended, second = self.sam23(decoded[0], whole)

        features = self.concat23(torch.cat([self.shallow_feat3(whole), attended], dim=1))
        third = whole + self.tail(self.stage3_orsnet(features, encoded, decoded))

        if not self.training:
            return third[..., :height, :width]
        return [stage[..., :height, :width] for stage in (third, second, _joined(first, dim=2))]


def _split(images: Tensor, dim: int) -> Tensor:
    """Split images into halves and stack them as one batch: all first halves, then all second ones."""
    return torch.cat(images.chunk(2, dim))


def _joined(halves: Tensor, dim: int) -> Tensor:
    """Undo :func:`_split`."""
    return torch.cat(halves.chunk(2), dim)


class _Blocks:
    """Factory of the layers that the stages are made of."""

    def __init__(self, kernel_size: int, reduction: int, bias: bool, activation: nn.Module) -> None:
        self.kernel_size, self.reduction, self.bias, self.activation = kernel_size, reduction, bias, activation

    def conv(self, inputs: int, outputs: int) -> nn.Conv2d:
        return padded_conv(inputs, outputs, self.kernel_size, self.bias)

    def point(self, inputs: int, outputs: int) -> nn.Conv2d:
        return nn.Conv2d(inputs, outputs, 1, bias=self.bias)

    def attention(self, channels: int) -> nn.Module:
        attention = ChannelAttention(channels, self.reduction, self.bias)
        body = nn.Sequential(self.conv(channels, channels), self.activation, self.conv(channels, channels))
        return _ChannelAttentionBlock(body, attention)

    def group(self, channels: int, num_cab: int) -> Residual:
        """Return an original resolution block, ORB (paper, section 3.1)."""
        blocks = (self.attention(channels) for _ in range(num_cab))
        return Residual(*blocks, padded_conv(channels, channels, self.kernel_size, bias=False))

    def pair(self, channels: int) -> nn.Sequential:
        return nn.Sequential(self.attention(channels), self.attention(channels))

    @staticmethod
    def resized(inputs: int, outputs: int, factor: float) -> nn.Sequential:
        resize = nn.Upsample(scale_factor=factor, mode='bilinear', align_corners=False)
        return nn.Sequential(resize, nn.Conv2d(inputs, outputs, 1, bias=False))

    def up(self, inputs: int, outputs: int) -> nn.Sequential:
        return named(up=self.resized(inputs, outputs, 2))

    def down(self, inputs: int, outputs: int) -> nn.Sequential:
        return named(down=self.resized(inputs, outputs, 0.5))


class _ChannelAttentionBlock(nn.Module):
    """Channel attention block, CAB (paper, section 3.1)."""

    def __init__(self, body: nn.Sequential, attention: ChannelAttention) -> None:
        super().__init__()
        self.body, self.CA = body, attention

    def forward(self, features: Tensor) -> Tensor:
        return features + self.CA(self.body(features))


class _Encoder(nn.Module):
    """Encoder of a U-Net; with ``csff`` it adds the first stage's features (paper, section 3.3)."""

    def __init__(self, make: _Blocks, widths: list[int], csff: bool) -> None:
        super().__init__()
        self.encoder_level1, self.encoder_level2, self.encoder_level3 = (make.pair(width) for width in widths)
        self.down12 = make.down(widths[0], widths[1])
        self.down23 = make.down(widths[1], widths[2])
        if csff:
            self.csff_enc1, self.csff_enc2, self.csff_enc3 = (make.point(width, width) for width in widths)
            self.csff_dec1, self.csff_dec2, self.csff_dec3 = (make.point(width, width) for width in widths)

    def forward(
        self, features: Tensor, encoded: list[Tensor] | None = None, decoded: list[Tensor] | None = None
    ) -> list[Tensor]:
        level1 = self.encoder_level1(features)
        if encoded is not None and decoded is not None:
            level1 = level1 + self.csff_enc1(encoded[0]) + self.csff_dec1(decoded[0])
        level2 = self.encoder_level2(self.down12(level1))
        if encoded is not None and decoded is not None:
            level2 = level2 + self.csff_enc2(encoded[1]) + self.csff_dec2(decoded[1])
        level3 = self.encoder_level3(self.down23(level2))
        if encoded is not None and decoded is not None:
            level3 = level3 + self.csff_enc3(encoded[2]) + self.csff_dec3(decoded[2])
        return [level1, level2, level3]


class _Decoder(nn.Module):
    """Decoder of a U-Net."""

    def __init__(self, make: _Blocks, widths: list[int]) -> None:
        super().__init__()
        self.decoder_level1, self.decoder_level2, self.decoder_level3 = (make.pair(width) for width in widths)
        self.skip_attn1, self.skip_attn2 = make.attention(widths[0]), make.attention(widths[1])
        self.up21 = make.up(widths[1], widths[0])
        self.up32 = make.up(widths[2], widths[1])

    def forward(self, encoded: list[Tensor]) -> list[Tensor]:
        level3 = self.decoder_level3(encoded[2])
        level2 = self.decoder_level2(self.up32(level3) + self.skip_attn2(encoded[1]))
        level1 = self.decoder_level1(self.up21(level2) + self.skip_attn1(encoded[0]))
        return [level1, level2, level3]


class _OriginalResolution(nn.Module):
    """Original resolution subnetwork, ORSNet (paper, section 3.1)."""

    def __init__(self, make: _Blocks, widths: list[int], width: int, num_cab: int) -> None:
        super().__init__()
        self.orb1, self.orb2, self.orb3 = (make.group(width, num_cab) for _ in range(3))
        self.up_enc1, self.up_dec1 = (make.up(widths[1], widths[0]) for _ in range(2))
        self.up_enc2, self.up_dec2 = (
            nn.Sequential(make.up(widths[2], widths[1]), make.up(widths[1], widths[0])) for _ in range(2)
        )
        self.conv_enc1, self.conv_enc2, self.conv_enc3 = (make.point(widths[0], width) for _ in range(3))
        self.conv_dec1, self.conv_dec2, self.conv_dec3 = (make.point(widths[0], width) for _ in range(3))

    def forward(self, features: Tensor, encoded: list[Tensor], decoded: list[Tensor]) -> Tensor:
        features = self.orb1(features) + self.conv_enc1(encoded[0]) + self.conv_dec1(decoded[0])
        features = (
            self.orb2(features) + self.conv_enc2(self.up_enc1(encoded[1])) + self.conv_dec2(self.up_dec1(decoded[1]))
        )
        return self.orb3(features) + self.conv_enc3(self.up_enc2(encoded[2])) + self.conv_dec3(self.up_dec2(decoded[2]))

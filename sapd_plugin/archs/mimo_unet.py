"""MIMO-UNet (Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021).

Independent implementation. Licence of the authors' weights (chosj95/MIMO-UNet): no licence file found; ask the authors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.archs.layers import check_counts, named, pad_to_multiple, padded_conv


class MIMOUNet(nn.Module):
    """One U-Net that takes the image at three sizes and restores it at three sizes (paper, section 3).

    Parameter names are the authors'. They published deblurring networks with the defaults, for RGB.

    Args:
        num_res: residual blocks at each level of encoder and decoder.
        base_channel: channels at full size, at least 2; they double with each level. Fixed in the authors' code.

    Raises:
        SAPDError: ``num_res`` is below 1, or ``base_channel`` below 2.
    """

    output_index = -1

    def __init__(self, num_res: int = 8, base_channel: int = 32) -> None:
        super().__init__()
        check_counts(type(self).__name__, num_res=num_res)
        check_counts(type(self).__name__, 2, base_channel=base_channel)
        full, half, quarter = base_channel, 2 * base_channel, 4 * base_channel
        self.Encoder = nn.ModuleList(_residuals(width, num_res) for width in (full, half, quarter))
        self.feat_extract = nn.ModuleList(
            [
                _conv(3, full, 3),
                _conv(full, half, 3, stride=2),
                _conv(half, quarter, 3, stride=2),
                _double(quarter, half),
                _double(half, full),
                _conv(full, 3, 3, relu=False),
            ]
        )
        self.Decoder = nn.ModuleList(_residuals(width, num_res) for width in (quarter, half, full))
        self.Convs = nn.ModuleList([_conv(quarter, half, 1), _conv(half, full, 1)])
        self.ConvsOut = nn.ModuleList([_conv(quarter, 3, 3, relu=False), _conv(half, 3, 3, relu=False)])
        self.AFFs = nn.ModuleList(_fusion(full + half + quarter, width) for width in (full, half))
        self.drop1: nn.Module = nn.Identity()
        self.drop2: nn.Module = nn.Identity()
        self.FAM1, self.SCM1 = _FeatureAttention(quarter), _ShallowFeatures(quarter)
        self.FAM2, self.SCM2 = _FeatureAttention(half), _ShallowFeatures(half)

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Restore ``image`` (N,3,H,W); return the same shape, in training mode a list: quarter, half and full size."""
        height, width = image.shape[-2:]
        full = pad_to_multiple(image, 4)
        half = full[..., ::2, ::2]
        quarter = half[..., ::2, ::2]

        level1 = self.Encoder[0](self.feat_extract[0](full))
        level2 = self.Encoder[1](self.FAM2(self.feat_extract[1](level1), self.SCM2(half)))
        level3 = self.Encoder[2](self.FAM1(self.feat_extract[2](level2), self.SCM1(quarter)))

        twice = F.interpolate(level3, scale_factor=2)
        at_full = [level1, F.interpolate(level2, scale_factor=2), F.interpolate(twice, scale_factor=2)]
        at_half = [level1[..., ::2, ::2], level2, twice]
        skip2 = self.drop2(self.AFFs[1](torch.cat(at_half, dim=1)))
        skip1 = self.drop1(self.AFFs[0](torch.cat(at_full, dim=1)))

        deep = self.Decoder[0](level3)
        coarse = [self.ConvsOut[0](deep) + quarter] if self.training else []
        deep = self.Decoder[1](self.Convs[0](torch.cat([self.feat_extract[3](deep), skip2], dim=1)))
        coarse += [self.ConvsOut[1](deep) + half] if self.training else []
        deep = self.Decoder[2](self.Convs[1](torch.cat([self.feat_extract[4](deep), skip1], dim=1)))
        restored = (self.feat_extract[5](deep) + full)[..., :height, :width]
        if not self.training:
            return restored
        # The smaller images are every fourth and every second pixel.
        sizes = ((-(-height // step), -(-width // step)) for step in (4, 2))
        return [*(scale[..., :rows, :columns] for scale, (rows, columns) in zip(coarse, sizes)), restored]


class MIMOUNetPlus(MIMOUNet):
    """MIMO-UNet+: more residual blocks, and dropout on the skip connections in training (as in the authors' code).

    The arguments are those of :class:`MIMOUNet`.
    """

    def __init__(self, num_res: int = 20, base_channel: int = 32) -> None:
        super().__init__(num_res, base_channel)
        self.drop1, self.drop2 = nn.Dropout2d(0.1), nn.Dropout2d(0.1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(_conv(channels, channels, 3), _conv(channels, channels, 3, relu=False))

    def forward(self, features: Tensor) -> Tensor:
        return features + self.main(features)


class _ShallowFeatures(nn.Module):
    """Shallow convolutional module, SCM (paper, section 3.1): features of a smaller image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            _conv(3, channels // 4, 3),
            _conv(channels // 4, channels // 2, 1),
            _conv(channels // 2, channels // 2, 3),
            _conv(channels // 2, channels - 3, 1),
        )
        self.conv = _conv(channels, channels, 1, relu=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.conv(torch.cat([image, self.main(image)], dim=1))


class _FeatureAttention(nn.Module):
    """Feature attention module, FAM (paper, section 3.1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.merge = _conv(channels, channels, 3, relu=False)

    def forward(self, features: Tensor, shallow: Tensor) -> Tensor:
        return features + self.merge(features * shallow)


def _residuals(channels: int, count: int) -> nn.Sequential:
    return named(layers=nn.Sequential(*(_Residual(channels) for _ in range(count))))


def _fusion(inputs: int, outputs: int) -> nn.Sequential:
    """Return the layers of asymmetric feature fusion, AFF (paper, section 3.3)."""
    return named(conv=nn.Sequential(_conv(inputs, outputs, 1), _conv(outputs, outputs, 3, relu=False)))


def _conv(inputs: int, outputs: int, kernel_size: int, stride: int = 1, relu: bool = True) -> nn.Sequential:
    convolution = padded_conv(inputs, outputs, kernel_size, stride=stride)
    return named(main=nn.Sequential(convolution, *([nn.ReLU(inplace=True)] if relu else [])))


def _double(inputs: int, outputs: int) -> nn.Sequential:
    """Return layers that upsample by 2."""
    convolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1)
    return named(main=nn.Sequential(convolution, nn.ReLU(inplace=True)))

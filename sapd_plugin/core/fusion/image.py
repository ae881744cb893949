"""The fusion `image`: label maps as input planes, fused with the restored image in its own channels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import torch
from torch import Tensor, nn

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.injection import Injection
from sapd_plugin.core.regions import boundaries, painted_means, region_order
from sapd_plugin.values import Count, checked, one_of

ENCODINGS = ('planes', 'region_mean', 'boundary', 'none')


def encoding_channels(encoding: str, planes: int, image_channels: int) -> int:
    """Return the number of channels of :func:`encode_mask`'s result."""
    return {
        'planes': planes,
        'none': planes,  # so that the control has the same number of parameters as 'planes'
        'region_mean': image_channels + 1,
        'boundary': 1,
    }[encoding]


def encode_mask(mask: Tensor, restored: Tensor, encoding: str, planes: int) -> Tensor:
    """Encode label maps as input planes, E(M).

    Args:
        mask: M, (N,1,H,W) integer, 0 = no mask.
        restored: y, (N,C,H,W) floating.
        encoding: 'planes': the largest regions of the patch as binary planes, largest first;
            'region_mean': each region's mean color of ``restored``, and a boundary plane;
            'boundary': the boundary plane alone; 'none': zeros, a control without masks.
        planes: number of planes of 'planes' and 'none'.

    Returns:
        (N,P,H,W), P = :func:`encoding_channels`, dtype of ``restored``.
    """
    n, _, h, w = mask.shape
    if encoding == 'none':
        return restored.new_zeros(n, planes, h, w)
    if encoding == 'boundary':
        return boundaries(mask).to(restored.dtype)
    if encoding == 'planes':
        order, _ = region_order(mask, planes, static=True)
        index = torch.arange(1, planes + 1, device=mask.device).view(1, -1, 1, 1)
        return (order == index).to(restored.dtype)
    # In half precision the sums of large regions would overflow.
    colors = painted_means(to_single(restored), mask).to(restored.dtype)
    return torch.cat([colors, boundaries(mask).to(restored.dtype)], dim=1)


class ImageFusion(nn.Sequential):
    """Add planes of the label map to the restored image, ``y + fuse([y, E(M)])``.

    This is the reading of the first version. All that the second network learns of the masks passes through the image's
    own channels. It is a sequence of layers, so that its checkpoints load.

    Args:
        image_channels: channels of the restored image.
        encoding: 'planes', 'region_mean', 'boundary' or 'none'; see :func:`encode_mask`.
        planes: number of planes of 'planes' and 'none'.
        width: hidden channels.

    Raises:
        SAPDError: an unknown encoding, or a count below 1.
    """

    @checked
    def __init__(
        self,
        image_channels: int,
        encoding: Annotated[str, one_of(*ENCODINGS)] = 'planes',
        planes: Count = 16,
        width: Count = 32,
    ) -> None:
        last = nn.Conv2d(width, image_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        inputs = image_channels + encoding_channels(encoding, planes, image_channels)
        super().__init__(nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True), last)
        self.encoding, self.planes = encoding, planes

    def forward(  # type: ignore[override]
        self, restored: Tensor, mask: Tensor, degraded: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, Mapping[str, Injection]]:
        """Return the second network's input, (N,C,H,W), and no injections; ``degraded`` and ``context`` are not read.

        Args:
            restored: y, (N,C,H,W) floating.
            mask: M, (N,1,H,W) integer, 0 = no mask.
            degraded: not read.
            context: not read.
        """
        planes = encode_mask(mask, restored, self.encoding, self.planes)
        return restored + super().forward(torch.cat([restored, planes], dim=1)), {}

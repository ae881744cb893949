"""From the space that a network trains in to the RGB in [0, 1] that SAM and VGG know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sapd_plugin.errors import check_choice


class ToRGB(nn.Module):
    """Undo a training pipeline's normalisation and colour order.

    Args:
        mean: per channel, as the pipeline subtracted it; empty = none.
        std: per channel, as the pipeline divided by it; empty = none.
        order: 'rgb' or 'bgr', the channel order that the network sees.

    >>> ToRGB(mean=[0.5], std=[0.5])(torch.zeros(1, 1, 2, 2)).unique(), ToRGB()(torch.rand(2, 1, 4, 4)).shape
    (tensor([0.5000]), torch.Size([2, 3, 4, 4]))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = (), std: Sequence[float] = (), order: str = 'rgb') -> None:
        super().__init__()
        check_choice('channel order', order, ('rgb', 'bgr'))
        self.order = order
        self.register_buffer(
            'mean', torch.tensor([float(v) for v in mean or (0.0,)]).view(1, -1, 1, 1), persistent=False
        )
        self.register_buffer('std', torch.tensor([float(v) for v in std or (1.0,)]).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        """Map (N,C,H,W), C = 1 or 3, to RGB (N,3,H,W); nominally in [0, 1], not clamped, differentiable."""
        image = image * self.std.to(image) + self.mean.to(image)
        if image.shape[1] == 1:
            return image.expand(-1, 3, -1, -1)
        return image.flip(1) if self.order == 'bgr' else image


def to_single(tensor: Tensor) -> Tensor:
    """Bring half precision (of autocast) to float32; wider dtypes stay."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

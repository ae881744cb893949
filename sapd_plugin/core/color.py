"""Conversion of a network's images to the RGB in [0, 1] that SAM and VGG take."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sapd_plugin.errors import check_choice


class ToRGB(nn.Module):
    """Undo the normalisation and the channel order of a training pipeline.

    Args:
        mean: per channel, what the pipeline subtracted; empty = nothing.
        std: per channel, what the pipeline divided by; empty = nothing.

    >>> ToRGB(mean=[0.5], std=[0.5])(torch.zeros(1, 1, 2, 2)).unique(), ToRGB()(torch.rand(2, 1, 4, 4)).shape
    (tensor([0.5000]), torch.Size([2, 3, 4, 4]))
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = (), std: Sequence[float] = ()) -> None:
        super().__init__()
        self.changes = any(value != 0 for value in mean) or any(value != 1 for value in std)
        for name, values in (('mean', mean or (0.0,)), ('std', std or (1.0,))):
            tensor = torch.tensor([float(value) for value in values]).view(1, -1, 1, 1)
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, image: Tensor, order: str = 'rgb') -> Tensor:
        """Convert a batch of images.

        Args:
            image: (N,C,H,W) floating, C = 1 or 3.
            order: 'rgb' or 'bgr', the channel order of ``image``.

        Returns:
            (N,3,H,W) RGB, nominally in [0, 1], not clamped; differentiable.

        Raises:
            SAPDError: an unknown ``order``.
        """
        check_choice('order', order, ('rgb', 'bgr'))
        if self.changes:
            image = image * self.std.to(image) + self.mean.to(image)
        if image.shape[1] == 1:
            return image.expand(-1, 3, -1, -1)
        return image.flip(1) if order == 'bgr' else image


def to_single(tensor: Tensor) -> Tensor:
    """Convert half precision, which autocast gives, to float32; keep wider dtypes."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor

"""Base class of the losses: weight, check of the pair of images, and single precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.errors import SAPDError


class ImageLoss(nn.Module):
    """A weighted distance of two images of equal size; a subclass computes it in ``measure``.

    Computed in float32 at least, inside autocast, too: transforms, variances and logarithms need it.

    Args:
        loss_weight: factor of the loss.
    """

    def __init__(self, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of (N,C,H,W) floating images, a scalar.

        Raises:
            SAPDError: the two are not images of the same size.
        """
        if not isinstance(restored, Tensor):
            raise SAPDError(
                f'{type(self).__name__}: the network returns {type(restored).__name__}, expected an image (N,C,H,W). '
                'If a network returns several, MultiOutputLoss applies this loss to each of them.'
            )
        if restored.dim() != 4 or restored.shape != target.shape:
            raise SAPDError(
                f'{type(self).__name__}: found a restored image of {tuple(restored.shape)} and a ground truth of '
                f'{tuple(target.shape)}, expected (N,C,H,W) of the same size.'
            )
        with torch.autocast(restored.device.type, enabled=False):
            single = torch.promote_types(restored.dtype, torch.float32)
            return self.loss_weight * self.measure(restored.to(single), target.to(single))

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the unweighted loss of two (N,C,H,W) float32 or float64 images, a scalar."""
        raise NotImplementedError

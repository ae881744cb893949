"""Negative PSNR, with which HINet and NAFNet are trained."""

from __future__ import annotations

from torch import Tensor

from sapd_plugin.errors import check_choice
from sapd_plugin.losses.base import ImageLoss

# ITU-R BT.601 weights of R, G and B in [0, 1] for Y in [16, 235].
_LUMA = (65.481, 128.553, 24.966)


class PSNRLoss(ImageLoss):
    """``10 log10(MSE + 1e-8)`` per image, averaged: the negative PSNR for peak 1 (HINet paper, section 3.3).

    Args:
        loss_weight: factor of the loss; HINet uses 0.5, NAFNet 1.
        reduction: 'mean', the only choice; the authors' configs name it.
        toY: measure on the luma of RGB images in [0, 1] instead.

    Raises:
        SAPDError: any other reduction.

    >>> import torch
    >>> round(PSNRLoss()(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)).item(), 3)
    -20.0
    """

    def __init__(self, loss_weight: float = 1.0, reduction: str = 'mean', toY: bool = False) -> None:
        super().__init__(loss_weight)
        check_choice('PSNRLoss.reduction', reduction, ('mean',))
        self.toY = toY

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the negative PSNR in dB."""
        error = restored - target
        if self.toY:  # the offset of Y cancels in the difference
            error = (error * error.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True) / 255
        return 10 * (error.square().mean((1, 2, 3)) + 1e-8).log10().mean()

"""The loss in the frequency domain with which MIMO-UNet is trained."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.losses.base import ImageLoss


class FrequencyLoss(ImageLoss):
    """L1 distance of the two images' Fourier transforms (MIMO-UNet paper, multi-scale frequency reconstruction loss).

    The transform is not normalised; real and imaginary parts of all frequencies are averaged, as the authors' code
    does.

    Args:
        loss_weight: factor of the loss; MIMO-UNet uses 0.1.
    """

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the distance of the two transforms."""
        difference = torch.view_as_real(torch.fft.fft2(restored - target))  # the transform is linear
        return F.l1_loss(difference, torch.zeros_like(difference))

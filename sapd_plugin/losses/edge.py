"""The edge loss with which MPRNet is trained."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.losses.base import ImageLoss

# The generating kernel of Burt and Adelson's pyramid, a = 0.4.
_BINOMIAL = (0.05, 0.25, 0.4, 0.25, 0.05)


class EdgeLoss(ImageLoss):
    """Charbonnier distance of the two images' Laplacians, ``sqrt(d^2 + eps^2)`` averaged (MPRNet paper, section 3.4).

    Args:
        loss_weight: factor of the loss; MPRNet uses 0.05 for deraining and deblurring.
        eps: constant of the Charbonnier distance.
    """

    def __init__(self, loss_weight: float = 1.0, eps: float = 1e-3) -> None:
        super().__init__(loss_weight)
        self.eps = eps

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the Charbonnier distance of the two Laplacians."""
        return (laplacian(restored) - laplacian(target)).square().add(self.eps**2).sqrt().mean()


def laplacian(image: Tensor) -> Tensor:
    """Return the finest level of the Laplacian pyramid (Burt and Adelson 1983) of (N,C,H,W) images, same size."""
    coarse = _blurred(image)[..., ::2, ::2]
    spread = image.new_zeros(image.shape)
    spread[..., ::2, ::2] = 4 * coarse
    return image - _blurred(spread)


def _blurred(image: Tensor) -> Tensor:
    channels = image.shape[1]
    rows = image.new_tensor(_BINOMIAL).view(1, 1, 1, 5).expand(channels, 1, 1, 5)
    image = F.pad(image, (2, 2, 2, 2), mode='replicate')
    return F.conv2d(F.conv2d(image, rows, groups=channels), rows.transpose(2, 3), groups=channels)

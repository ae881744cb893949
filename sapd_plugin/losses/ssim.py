"""Negative SSIM, with which PReNet is trained."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.losses.base import ImageLoss


class SSIMLoss(ImageLoss):
    """``-SSIM`` for images in [0, 1], averaged over all pixels and channels (PReNet paper, equation 8).

    SSIM is that of Wang et al. 2004 with a Gaussian window, K1 = 0.01, K2 = 0.03 and zeros beyond the border.

    Args:
        loss_weight: factor of the loss.
        window_size: side of the window in pixels, odd.
        sigma: standard deviation of the Gaussian, in pixels.

    >>> image = torch.rand(1, 3, 16, 16)
    >>> round(SSIMLoss()(image, image).item(), 4)
    -1.0
    """

    def __init__(self, loss_weight: float = 1.0, window_size: int = 11, sigma: float = 1.5) -> None:
        super().__init__(loss_weight)
        self.window_size, self.sigma = window_size, sigma

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the negative mean of :func:`ssim_map`."""
        return -ssim_map(restored, target, self.window_size, self.sigma).mean()


def ssim_map(a: Tensor, b: Tensor, window_size: int = 11, sigma: float = 1.5) -> Tensor:
    """Return SSIM at every pixel of two (N,C,H,W) images in [0, 1], as (N,C,H,W).

    Args:
        a: one image, float32 or float64.
        b: the other.
        window_size: side of the window in pixels, odd.
        sigma: standard deviation of the Gaussian, in pixels.
    """
    channels = a.shape[1]
    # Means, squares and products go through the window together.
    means = _windowed(torch.cat([a, b, a * a, b * b, a * b], 1), window_size, sigma)
    mean_a, mean_b, square_a, square_b, product = means.split(channels, 1)
    variance_a, variance_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)


def _windowed(planes: Tensor, size: int, sigma: float) -> Tensor:
    position = torch.arange(size, dtype=planes.dtype, device=planes.device) - size // 2
    weights = torch.exp(-position.square() / (2 * sigma**2))
    count = planes.shape[1]
    rows = (weights / weights.sum()).view(1, 1, 1, size).expand(count, 1, 1, size)
    planes = F.conv2d(planes, rows, padding=(0, size // 2), groups=count)
    return F.conv2d(planes, rows.transpose(2, 3), padding=(size // 2, 0), groups=count)

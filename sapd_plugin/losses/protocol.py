"""The losses with which published networks are trained."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.errors import SAPDError
from sapd_plugin.values import Positive, Valid, Weight, checked, one_of

# ITU-R BT.601 weights of R, G and B in [0, 1] for Y in [16, 235].
_LUMA = (65.481, 128.553, 24.966)
# The generating kernel of Burt and Adelson's pyramid, a = 0.4.
_BINOMIAL = (0.05, 0.25, 0.4, 0.25, 0.05)


def _check_odd(key: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1 or value % 2 == 0:
        raise SAPDError(f'{key}: found {value!r}, expected an odd integer >= 1.')


class ImageLoss(nn.Module):
    """Base class: a weighted loss of two images of the same size, which a subclass computes in :meth:`measure`.

    It is computed in float32 at least, also inside autocast, because transforms, variances and logarithms need it.

    Args:
        loss_weight: factor of the loss, >= 0.

    Raises:
        SAPDError: an argument, also a subclass's, of the wrong type or out of range.
    """

    @checked
    def __init__(self, loss_weight: Weight = 1.0) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss of (N,C,H,W) floating images, a scalar.

        Raises:
            SAPDError: the arguments are not images of the same size.
        """
        name = type(self).__name__
        if not isinstance(restored, Tensor):
            raise SAPDError(
                f'{name}: the network returns {type(restored).__name__}, expected an image (N,C,H,W). If a network '
                'returns several, MultiOutputLoss applies this loss to each of them.'
            )
        if restored.dim() != 4 or restored.shape != target.shape:
            raise SAPDError(
                f'{name}: found a restored image of {tuple(restored.shape)} and a ground truth of '
                f'{tuple(target.shape)}, expected (N,C,H,W) of the same size.'
            )
        with torch.autocast(restored.device.type, enabled=False):
            single = torch.promote_types(restored.dtype, torch.float32)
            return self.loss_weight * self.measure(restored.to(single), target.to(single))

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the unweighted loss of two (N,C,H,W) float32 or float64 images, a scalar."""
        raise NotImplementedError


class PSNRLoss(ImageLoss):
    """Negative PSNR for peak 1, ``10 log10(MSE + 1e-8)`` per image, averaged over images (HINet paper, section 3.3).

    Args:
        loss_weight: factor of the loss; HINet uses 0.5, NAFNet 1.
        reduction: 'mean', the only choice; the authors' configs set it.
        toY: compare the luma of RGB images in [0, 1] instead.

    Raises:
        SAPDError: any other ``reduction``.

    >>> round(PSNRLoss()(torch.zeros(1, 3, 8, 8), torch.full((1, 3, 8, 8), 0.1)).item(), 3)
    -20.0
    """

    @checked
    def __init__(
        self, loss_weight: Weight = 1.0, reduction: Annotated[str, one_of('mean')] = 'mean', toY: bool = False
    ) -> None:
        super().__init__(loss_weight)
        self.toY = toY

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the negative PSNR in dB."""
        error = restored - target
        if self.toY:  # the offset of Y cancels in the difference
            error = (error * error.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True) / 255
        return 10 * (error.square().mean((1, 2, 3)) + 1e-8).log10().mean()


class SSIMLoss(ImageLoss):
    """Negative SSIM of images in [0, 1], averaged over pixels and channels (PReNet paper, equation 8).

    SSIM is that of Wang et al. 2004 with a Gaussian window, K1 = 0.01, K2 = 0.03 and zero padding.

    Args:
        loss_weight: factor of the loss.
        window_size: side of the window in pixels, odd.
        sigma: standard deviation of the Gaussian, in pixels.

    >>> image = torch.rand(1, 3, 16, 16)
    >>> round(SSIMLoss()(image, image).item(), 4)
    -1.0
    """

    @checked
    def __init__(
        self,
        loss_weight: Weight = 1.0,
        window_size: Annotated[int, Valid(_check_odd)] = 11,
        sigma: Positive = 1.5,
    ) -> None:
        super().__init__(loss_weight)
        self.window_size, self.sigma = window_size, sigma

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the negative mean of :func:`ssim_map`."""
        return -ssim_map(restored, target, self.window_size, self.sigma).mean()


class EdgeLoss(ImageLoss):
    """Charbonnier distance of the images' Laplacians, ``sqrt(d^2 + eps^2)``, averaged (MPRNet paper, section 3.4).

    Args:
        loss_weight: factor of the loss; MPRNet uses 0.05 for deraining and deblurring.
        eps: constant of the Charbonnier distance.
    """

    @checked
    def __init__(self, loss_weight: Weight = 1.0, eps: Positive = 1e-3) -> None:
        super().__init__(loss_weight)
        self.eps = eps

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the Charbonnier distance of the two Laplacians."""
        return (laplacian(restored) - laplacian(target)).square().add(self.eps**2).sqrt().mean()


class FrequencyLoss(ImageLoss):
    """L1 distance of the images' Fourier transforms (MIMO-UNet paper, multi-scale frequency reconstruction loss).

    As in the authors' code, the transform is not normalised, and the mean is over the real and imaginary parts of all
    frequencies.

    Args:
        loss_weight: factor of the loss; MIMO-UNet uses 0.1.
    """

    def measure(self, restored: Tensor, target: Tensor) -> Tensor:
        """Return the distance of the two transforms."""
        difference = torch.view_as_real(torch.fft.fft2(restored - target))  # the transform is linear
        return F.l1_loss(difference, torch.zeros_like(difference))


def ssim_map(a: Tensor, b: Tensor, window_size: int = 11, sigma: float = 1.5) -> Tensor:
    """Return SSIM at every pixel, (N,C,H,W).

    Args:
        a: (N,C,H,W) float32 or float64 in [0, 1].
        b: same shape and dtype.
        window_size: side of the window in pixels, odd.
        sigma: standard deviation of the Gaussian, in pixels.
    """
    channels = a.shape[1]
    position = torch.arange(window_size, dtype=a.dtype, device=a.device) - window_size // 2
    weights = torch.exp(-position.square() / (2 * sigma**2))
    # One convolution for all means, squares and products.
    planes = torch.cat([a, b, a * a, b * b, a * b], 1)
    means = _separable(planes, weights / weights.sum(), window_size // 2)
    mean_a, mean_b, square_a, square_b, product = means.split(channels, 1)
    variance_a, variance_b = square_a - mean_a * mean_a, square_b - mean_b * mean_b
    covariance = product - mean_a * mean_b
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a * mean_a + mean_b * mean_b + c1)
    return luminance * (2 * covariance + c2) / (variance_a + variance_b + c2)


def laplacian(image: Tensor) -> Tensor:
    """Return the finest level of the Laplacian pyramid (Burt and Adelson 1983) of (N,C,H,W) images, same shape."""
    coarse = _blurred(image)[..., ::2, ::2]
    spread = image.new_zeros(image.shape)
    spread[..., ::2, ::2] = 4 * coarse
    return image - _blurred(spread)


def _blurred(image: Tensor) -> Tensor:
    return _separable(F.pad(image, (2, 2, 2, 2), mode='replicate'), image.new_tensor(_BINOMIAL))


def _separable(image: Tensor, weights: Tensor, padding: int = 0) -> Tensor:
    """Convolve each channel with ``weights`` along its rows, then along its columns."""
    channels = image.shape[1]
    rows = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    image = F.conv2d(image, rows, padding=(0, padding), groups=channels)
    return F.conv2d(image, rows.transpose(2, 3), padding=(padding, 0), groups=channels)

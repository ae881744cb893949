"""PSNR and SSIM on the 0-255 scale."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity

from sapd_plugin.errors import SAPDError
from sapd_plugin.metrics.protocols import comparable

_WINDOW = 11


def psnr(first: np.ndarray, second: np.ndarray) -> float:
    """Return 10 log10(255^2 / MSE) in dB over all channels at once; infinite for equal images.

    Args:
        first: any shape, 0 to 255, float.
        second: same shape.

    >>> round(psnr(np.zeros((4, 4, 3)), np.full((4, 4, 3), 25.5)), 6)
    20.0
    """
    error = float(np.mean((first - second) ** 2))
    return 10 * float(np.log10(255**2 / error)) if error else float('inf')


def ssim(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean structural similarity of Wang et al. (2004), as their ``ssim_index`` computes it.

    The window is an 11x11 Gaussian with sigma 1.5, K1 = 0.01, K2 = 0.03, L = 255. Windows that cross the border are
    left out, and channels are averaged.

    Args:
        first: (H,W,C), 0 to 255, float.
        second: same shape.

    Raises:
        SAPDError: an image smaller than the window.

    >>> ssim(np.zeros((16, 16, 1)), np.zeros((16, 16, 1)))
    1.0
    """
    if min(first.shape[:2]) < _WINDOW:
        raise SAPDError(f'metric: SSIM needs {_WINDOW}x{_WINDOW} pixels or more, found an image of {first.shape[:2]}.')
    # skimage truncates its Gaussian at 3.5 sigma, so the window is 11 wide, and leaves out windows at the border.
    settings = {'gaussian_weights': True, 'sigma': 1.5, 'use_sample_covariance': False}
    return float(structural_similarity(first, second, data_range=255, channel_axis=-1, **settings))


def protocol_psnr(
    restored: np.ndarray, truth: np.ndarray, protocol: str, crop_border: int = 0, quantise: str | None = None
) -> float:
    """Return the PSNR in dB under a named protocol; arguments and errors are those of :func:`comparable`."""
    return psnr(*comparable(restored, truth, protocol, crop_border, quantise))


def protocol_ssim(
    restored: np.ndarray, truth: np.ndarray, protocol: str, crop_border: int = 0, quantise: str | None = None
) -> float:
    """Return the SSIM under a named protocol; arguments and errors are those of :func:`comparable`."""
    return ssim(*comparable(restored, truth, protocol, crop_border, quantise))

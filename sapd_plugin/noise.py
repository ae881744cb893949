"""White Gaussian noise as denoising papers add it, independent of either framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import torch

from sapd_plugin.errors import SAPDError, within
from sapd_plugin.values import Seed, Valid, checked


def _levels(sigma: Any) -> tuple[float, float]:
    lowest, highest = sigma if isinstance(sigma, (list, tuple)) else (sigma, sigma)
    return float(lowest), float(highest)


def _check_sigma(key: str, value: object) -> None:
    levels: list[Any] = list(value) if isinstance(value, (list, tuple)) else [value, value]
    numbers = all(isinstance(level, (int, float)) and not isinstance(level, bool) for level in levels)
    if not numbers or len(levels) != 2 or not 0 <= levels[0] <= levels[1] < float('inf'):
        raise SAPDError(
            f'{key}: found {value!r}, expected a number of at least 0, on the 0-255 scale, or [lowest, highest].'
        )


Sigma = Annotated[float | Sequence[float], Valid(_check_sigma)]


class NoiseSource:
    """Add white Gaussian noise to single images.

    Without a seed, for training, the noise is drawn with PyTorch's generator. In the workers of a loader, it is seeded
    anew in each epoch, while NumPy's generator repeats itself in each epoch of BasicSR. With a seed, for testing, each
    image gets the noise that ``np.random.seed(seed)`` and ``np.random.normal`` give, as in the tests of KAIR and other
    authors, and no global generator is changed.

    Args:
        where: config key of the settings, for messages.
        sigma: standard deviation on the 0-255 scale, or (lowest, highest), drawn uniformly per image.
        seed: seed of each image's noise, an integer in [0, 2^32), or None.
        clip: clip to the range of 8-bit images. Papers do not, so that the noise stays Gaussian.

    Raises:
        SAPDError: ``sigma`` is not a number >= 0 or a pair of them, or it is a range with a seed; ``seed`` or ``clip``
            is invalid.

    >>> noisy = NoiseSource('test', 25, seed=0)(np.zeros((2, 2, 3), np.float32), peak=255)
    >>> noisy.ravel()[:3].round(2).tolist(), noisy.dtype
    ([44.1, 10.0, 24.47], dtype('float32'))
    """

    def __init__(self, where: str, sigma: Sigma, seed: int | None = None, clip: bool = False) -> None:
        with within(where):
            self._set(sigma, seed, clip)

    @checked
    def _set(self, sigma: Sigma, seed: Seed | None, clip: bool) -> None:
        self.lowest, self.highest = _levels(sigma)
        self.seed, self.clip = seed, clip
        if seed is not None and self.lowest != self.highest:
            raise SAPDError(f'sigma: found {sigma!r}, but with a seed, for testing, one level is expected.')

    def __call__(self, image: np.ndarray, peak: float) -> np.ndarray:
        """Return a noisy copy, float32.

        Args:
            image: (H,W,C), 0 to ``peak``, in RGB order if a test has to reproduce its authors' noise.
            peak: 1 or 255.
        """
        if self.seed is None:
            sigma = float(torch.empty(()).uniform_(self.lowest, self.highest))
            noise = torch.randn(image.shape).numpy() * np.float32(sigma / 255 * peak)
        else:
            noise = np.random.RandomState(self.seed).normal(0, self.lowest / 255 * peak, image.shape)
        noisy = image + noise
        return (np.clip(noisy, 0, peak) if self.clip else noisy).astype(np.float32)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma={(self.lowest, self.highest)}, seed={self.seed}, clip={self.clip})'

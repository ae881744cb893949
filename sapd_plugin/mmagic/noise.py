"""Transforms for Gaussian denoising as papers test it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from mmagic.registry import TRANSFORMS

from sapd_plugin.metrics import gray
from sapd_plugin.noise import NoiseSource
from sapd_plugin.values import check_names


@TRANSFORMS.register_module()
class GaussianNoise:
    """Add white Gaussian noise, as :class:`sapd_plugin.noise.NoiseSource` draws it.

    MMagic's RandomNoise adds the same noise in training, unclipped and unrounded as well. It lacks a seed, so each test
    has different noise.

    Args:
        sigma: standard deviation on the 0-255 scale; without a seed also [lowest, highest], drawn per image.
        seed: None for training; in testing, each image gets the noise of ``np.random.seed(seed)``.
        clip: to 0..255; default no.
        keys: of the results; images (H,W,C) of 0 to 255, which become float32.

    Raises:
        SAPDError: as NoiseSource.
    """

    def __init__(
        self,
        sigma: float | Sequence[float],
        seed: int | None = None,
        clip: bool = False,
        keys: Sequence[str] = ('img',),
    ) -> None:
        check_names('GaussianNoise.keys', keys)
        self.noise, self.keys = NoiseSource('GaussianNoise', sigma, seed, clip), list(keys)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Add the noise."""
        for key in self.keys:
            # The noise of a test is defined for RGB, whatever the channel order of the image.
            step = -1 if _order(results, key) == 'bgr' else 1
            results[key] = np.ascontiguousarray(self.noise(results[key][..., ::step], peak=255)[..., ::step])
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.noise!r}, keys={self.keys})'


@TRANSFORMS.register_module(name=['MATLABGray', 'MATLABGrey'])
class MATLABGray:
    """Convert color images to gray, round(0.2989 R + 0.5870 G + 0.1140 B), as for the gray test sets of papers.

    OpenCV's gray, which MMagic uses for decoding, differs in the last digit.

    Args:
        keys: of the results; images (H,W,3) uint8, which become (H,W,1) uint8.
    """

    def __init__(self, keys: Sequence[str] = ('img', 'gt')) -> None:
        check_names('MATLABGray.keys', keys)
        self.keys = list(keys)

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Convert, and tell the preprocessor that the images are gray."""
        for key in self.keys:
            rgb = results[key][..., ::-1] if _order(results, key) == 'bgr' else results[key]
            results[key] = gray(rgb).astype(np.uint8)[..., None]
            results[f'{key}_color_type'] = 'grayscale'
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(keys={self.keys})'


def _order(results: dict[str, Any], key: str) -> str:
    return 'gray' if results[key].shape[2] == 1 else str(results.get(f'{key}_channel_order', 'bgr'))

"""The one channel that a protocol compares: MATLAB's luma, or its gray value."""

from __future__ import annotations

import numpy as np


def luma(rgb: np.ndarray, rounded: bool = False) -> np.ndarray:
    """Return Y of ITU-R BT.601 as MATLAB's ``rgb2ycbcr`` computes it: 16 (black) to 235 (white).

    Args:
        rgb: (H,W,3), 0 to 255, any dtype; computed in float64.
        rounded: round to integers, halves upwards, as ``rgb2ycbcr`` does with a uint8 image; it does not after
            ``im2double``.

    Returns:
        (H,W) float64.

    >>> luma(np.uint8([[[255, 255, 255], [10, 20, 30]]])).round(4).tolist()
    [[235.0, 31.5876]]
    """
    values = rgb.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
    return np.floor(values + 0.5) if rounded else values


def gray(rgb: np.ndarray) -> np.ndarray:
    """Return round(0.2989 R + 0.5870 G + 0.1140 B): the weights that MATLAB's documentation gives for ``rgb2gray``.

    Gray denoising sets (BSD68, ...) are made like this. OpenCV's gray differs in the last digit.

    Args:
        rgb: (H,W,3), 0 to 255, any dtype.

    Returns:
        (H,W) float64, integers.

    >>> gray(np.uint8([[[255, 255, 255], [10, 20, 30]]])).tolist()
    [[255.0, 18.0]]
    """
    return np.floor(rgb.astype(np.float64) @ np.array([0.2989, 0.5870, 0.1140]) + 0.5)


def canonical_color(name: object) -> object:
    """Return 'gray' for the British 'grey', and any other config value unchanged."""
    return 'gray' if name == 'grey' else name

"""From a network's floating-point output to the 8-bit image that papers measure."""

from __future__ import annotations

import numpy as np

from sapd_plugin.errors import check_choice

# 'round': to the nearest, as MATLAB's im2uint8 and both frameworks do when they save an image. 'floor': truncated, as a
# cast to uint8 does (PReNet's authors). 'none': clamped to 0..255 only.
QUANTISE = ('round', 'floor', 'none')


def to_8_bits(image: np.ndarray, quantise: str = 'round') -> np.ndarray:
    """Clamp to 0..255 and quantise to integers.

    Args:
        image: 0 to 255, any shape; uint8 passes unchanged.
        quantise: one of :data:`QUANTISE`.

    Returns:
        float64, same shape.

    Raises:
        SAPDError: an unknown ``quantise``.

    >>> to_8_bits(np.array([-3.0, 7.5, 7.4, 300.0])).tolist(), to_8_bits(np.array([7.9]), 'floor').tolist()
    ([0.0, 8.0, 7.0, 255.0], [7.0])
    """
    check_choice('quantise', quantise, QUANTISE)
    values = np.clip(image.astype(np.float64), 0, 255)
    if quantise == 'none':
        return values
    return np.round(values) if quantise == 'round' else np.floor(values)

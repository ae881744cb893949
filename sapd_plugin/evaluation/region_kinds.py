"""Kinds of places in an image, by its masks: at a boundary, inside small or large regions, without a mask."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import maximum_filter, minimum_filter

# Pixels from a boundary that count as at it.
REACH = 2
# A region below this share of the image is small.
SMALL = 0.01
# Kinds and what they are. Each pixel is of one kind.
KINDS = {
    'boundary': f'within {REACH} pixels of a boundary between two regions, or of a region and what has no mask',
    'small': f'farther inside of regions below {SMALL:.0%} of the image',
    'large': 'farther inside of larger regions',
    'unmasked': 'without a mask, farther from any',
}


def region_kinds(labels: np.ndarray) -> np.ndarray:
    """Tell each pixel's kind.

    Args:
        labels: (H,W) integers, 0 = no mask.

    Returns:
        (H,W) uint8, index into `KINDS`.

    >>> region_kinds(np.array([[1] * 4 + [0] * 4])).tolist()
    [[2, 2, 0, 0, 0, 0, 3, 3]]
    """
    _, which, areas = np.unique(labels, return_inverse=True, return_counts=True)
    small = (areas < SMALL * labels.size)[which.reshape(labels.shape)]
    kinds = np.where(labels == 0, 3, np.where(small, 1, 2)).astype(np.uint8)
    window = 2 * REACH + 1
    # At the image's own border there is no boundary: 'nearest' repeats labels that are there.
    kinds[maximum_filter(labels, window, mode='nearest') != minimum_filter(labels, window, mode='nearest')] = 0
    return kinds

"""Pictures of label maps: colors, boundaries, overlays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sapd_plugin.errors import SAPDError

# Its multiples, modulo 1, are spread evenly for any count, so close labels get distant hues.
_GOLDEN = 0.618033988749895


def region_colours(labels: np.ndarray) -> np.ndarray:
    """Color each label, the same in every picture: (...,) integers -> (...,3) uint8 RGB; 0 is black.

    >>> region_colours(np.array([0, 1, 1])).tolist()
    [[0, 0, 0], [48, 101, 230], [48, 101, 230]]
    """
    hue = (np.asarray(labels, dtype=np.float64) * _GOLDEN % 1.0)[..., None]
    # The three channels of a hue circle at saturation 0.79 and value 0.9: one formula, shifted by thirds.
    wheel = np.clip(np.abs((hue * 6.0 + np.array([0.0, 4.0, 2.0])) % 6.0 - 3.0) - 1.0, 0.0, 1.0)
    colours = (48.0 + 182.0 * wheel).round().astype(np.uint8)
    return colours * (np.asarray(labels) != 0)[..., None].astype(np.uint8)


def boundaries(labels: np.ndarray) -> np.ndarray:
    """Mark pixels whose right or lower neighbour has a different label: (H,W) integers -> (H,W) bool."""
    edge = np.zeros(labels.shape, dtype=bool)
    edge[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    edge[:-1] |= labels[1:] != labels[:-1]
    return edge


def overlay(image: np.ndarray, labels: np.ndarray, opacity: float = 0.5) -> np.ndarray:
    """Blend the regions' colors with the photo; boundaries are white, and pixels without a mask are darkened.

    Args:
        image: (H,W,3) uint8 RGB.
        labels: (H,W) or (H,W,1) integers, 0 = no mask.
        opacity: of the colors, 0..1.

    Returns:
        (H,W,3) uint8 RGB, a new array.

    Raises:
        SAPDError: the shapes or sizes do not match.
    """
    labels = np.asarray(labels)
    labels = labels[:, :, 0] if labels.ndim == 3 else labels
    if image.dtype != np.uint8 or image.shape != (*labels.shape, 3):
        raise SAPDError(
            f'overlay: found an image {image.shape} {image.dtype} and labels {labels.shape}, expected (H,W,3) uint8 '
            'and (H,W).'
        )
    blended = (1 - opacity) * image + opacity * region_colours(labels)
    blended = blended.round().astype(np.uint8)
    blended[boundaries(labels)] = 255
    return blended


def strip(photos: Sequence[np.ndarray], labels: np.ndarray) -> np.ndarray:
    """Put photos of equal size, (H,W,3) uint8 RGB, side by side, followed by the `overlay` of the last one."""
    return np.concatenate([*photos, overlay(photos[-1], labels)], axis=1)

"""The classical segmenter: no weights, under a second a photo. Felzenszwalb and Huttenlocher, IJCV 2004."""

from __future__ import annotations

from typing import Any

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters.registry import register_segmenter


@register_segmenter('felzenszwalb')
class Felzenszwalb:
    """Merge pixels along weak edges. It knows no objects; its regions cover the whole image.

    The defaults were chosen by eye on photos of 0.15 megapixels: 20 to 90 regions, near to what SAM finds.

    Args:
        scale: larger gives larger regions.
        sigma: standard deviation, in pixels, of the blur before.
        min_size: pixels; smaller regions are merged into their neighbour.

    Raises:
        SAPDError: for a setting out of range.
    """

    def __init__(self, scale: float = 300.0, sigma: float = 0.8, min_size: int = 150) -> None:
        for key, value in (('scale', scale), ('sigma', sigma), ('min_size', min_size)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise SAPDError(f"segmenter 'felzenszwalb': {key}: found {value!r}, expected a number of 0 or more.")
        if min_size != int(min_size):
            raise SAPDError(f"segmenter 'felzenszwalb': min_size: found {min_size}, expected whole pixels.")
        from importlib.metadata import version

        self._options = {'scale': float(scale), 'sigma': float(sigma), 'min_size': int(min_size)}
        self.settings: dict[str, Any] = {
            'segmenter': 'felzenszwalb',
            'parameters': dict(self._options),
            'versions': {'scikit-image': version('scikit-image')},
        }

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image; predicted IoU and stability are NaN."""
        from skimage.segmentation import felzenszwalb

        # Its labels begin at 0, which in a label map is no mask.
        return LabelMap.from_labels(felzenszwalb(image, channel_axis=2, **self._options) + 1)

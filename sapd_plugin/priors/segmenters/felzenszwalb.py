"""The classical segmenter of Felzenszwalb and Huttenlocher, IJCV 2004: no weights, under a second per photo."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import cv2
import numpy as np

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters.registry import register_segmenter
from sapd_plugin.values import Count, Natural, Weight, checked


@register_segmenter('felzenszwalb')
class Felzenszwalb:
    """Merge pixels along weak edges. It does not know objects; its regions cover the whole image.

    The defaults were chosen by eye on photos of 0.15 megapixels: 20 to 90 regions, close to what SAM finds.

    Args:
        scale: larger gives larger regions.
        sigma: standard deviation, in pixels, of the initial blur.
        min_size: pixels; smaller regions are merged into a neighbour.
        max_pixels: a larger image is downsampled to this size, and its label map enlarged. Time and memory grow with
            it: 2 megapixels take 0.8 GB, an 8k photo would take 11 GB.

    Raises:
        SAPDError: a setting is out of range.
    """

    @checked
    def __init__(
        self, scale: Weight = 300.0, sigma: Weight = 0.8, min_size: Natural = 150, max_pixels: Count = 2_100_000
    ) -> None:
        self._options = {'scale': float(scale), 'sigma': float(sigma), 'min_size': int(min_size)}
        self._max_pixels = int(max_pixels)
        self.settings: dict[str, Any] = {
            'segmenter': 'felzenszwalb',
            'parameters': {**self._options, 'max_pixels': int(max_pixels)},
            'versions': {'scikit-image': version('scikit-image')},
        }

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image; predicted IoU and stability are NaN."""
        from skimage.segmentation import felzenszwalb

        shrunk = image
        factor = (self._max_pixels / (image.shape[0] * image.shape[1])) ** 0.5
        if factor < 1:
            width, height = (max(1, int(side * factor)) for side in image.shape[1::-1])
            shrunk = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        # Its labels start at 0, which means "no mask" in a label map.
        labels = felzenszwalb(shrunk, channel_axis=2, **self._options).astype(np.int32) + 1
        if shrunk is not image:
            rows, columns = (np.arange(full) * small // full for full, small in zip(image.shape, labels.shape))
            labels = labels[np.ix_(rows, columns)]
        return LabelMap.from_labels(labels)

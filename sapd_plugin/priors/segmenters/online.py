"""A segmenter for on-line masks, from a config block."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters import SEGMENTERS, build_segmenter


def build_online_segmenter(
    where: str, block: Mapping[str, Any], device: object = 'cpu'
) -> Callable[[np.ndarray], np.ndarray]:
    """Build what cuts masks in the training loop.

    Args:
        where: the block's config key, for messages.
        block: ``segmenter`` (a registered name), and that segmenter's own settings.
        device: the training's, for a segmenter that runs on one and names none.

    Returns:
        RGB uint8 (H,W,3) -> (H,W) integer labels, 0 = no mask.

    Raises:
        SAPDError: no segmenter is named, or whatever it refuses.
    """
    settings = dict(block)
    name = settings.pop('segmenter', None)
    if name is None:
        raise SAPDError(f"{where}.segmenter: missing, expected a name such as 'mobile_sam'.")
    if name in SEGMENTERS and 'device' in inspect.signature(SEGMENTERS[name]).parameters:
        settings.setdefault('device', str(device))
    segmenter = build_segmenter(name, **settings)
    return lambda photo: segmenter(photo).labels

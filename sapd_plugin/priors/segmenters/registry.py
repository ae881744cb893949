"""The table of segmenters, open to a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import numpy as np

from sapd_plugin.errors import SAPDError, check_choice, check_keys
from sapd_plugin.priors.labels import LabelMap


class Segmenter(Protocol):
    """What the extraction job needs of a segmenter.

    Attributes:
        settings: JSON values: ``segmenter`` (name), ``parameters``, and where there is one ``checkpoint_sha256``; they
            go into the store's fingerprint. ``versions`` and ``device`` may be added, they stay out of it.
    """

    settings: dict[str, Any]

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image."""
        ...


Factory = TypeVar('Factory', bound=Callable[..., Segmenter])

SEGMENTERS: dict[str, Callable[..., Segmenter]] = {}
"""Name -> class or function that builds the segmenter; its keyword arguments are the settings."""


def register_segmenter(name: str) -> Callable[[Factory], Factory]:
    """Decorate a class or function, so that `build_segmenter` and the tools know it by ``name``.

    Raises:
        SAPDError: for a name that is taken.
    """

    def register(factory: Factory) -> Factory:
        if name in SEGMENTERS:
            raise SAPDError(f"segmenter '{name}': registered already, expected a name that is free.")
        SEGMENTERS[name] = factory
        return factory

    return register


def build_segmenter(name: str, **settings: Any) -> Segmenter:
    """Build a segmenter by its name.

    Raises:
        SAPDError: for an unknown name or setting, naming the nearest; and whatever the segmenter refuses.
    """
    check_choice('segmenter', name, SEGMENTERS)
    factory = SEGMENTERS[name]
    check_keys(f"segmenter '{name}'", settings, inspect.signature(factory).parameters)
    return factory(**settings)

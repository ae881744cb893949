"""The registry of segmenters, which is open to a user's own."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import entry_points
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

# Name -> class or function that builds the segmenter; its keyword arguments are the settings.
SEGMENTERS: dict[str, Callable[..., Segmenter]] = {}
# An installed package that declares an entry point of this group needs no import line to be found.
ENTRY_POINT_GROUP = 'sapd_plugin.segmenters'


def register_segmenter(name: str) -> Callable[[Factory], Factory]:
    """Register the decorated class or function under ``name``.

    Raises:
        SAPDError: the name is taken.
    """

    def register(factory: Factory) -> Factory:
        if name in SEGMENTERS:
            raise SAPDError(f"segmenter '{name}': is already registered, expected a free name.")
        SEGMENTERS[name] = factory
        return factory

    return register


def build_segmenter(name: str, **settings: Any) -> Segmenter:
    """Build a segmenter by its name: a registered one, or an installed package's entry point of that name.

    Args:
        name: a name in `SEGMENTERS`, or of the entry point group ``sapd_plugin.segmenters``.
        **settings: keyword arguments of the segmenter.

    Raises:
        SAPDError: an unknown name or setting, naming the nearest; and whatever the segmenter refuses.
    """
    factory = SEGMENTERS.get(name)
    if factory is None:
        installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
        check_choice('segmenter', name, [*SEGMENTERS, *installed])
        factory = SEGMENTERS[name] = installed[name].load()
    check_keys(f"segmenter '{name}'", settings, inspect.signature(factory).parameters)
    return factory(**settings)

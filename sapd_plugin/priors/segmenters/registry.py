"""The registry of segmenters; users can add their own."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeVar

import numpy as np

from sapd_plugin.errors import SAPDError, check_choice, check_keys
from sapd_plugin.priors.labels import LabelMap


class Segmenter(Protocol):
    """The interface of a segmenter.

    Attributes:
        settings: JSON values: ``segmenter`` (name), ``parameters``, and ``checkpoint_sha256`` if there is one; they go
            into the store's fingerprint. ``versions`` and ``device`` are optional and stay out of it.
    """

    settings: dict[str, Any]

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image."""
        ...


Factory = TypeVar('Factory', bound=Callable[..., Segmenter])

# Name -> class or function that builds the segmenter; its keyword arguments are the settings.
SEGMENTERS: dict[str, Callable[..., Segmenter]] = {}
# An installed package that declares an entry point of this group is found without an import line.
ENTRY_POINT_GROUP = 'sapd_plugin.segmenters'


def register_segmenter(name: str) -> Callable[[Factory], Factory]:
    """Register the decorated class or function under ``name``. Raises SAPDError if the name is taken."""

    def register(factory: Factory) -> Factory:
        if name in SEGMENTERS:
            raise SAPDError(f"segmenter '{name}': is already registered, expected a free name.")
        SEGMENTERS[name] = factory
        return factory

    return register


def build_segmenter(name: str, **settings: Any) -> Segmenter:
    """Build a segmenter by its name in `SEGMENTERS` or in the entry point group ``sapd_plugin.segmenters``.

    Raises:
        SAPDError: an unknown name or setting (the nearest is named), or one that the segmenter refuses.
    """
    where = f"segmenter '{name}'"
    return _build(where, f'{where}: ', _find_factory('segmenter', name), settings)


def build_online_segmenter(
    where: str, block: Mapping[str, Any], device: object = 'cpu'
) -> Callable[[np.ndarray], np.ndarray]:
    """Build a segmenter that extracts masks in the training loop, from a config block.

    Args:
        where: the block's config key, for messages.
        block: ``segmenter`` (a name that `build_segmenter` knows), and that segmenter's own settings.
        device: the training's device, for a segmenter with such a setting that ``block`` does not set.

    Returns:
        A function from RGB uint8 (H,W,3) to (H,W) integer labels, 0 = no mask.

    Raises:
        SAPDError: no segmenter is named, or it refuses a setting.
    """
    settings = dict(block)
    name = settings.pop('segmenter', None)
    if name is None:
        raise SAPDError(f"{where}.segmenter: missing, expected a name such as 'mobile_sam'.")
    factory = _find_factory(f'{where}.segmenter', name)
    if 'device' in inspect.signature(factory).parameters:
        settings.setdefault('device', str(device))
    segmenter = _build(where, f'{where}.', factory, settings)
    return lambda photo: segmenter(photo).labels


def _build(where: str, prefix: str, factory: Callable[..., Segmenter], settings: Mapping[str, Any]) -> Segmenter:
    """Build a segmenter; ``where`` is its name or config key, ``prefix`` what precedes its settings in messages."""
    check_keys(where, settings, inspect.signature(factory).parameters)
    try:
        return factory(**settings)
    except SAPDError as error:
        raise SAPDError(prefix + str(error).removeprefix(f'{where}: ')) from error


def _find_factory(key: str, name: object) -> Callable[..., Segmenter]:
    if not isinstance(name, str) or name not in SEGMENTERS:
        # Looked up only here, so that a segmenter's package is imported only when it is used.
        installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
        check_choice(key, name, [*SEGMENTERS, *installed])
        SEGMENTERS[str(name)] = installed[str(name)].load()
    return SEGMENTERS[str(name)]

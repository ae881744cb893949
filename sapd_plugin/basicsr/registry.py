"""Registration of functions in BasicSR's registries, which take an object's own name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from basicsr.utils.registry import Registry


def register_builder(registry: Registry, name: str, build: Callable[..., Any]) -> None:
    """Register a function under the public name of what it builds.

    Args:
        registry: one of BasicSR's.
        name: the name for configs, such as 'SAPDModel'.
        build: the function, such as ``build_sapd_model``.
    """

    @functools.wraps(build)
    def named(*args: Any, **kwargs: Any) -> Any:
        return build(*args, **kwargs)

    named.__name__ = name
    registry.register(named)

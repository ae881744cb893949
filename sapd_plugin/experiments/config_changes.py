"""Changes of a framework's nested config: keys, data folders, and the length of its schedule."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError, nearest

DATA = 'datasets/'  # what paths of data begin with in the configs


def get_key(config: Any, path: str) -> Any:
    """Return the value of a dotted key."""
    return reduce(getitem, path.split('.'), config)


def set_keys(config: Any, changes: Mapping[str, Any], where: str) -> None:
    """Set dotted keys of a nested config that are there.

    Raises:
        SAPDError: a key that the config does not have.
    """
    for path, value in changes.items():
        node, keys = config, path.split('.')
        for i, key in enumerate(keys):
            step: Any = int(key) if isinstance(node, (list, tuple)) and key.isdigit() else key
            try:
                node[step]
            except (KeyError, IndexError, TypeError) as error:
                names = list(node) if isinstance(node, Mapping) else []
                raise SAPDError(f"{where}: has no key '{'.'.join(keys[: i + 1])}'.{nearest(key, names)}") from error
            if i + 1 < len(keys):
                node = node[step]
            else:
                node[step] = value


def move_data(config: Any, data: Path) -> Any:
    """Return a config in which every path that begins with ``datasets/`` leads into ``data``."""
    if isinstance(config, Mapping):
        return {key: move_data(value, data) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(move_data(value, data) for value in config)
    if isinstance(config, str) and config.removeprefix('./').startswith(DATA):
        return str(data / config.removeprefix('./')[len(DATA) :])
    return config


def stretched(value: int | float, factor: float) -> int:
    """Return an iteration of a schedule that became shorter or longer by a factor; at least 1."""
    return max(1, round(value * factor))


def interval(published: float, iterations: int, factor: float) -> int:
    """Return how often a stretched training validates, saves or prints: in proportion, ten times at most if short."""
    return min(max(stretched(published, factor), iterations // 10, 1), iterations)

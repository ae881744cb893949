"""Changes of a framework's nested config: keys, data folders, and the length of its schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError, nearest

DATA = 'datasets/'  # what paths of data begin with in the configs
Place = tuple[dict[str, Any], str]  # a block of a config, and one of its keys


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


def stretch(factor: float, iterations: int, points: Iterable[Place], intervals: Iterable[Place]) -> None:
    """Make a schedule shorter or longer.

    Args:
        factor: of its length.
        iterations: of the training then.
        points: hold an iteration, or a list of them; none becomes less than 1, and one that is not positive stays.
        intervals: how often the training validates, saves or prints: in proportion, ten times at most if it is short.
    """
    for block, key in points:
        value = block.get(key)
        if isinstance(value, (list, tuple)):
            block[key] = [max(1, round(point * factor)) for point in value]
        elif value and value > 0:
            block[key] = max(1, round(value * factor))
    for block, key in intervals:
        if key in block:
            block[key] = min(max(round(block[key] * factor), iterations // 10, 1), iterations)

"""Changes to a framework's nested config: keys, data folders, and the length of its schedule."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError, nearest

DATA = 'datasets/'  # the configs' data paths begin with this
Place = tuple[dict[str, Any], str]  # a block of a config, and one of its keys


def get_key(config: Any, path: str, where: str) -> Any:
    """Return the value of a dotted key.

    Raises:
        SAPDError: the config, which is named ``where``, lacks the key.
    """
    try:
        return reduce(getitem, path.split('.'), config)
    except (KeyError, IndexError, TypeError) as error:
        raise SAPDError(f"{where}: found no key '{path}', expected one in the config of a training.") from error


def set_keys(config: Any, changes: Mapping[str, Any], where: str) -> None:
    """Set existing dotted keys of a nested config.

    Raises:
        SAPDError: the config lacks a key.
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
    """Return a copy of a config in which ``data`` replaces ``datasets/`` at the beginning of each path."""
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
        factor: new length divided by the old one.
        iterations: new number of iterations.
        points: places of an iteration or a list of them; scaled, at least 1; a number that is not positive stays.
        intervals: places of intervals (validation, saving, logging); scaled, within 10 to 100 % of ``iterations``.
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

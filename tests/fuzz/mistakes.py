"""Mistakes in nested data: each has one node replaced by a value of another kind, or a key renamed, added or removed."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 3, 10**30, 0.5, -2.5, float('nan'), float('inf'), '', 'x', '1e-1', '../../x', 'a/b', 'CON', '{', '{x}',
    '{:>9999999999}', '\x00', [], ['x'], [1, 2], [[]], {}, {'x': 1}, {'x': {'y': []}}, 'é' * 200,
)  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each node below a nested mapping or list."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, part in items:
        yield (*path, key)
        yield from places(part, (*path, key))


def mistaken(data: Any, seed: int) -> tuple[str, Any]:
    """Return a description of a mistake, and a copy of the data that has it."""
    rng, data = random.Random(seed), copy.deepcopy(data)
    path = rng.choice(list(places(data)))
    node = data
    for key in path[:-1]:
        node = node[key]
    kind = rng.choice(('value', 'value', 'value', 'rename', 'remove', 'add'))
    where = '.'.join(map(str, path))
    if kind == 'remove':
        del node[path[-1]]
        return f'{where} removed', data
    value = rng.choice(VALUES)
    if kind == 'rename' and isinstance(node, dict):
        name = rng.choice(('x', f'{path[-1]}s', '../../x', 'CON', 7, ''))
        node[name] = node.pop(path[-1])
        return f'{where} renamed to {name!r}', data
    if kind == 'add' and isinstance(node, dict):
        node['extra'] = value
        return f'{where} has a neighbor extra: {value!r}', data
    node[path[-1]] = value
    return f'{where} = {value!r}', data

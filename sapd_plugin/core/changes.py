"""What a resumed run changes in the config that it started with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

_ABSENT = object()


def snapshot(config: Mapping[str, Any]) -> str:
    """Return a config as JSON, to be saved with the state of a run; a class is represented by its name."""
    return json.dumps(config, default=lambda value: getattr(value, '__name__', str(value)))


def changes(saved: str, now: str) -> list[str]:
    """Return a line for each key whose value differs between two snapshots.

    >>> changes(snapshot({'train': {'a': 1, 'b': 2}}), snapshot({'train': {'a': 1, 'b': 3, 'c': 'x'}}))
    ['train.b: 2 -> 3', "train.c: absent -> 'x'"]
    """
    return [
        f'{key}: {_shown(before)} -> {_shown(after)}'
        for key, before, after in _differ('', *map(json.loads, (saved, now)))
    ]


def warning_of(changed: list[str]) -> str:
    """Return the warning of a resumed run with these changes."""
    lines = '\n  '.join(changed)
    return f'The resumed run has different settings from those that it was saved with:\n  {lines}'


def _differ(where: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(before, dict) and isinstance(after, dict):
        for key in {**before, **after}:
            below = f'{where}.{key}' if where else key
            yield from _differ(below, before.get(key, _ABSENT), after.get(key, _ABSENT))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for number, pair in enumerate(zip(before, after)):
            yield from _differ(f'{where}[{number}]', *pair)
    elif before is not after and json.dumps(before, default=str) != json.dumps(after, default=str):
        yield where, before, after


def _shown(value: Any) -> str:
    text = 'absent' if value is _ABSENT else repr(value)
    return text if len(text) <= 200 else f'{text[:200]}...'

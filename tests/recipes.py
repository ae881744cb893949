"""Changes to configs, as the tests of both adapters write them."""

from __future__ import annotations

import copy
from typing import Any

DELETE = object()


def update(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply {'train:spd_opt:gate': 'pixel'}-like changes in place; DELETE removes a key."""
    for path, value in changes.items():
        *parents, last = path.split(':')
        node: Any = config
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node[key]
        if value is DELETE:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return config

"""Keys of SAPD at a place where nothing reads them, which MMEngine ignores."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.training import MASK_KEYS

_DATASET = r'(train|val|test)_dataloader(\[\d+\])?(\.dataset|\.datasets\[\d+\])+'
# Name -> the place that reads it, and a pattern of all such places.
_PLACES = dict.fromkeys(('network_spf', 'spd_loss', 'sgr_loss', 'spf_loss'), ('model', 'model'))
_PLACES |= dict.fromkeys(MASK_KEYS, ('train_dataloader.dataset', _DATASET))
_PLACES['spf_optimizer'] = ('optim_wrapper', 'optim_wrapper')
# What a runner reads; other names at the top level are variables of the config's own.
_READ = re.compile(
    r'model|(train|val|test)_(cfg|dataloader|evaluator)|optim_wrapper|param_scheduler|(default|custom)_hooks|'
    r'data_preprocessor|env_cfg|log_processor|visualizer|randomness|auto_scale_lr'
)


def check_places(config: Mapping[str, Any]) -> None:
    """Refuse a key of SAPD that is at a wrong place.

    A config may hold it in a variable of its own, which is a key to MMEngine, if it is at its place, too.

    Raises:
        SAPDError: naming the key and its place.
    """
    found = list(_found('', dict(config.items())))  # MMEngine's Config is not a Mapping
    placed = {name for parent, name in found if re.fullmatch(_PLACES[name][1], parent)}
    for parent, name in found:
        place, pattern = _PLACES[name]
        variable = not _READ.match(parent) and name in placed
        if not variable and not re.fullmatch(pattern, parent):
            key = f'{parent}.{name}' if parent else name
            where = '' if parent else ' at the top level of the config'
            raise SAPDError(f'{key}: found{where}, where nothing reads it, expected {place}.{name}.')


def _found(parent: str, node: Any) -> Iterator[tuple[str, str]]:
    """Yield the parent's key and the name of each key of SAPD."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            if name in _PLACES and value is not None:
                yield parent, name
            yield from _found(f'{parent}.{name}' if parent else str(name), value)
    elif isinstance(node, Sequence) and not isinstance(node, (str, bytes)):
        for index, value in enumerate(node):
            yield from _found(f'{parent}[{index}]', value)

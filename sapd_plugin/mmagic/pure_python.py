"""The SAPD delta as a config in pure Python, for a stock config of this kind: ``with read_base(): ...``."""

from __future__ import annotations

import keyword
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

from sapd_plugin.errors import SAPDError

OURS = ('PairedImageMaskDataset', 'SAPDHook', 'SAPDModel', 'SGRLoss', 'SPDLoss', 'SPF')  # of sapd_plugin.mmagic


def pure_python(blocks: Mapping[str, Any], base: str, hooks: bool) -> str:
    """Return the text of a config in pure Python that changes another one.

    Args:
        blocks: the changes by the name of the variable. A mapping is merged into the base's, other values replace it.
        base: path of the other config, relative to the new one.
        hooks: whether the base has ``default_hooks``.

    Raises:
        SAPDError: Python cannot import the base by its name.
    """
    changes = {key: value for key, value in blocks.items() if key != 'custom_imports'}
    lines = []
    for key, value in changes.items():
        if not isinstance(value, Mapping) or (key == 'default_hooks' and not hooks):
            lines.append(f'{key} = {_source(value)}')
        elif key == 'train_dataloader':
            lines += [f'{place}.update({_source(change)})' for place, change in _updates(key, value)]
        else:
            lines.append(f'{key}.update({_source(value)})')
    imports = [f'from {kind.__module__} import {kind.__qualname__}' for kind in _classes(changes)]
    text = '\n'.join(lines)
    names = [name for name in OURS if f'={name}' in text]
    return '\n'.join(
        [
            'from mmengine.config import read_base',
            '',
            'with read_base():',
            f'    from {_module(base)} import *  # noqa: F403',
            '',
            *dict.fromkeys(imports),
            f'from sapd_plugin.mmagic import {", ".join(names)}',
            '',
            text,
            '',
        ]
    )


def _module(base: str) -> str:
    """Return the relative name by which Python imports a file: '../a/b.py' is '..a.b'."""
    parts = PurePosixPath(base).with_suffix('').parts
    up = sum(part == '..' for part in parts)
    names = parts[up:]
    if not all(name.isidentifier() and not keyword.iskeyword(name) for name in names):
        raise SAPDError(
            f'{base}: a config in pure Python is imported by its name, expected one in letters, digits and _.'
        )
    return '.' * (up + 1) + '.'.join(names)


def _updates(place: str, value: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the innermost blocks that a change is for, such as ``train_dataloader['dataset']``, and their changes."""
    for key in ('dataset', 'datasets'):
        inner = value.get(key)
        if isinstance(inner, Mapping):
            yield from _updates(f"{place}['{key}']", inner)
            return
        if isinstance(inner, Sequence):
            for number, each in enumerate(inner):
                yield from _updates(f"{place}['{key}'][{number}]", each)
            return
    ours = ('type', 'base_dataset_type', 'mask_store', 'mask_context')  # the others are the base's own
    yield place, {key: value[key] for key in ours if key in value}


def _classes(node: Any) -> Iterator[type]:
    """Yield the classes in a change."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            # The base's own values of a list are not written.
            if key in ('type', 'base_model_type', 'base_dataset_type') or isinstance(value, (Mapping, list)):
                yield from _classes(value)
    elif isinstance(node, list):
        for value in node:
            yield from _classes(value)
    elif isinstance(node, type):
        yield node


def _source(value: Any) -> str:
    """Write a value: a class, or one of ours, by its name."""
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{key}={_source(part)}" for key, part in value.items())})'
    if isinstance(value, list):
        return f'[{", ".join(map(_source, value))}]'
    if isinstance(value, type):
        return value.__qualname__
    return value if value in OURS else repr(value)

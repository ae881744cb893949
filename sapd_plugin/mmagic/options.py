"""Checks of the model's config before anything is built from it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmagic.models.base_models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.model import BaseModel
from mmengine.registry import Registry

from sapd_plugin.core import check_block, check_losses, refuse_base
from sapd_plugin.errors import SAPDError, check_choice, check_keys

# Base models whose batches masks cannot follow; their subclasses are refused, too.
REFUSED = {
    'BasicVSR': 'it trains on clips, and a mask belongs to one image',
    'EDVR': 'it trains on clips, and a mask belongs to one image',
    'TDAN': 'it trains on clips, and a mask belongs to one image',
    'BasicInterpolator': 'it trains on clips, and a mask belongs to one image',
    'LIIF': 'its network returns sampled coordinates, and masks belong to whole patches',
}


def base_model_class(name: object) -> type:
    """Return the class that SAPDModel wraps.

    Raises:
        SAPDError: no such model in MMagic's registry, or SAPD does not support it.
    """
    base: Any = name if isinstance(name, type) else find_type(name) if name != 'SAPDModel' else None
    if base is None:
        models = MODELS.module_dict.items()
        names = sorted(k for k, v in models if inspect.isclass(v) and issubclass(v, BaseEditModel))
        check_choice('model.base_model_type', name, names)
    refuse = f'model.base_model_type: {base.__name__} cannot be used, because '
    if not (isinstance(base, type) and issubclass(base, BaseEditModel)):
        raise SAPDError(f'{refuse}it is not a subclass of BaseEditModel, so it has no generator that restores images.')
    refuse_base('model.base_model_type', base, REFUSED)
    editor: type[BaseEditModel] = base
    if editor.train_step is not BaseModel.train_step:
        raise SAPDError(
            f'{refuse}it has its own training step (generative adversarial models do), and SAPD adds its losses to '
            'the sum that BaseModel.train_step minimizes.'
        )
    return editor


def check_config(base: type, config: Mapping[str, Any], ours: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Refuse keys below ``model`` that the wrapped class does not take, and blocks of ``ours`` that would be misread.

    Args:
        base: the wrapped class.
        config: its keys.
        ours: the branch's blocks.
        settings: the other keys of SAPDModel.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    parameters = inspect.signature(base).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = [name for name in parameters if name not in ('args', 'kwargs')]
    if not open_ended:
        check_keys('model', config, [*known, *ours, *settings, 'base_model_type'])
    if 'generator' not in config:
        raise SAPDError('model.generator: missing, expected the config of the network that is trained.')
    for key in ('generator', 'pixel_loss'):
        if config.get(key) and not isinstance(config[key], list):  # MMEngine builds a Sequential from a list
            check_module(f'model.{key}', config[key])
    check_module('model.network_spf', ours['network_spf'])
    check_losses('model', {key: ours[key] for key in ('spd_loss', 'sgr_loss', 'spf_loss')}, check_module, find_type)


def check_module(key: str, block: Any) -> None:
    """Refuse a block that MODELS has no type for, or that has a key which its type does not read.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    if isinstance(block, Mapping):
        block = {name: value for name, value in block.items() if name != '_scope_'}  # read by the registry itself
    check_block(key, block, find_type, MODELS.module_dict)


def find_type(name: object) -> Any:
    """Look up a name in MMagic's registry of models, as :func:`find_registered` does."""
    return find_registered(MODELS, name)


def find_registered(registry: Registry, name: object) -> Any:
    """Look up a name in a registry of MMagic's; a class or function is itself. None if it is not registered.

    A dotted name is imported, as MMEngine does: so it writes the types of a config in pure Python.
    """
    if callable(name):
        return name
    try:
        return registry.get(str(name)) if name else None  # a config may hold anything here
    except Exception:  # the registry imports what has a dot in its name
        return None

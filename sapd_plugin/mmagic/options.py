"""Checks the model's config before anything is built from it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmagic.models.base_models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.model import BaseModel

from sapd_plugin.errors import SAPDError, check_keys, nearest

# Base models whose batches the masks cannot follow; their descendants are refused with them.
REFUSED = {
    'BasicVSR': 'it trains on clips, and a mask belongs to one image',
    'EDVR': 'it trains on clips, and a mask belongs to one image',
    'TDAN': 'it trains on clips, and a mask belongs to one image',
    'BasicInterpolator': 'it trains on clips, and a mask belongs to one image',
    'LIIF': 'its network returns sampled coordinates, and masks belong to whole patches',
}


def base_model_class(name: str | type) -> type:
    """Return the class that SAPDModel is to wrap.

    Raises:
        SAPDError: no such model in MMagic's registry, or one that SAPD cannot serve.
    """
    base = name if isinstance(name, type) else MODELS.get(name) if name != 'SAPDModel' else None
    if base is None:
        models = MODELS.module_dict.items()
        names = sorted(k for k, v in models if inspect.isclass(v) and issubclass(v, BaseEditModel))
        raise SAPDError(
            f"model.base_model_type: found '{name}', expected one of {', '.join(names)}.{nearest(name, names)}"
        )
    refuse = f'model.base_model_type: {base.__name__} cannot be used, because '
    if not (inspect.isclass(base) and issubclass(base, BaseEditModel)):
        raise SAPDError(f'{refuse}it does not descend from BaseEditModel, so it has no generator that restores images.')
    for ancestor in inspect.getmro(base):
        if ancestor.__name__ in REFUSED:
            raise SAPDError(f'{refuse}{REFUSED[ancestor.__name__]}.')
    if base.train_step is not BaseModel.train_step:
        raise SAPDError(
            f'{refuse}it has a training step of its own (generative adversarial models do), and SAPD adds its losses '
            'to the sum that BaseModel.train_step takes.'
        )
    return base


def check_config(base: type, config: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Refuse keys below ``model`` that nobody would read, and blocks that SAPDModel would misread.

    Args:
        base: the wrapped class.
        config: the keys that are handed on to it.
        ours: the keys of SAPDModel.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    parameters = inspect.signature(base).parameters
    open_ended = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = [name for name in parameters if name not in ('args', 'kwargs')]
    if not open_ended:
        check_keys('model', config, [*known, *ours, 'base_model_type'])
    if 'generator' not in config:
        raise SAPDError('model.generator: missing, expected the config of the network that is trained.')
    check_block('model.network_spf', ours['network_spf'])
    if not ours['spd_loss'] and not ours['sgr_loss']:
        raise SAPDError(
            'model: neither spd_loss nor sgr_loss is there, so the student would learn nothing from the masks. '
            "Add dict(type='SPDLoss'), dict(type='SGRLoss') or both."
        )
    for key in ('spd_loss', 'sgr_loss', 'spf_loss'):
        if ours[key]:
            check_block(f'model.{key}', ours[key])


def check_block(key: str, block: Any) -> None:
    """Refuse a block that MODELS has no type for, or that holds a key nobody would read.

    Args:
        key: of the block, for messages.
        block: ``type`` and the module's own arguments.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    if not isinstance(block, Mapping):
        raise SAPDError(f"{key}: found {block!r}, expected a block such as dict(type='...').")
    name = block.get('type')
    if isinstance(name, str) and MODELS.get(name) is None:
        names = sorted(MODELS.module_dict)
        raise SAPDError(f"{key}.type: found '{name}', expected a registered name.{nearest(name, names)}")
    built = MODELS.get(name) if isinstance(name, str) else name
    parameters = inspect.signature(built).parameters  # type: ignore[arg-type]
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        check_keys(f'{key}', (k for k in block if k != 'type'), parameters)

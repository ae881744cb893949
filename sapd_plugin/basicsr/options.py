"""Checks a BasicSR option tree before anything is built from it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY

from sapd_plugin.basicsr.metrics import check_metrics
from sapd_plugin.core import check_stage
from sapd_plugin.errors import SAPDError, check_keys, nearest

TRAIN_KEYS = ('spf_opt', 'spd_opt', 'sgr_opt', 'sapd_opt', 'optim_spf')
SAPD_KEYS = ('stage', 'output_index', 'online')

# Base models whose batches the masks cannot follow; their descendants are refused with them.
REFUSED = {
    'RealESRGANModel': 'it degrades, pools and crops the batch again on the device, so masks lose their images',
    'RealESRNetModel': 'it degrades, pools and crops the batch again on the device, so masks lose their images',
    'VideoBaseModel': 'it trains on clips, and a mask belongs to one image',
    'StyleGAN2Model': 'it generates from noise, so there is no restored image',
}


def base_model_class(opt: Mapping[str, Any]) -> type:
    """Return the class that SAPDModel is to wrap.

    Raises:
        SAPDError: no such model in BasicSR's registry, or one that cannot keep masks aligned.
    """
    name = opt.get('base_model_type', 'SRModel')
    names = sorted(MODEL_REGISTRY.keys())
    found = name if name in names else f'{name}_basicsr'
    if found not in names or name == 'SAPDModel':
        others = [n for n in names if n != 'SAPDModel']
        raise SAPDError(f"base_model_type: found '{name}', expected one of {', '.join(others)}.{nearest(name, others)}")
    base = MODEL_REGISTRY.get(found)
    for ancestor in inspect.getmro(base):
        if ancestor.__name__ in REFUSED:
            raise SAPDError(f'base_model_type: {name} cannot be used, because {REFUSED[ancestor.__name__]}.')
    return base


def check_options(opt: Mapping[str, Any]) -> None:
    """Refuse an option tree for training that SAPDModel would misread.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    train, path = opt['train'], opt['path']
    _refuse_misspelt('', opt, ('network_spf', 'base_model_type'))
    _refuse_misspelt('train.', train, TRAIN_KEYS)
    if not isinstance(opt.get('network_spf'), Mapping):
        raise SAPDError("network_spf: missing; SAPDModel needs a block with 'type: SPF' beside network_g.")
    _check_type('network_spf.type', opt['network_spf'].get('type'), ARCH_REGISTRY)
    if not train.get('spd_opt') and not train.get('sgr_opt'):
        raise SAPDError(
            'train: neither spd_opt nor sgr_opt is there, so the student would learn nothing from the masks. '
            'Add {type: SPDLoss}, {type: SGRLoss} or both.'
        )
    for key in ('spf_opt', 'spd_opt', 'sgr_opt'):
        if train.get(key):
            check_loss(f'train.{key}', train[key])
    check_metrics(opt)
    sapd = train.get('sapd_opt') or {}
    check_keys('train.sapd_opt', sapd, SAPD_KEYS)
    for key, value in path.items():
        if ('pretrain_network' in key or key == 'resume_state') and value and not Path(value).is_file():
            raise SAPDError(f'path.{key}: no file {value}, expected a checkpoint.')
    pretrained = path.get('pretrain_network_g')
    check_stage(sapd.get('stage', 'joint'), 'train.sapd_opt.stage', 'path.pretrain_network_g', pretrained)
    if 'optim_g' not in train and 'optim_spf' not in train:
        raise SAPDError("train.optim_spf: missing, and there is no optim_g to take SPF's optimizer from.")
    scale = opt.get('scale', 1)
    if scale != 1 and 'network' not in opt['network_spf']:
        raise SAPDError(
            f'network_spf.network: missing. With scale {scale} the second network works at the output size, so '
            'network_g cannot be used again: name a network with scale 1.'
        )
    dataset = opt['datasets']['train']
    needs_store = not sapd.get('online') or sapd['online'].get('every', 1) != 1
    if dataset.get('type') == 'PairedImageDataset' and needs_store:
        raise SAPDError(
            "datasets.train.type: 'PairedImageDataset' loads no masks, expected 'PairedImageMaskDataset' and a "
            "'mask_store'."
        )
    if dataset.get('type') == 'GaussianNoiseDataset' and needs_store and not dataset.get('mask_store'):
        raise SAPDError('datasets.train.mask_store: missing, expected a folder made by `sapd extract-masks`.')


def _check_type(key: str, name: object, registry: Any) -> None:
    names = sorted(registry.keys())
    if name not in names and f'{name}_basicsr' not in names:
        raise SAPDError(f"{key}: found '{name}', expected a registered name.{nearest(name, names)}")


def check_loss(key: str, block: Mapping[str, Any]) -> None:
    """Refuse a loss block that LOSS_REGISTRY has no type for, or that holds a key nobody would read.

    Args:
        key: of the block, for messages.
        block: ``type`` and the loss's own arguments.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    _check_type(f'{key}.type', block.get('type'), LOSS_REGISTRY)
    parameters = inspect.signature(LOSS_REGISTRY.get(block['type'])).parameters
    if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        check_keys(key, (k for k in block if k != 'type'), parameters)


def _refuse_misspelt(where: str, found: Mapping[str, Any], ours: tuple[str, ...]) -> None:
    """BasicSR ignores keys that it does not know; one that is nearly ours is a typing error."""
    for key in found:
        near = difflib.get_close_matches(str(key), ours, n=1, cutoff=0.8)
        if near and key not in ours and not _read_by_basicsr(str(key)):
            raise SAPDError(f"{where}{key}: unknown key. Did you mean '{where}{near[0]}'?")


def _read_by_basicsr(key: str) -> bool:
    return key in ('model_type', 'network_g', 'network_d', 'optim_g', 'optim_d')

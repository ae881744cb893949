"""Checks of a BasicSR option tree before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import yaml
from basicsr.models.base_model import BaseModel
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, MODEL_REGISTRY, Registry

from sapd_plugin.basicsr.following import base_dataset_class
from sapd_plugin.basicsr.metrics import check_metrics
from sapd_plugin.basicsr.optimizers import check_optimizer
from sapd_plugin.basicsr.option_kinds import check_kinds, require
from sapd_plugin.basicsr.schedulers import check_scheduler
from sapd_plugin.core import (
    check_block,
    check_frozen,
    check_losses,
    check_stage,
    needs_stored_masks,
    read_settings,
    refuse_base,
)
from sapd_plugin.errors import SAPDError, check_choice, misspelt
from sapd_plugin.home import expanded
from sapd_plugin.priors.training import MASK_KEYS

DATASET_KEYS = (*MASK_KEYS, 'base_dataset_type')
TRAIN_KEYS = ('spf_opt', 'spd_opt', 'sgr_opt', 'sapd_opt', 'optim_spf')
# Key of ours -> the block that it belongs to; keys of MMagic's configs -> ours.
HOMES = {**dict.fromkeys(TRAIN_KEYS, 'train'), **dict.fromkeys(DATASET_KEYS, 'datasets.train')}
HOMES |= dict.fromkeys(('network_spf', 'base_model_type'), '')
OF_MMAGIC = {f'{loss}_loss': f'{loss}_opt' for loss in ('spd', 'sgr', 'spf')}
READ_BY_BASICSR = (
    'model_type',
    'network_g',
    'network_d',
    'optim_g',
    'optim_d',
    'filename_tmpl',
)  # similar to ours in spelling

# Base models whose batches masks cannot follow; their subclasses are refused, too.
REFUSED = {
    'RealESRGANModel': 'it degrades, pools and crops the batch again on the device, so masks lose their images',
    'RealESRNetModel': 'it degrades, pools and crops the batch again on the device, so masks lose their images',
    'VideoBaseModel': 'it trains on clips, and a mask belongs to one image',
    'StyleGAN2Model': 'it generates from noise, so there is no restored image',
}


def parse_yaml(text: str) -> dict[str, Any]:
    """Parse a BasicSR YAML with BasicSR's own loader, which resolves its tags.

    Raises:
        SAPDError: not YAML, not a mapping, or a tag that does not resolve.
    """
    try:
        options = yaml.load(text, Loader=ordered_yaml()[0])
    except (yaml.YAMLError, ImportError, TypeError, ValueError, AttributeError) as error:  # the last ones: of a tag
        raise SAPDError(f'not a BasicSR YAML: {error}') from error
    if not isinstance(options, Mapping):
        raise SAPDError('found no keys, expected the options of a BasicSR training.')
    return dict(options)


def base_model_class(opt: Mapping[str, Any]) -> type:
    """Return the class that SAPDModel wraps.

    Raises:
        SAPDError: no such model in BasicSR's registry, or it cannot keep masks aligned.
    """
    name = opt.get('base_model_type', 'SRModel')
    base = find_registered(MODEL_REGISTRY, name)
    if base is None or name == 'SAPDModel':
        check_choice('base_model_type', name, sorted(set(MODEL_REGISTRY.keys()) - {'SAPDModel'}))
    refuse_base('base_model_type', base, REFUSED)
    return base


def check_options(opt: Mapping[str, Any]) -> None:
    """Refuse training options that SAPDModel would misread.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    _refuse_misspelt('', opt, ('network_spf', 'base_model_type'))
    _refuse_misplaced(opt)
    if not isinstance(opt.get('network_spf'), Mapping):
        raise SAPDError("network_spf: missing; SAPDModel needs a block with 'type: SPF' in addition to network_g.")
    if isinstance(opt.get('train'), Mapping):
        _refuse_misspelt('train.', opt['train'], TRAIN_KEYS)
    check_kinds(opt)
    train, path = opt['train'], opt['path']
    _refuse_misspelt('datasets.train.', opt['datasets']['train'], DATASET_KEYS)
    for key in ('network_g', 'network_spf'):
        check_network(key, opt[key])
    losses = {key: train.get(key) for key in ('spd_opt', 'sgr_opt', 'spf_opt')}
    check_losses('train', losses, check_loss, partial(find_registered, LOSS_REGISTRY))
    for phase, dataset in opt['datasets'].items():
        if find_registered(DATASET_REGISTRY, dataset['type']) is None:
            check_choice(f'datasets.{phase}.type', dataset['type'], sorted(DATASET_REGISTRY.keys()))
    for key in ('pixel_opt', 'perceptual_opt'):
        if train.get(key):
            check_loss(f'train.{key}', train[key])
    check_metrics(opt)
    _check_optimizers(opt)
    settings = read_settings('train.sapd_opt', train.get('sapd_opt'))
    for key, value in path.items():
        # A resumed run reads its own networks: BasicSR ignores those that it started from, which may be gone by now.
        read = key == 'resume_state' or ('pretrain_network' in key and not path.get('resume_state'))
        if read and value and not expanded(value).is_file():
            raise SAPDError(f'path.{key}: no file {value}, expected a checkpoint.')
    pretrained = path.get('pretrain_network_g')
    check_stage(settings.stage, 'train.sapd_opt.stage', 'path.pretrain_network_g', pretrained)
    check_frozen(settings, 'train.sapd_opt', 'path.pretrain_network_spf', path.get('pretrain_network_spf'))
    devices = opt.get('num_gpu')
    if not opt.get('dist') and isinstance(devices, int) and devices > 1:
        raise SAPDError(
            f'num_gpu: found {devices} without a launcher, for which BasicSR takes DataParallel, and that is neither '
            'supported nor fast. Start one process per GPU: torchrun --nproc_per_node, and --launcher pytorch.'
        )
    if 'optim_g' not in train and 'optim_spf' not in train:
        raise SAPDError("train.optim_spf: missing, and there is no optim_g to take SPF's optimizer from.")
    scale = opt.get('scale', 1)
    if scale != 1 and 'network' not in opt['network_spf']:
        raise SAPDError(
            f'network_spf.network: missing. With scale {scale} the second network works at the output size, so '
            'network_g cannot be used again: name a network with scale 1.'
        )
    dataset = opt['datasets']['train']
    if not dataset.get('base_dataset_type'):
        require('', opt, ('scale',))
        require('datasets.train', dataset, ('gt_size', 'use_hflip', 'use_rot'))
        if dataset['gt_size'] % scale:
            raise SAPDError(
                f'datasets.train.gt_size: found {dataset["gt_size"]}, expected a multiple of scale ({scale}).'
            )
    needs_store = needs_stored_masks(settings.online)
    if dataset.get('type') == 'PairedImageDataset' and needs_store:
        raise SAPDError(
            "datasets.train.type: 'PairedImageDataset' loads no masks, expected 'PairedImageMaskDataset' and a "
            "'mask_store'."
        )
    if dataset.get('base_dataset_type') is not None:
        if dataset['type'] != 'PairedImageMaskDataset':
            raise SAPDError(
                f"datasets.train.base_dataset_type: read by 'PairedImageMaskDataset' alone, found with type "
                f"'{dataset['type']}'."
            )
        base_dataset_class(dataset['base_dataset_type'])
    if dataset.get('type') == 'GaussianNoiseDataset' and needs_store and not dataset.get('mask_store'):
        raise SAPDError('datasets.train.mask_store: missing, expected a folder made by `sapd extract-masks`.')
    if opt['network_spf'].get('context') == 'image' and not dataset.get('mask_context'):
        raise SAPDError(
            'datasets.train.mask_context: missing, expected true: network_spf.context is image, which reads the '
            'statistics of whole photos.'
        )


def _check_optimizers(opt: Mapping[str, Any]) -> None:
    """Refuse optimizers and a scheduler that cannot be built, unless the base model has a way of its own."""
    base, train = base_model_class(opt), opt['train']
    if base.get_optimizer is BaseModel.get_optimizer:  # type: ignore[attr-defined]
        for key in ('optim_g', 'optim_spf'):
            if train.get(key):
                check_optimizer(f'train.{key}', train[key])
    if base.setup_schedulers is BaseModel.setup_schedulers:  # type: ignore[attr-defined]
        check_scheduler('train.scheduler', train['scheduler'], train['total_iter'])


def check_network(key: str, block: Any) -> None:
    """Refuse a network block that ARCH_REGISTRY has no type for, or that has a key which its type does not read.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    check_block(key, block, partial(find_registered, ARCH_REGISTRY), ARCH_REGISTRY.keys())


def check_loss(key: str, block: Any) -> None:
    """Refuse a loss block that LOSS_REGISTRY has no type for, or that has a key which its type does not read.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    check_block(key, block, partial(find_registered, LOSS_REGISTRY), LOSS_REGISTRY.keys())


def find_registered(registry: Registry, name: object) -> Any:
    """Look up a name as the registry's ``get`` does, without its output; None if it is not registered."""
    found, name = dict(iter(registry)), str(name)  # a config may hold anything here
    return found.get(name, found.get(f'{name}_basicsr'))


def _refuse_misspelt(where: str, found: Mapping[str, Any], ours: tuple[str, ...]) -> None:
    """Refuse misspelt keys of ours, which BasicSR would ignore as it ignores all unknown keys."""
    for key in found:
        if key not in READ_BY_BASICSR and (near := misspelt(key, ours)):
            raise SAPDError(f"{where}{key}: unknown key. Did you mean '{where}{near}'?")


def _refuse_misplaced(opt: Mapping[str, Any]) -> None:
    """Refuse keys of ours in a block where nothing reads them, unless the right block has them, too."""
    datasets = opt.get('datasets')
    blocks = {
        '': opt,
        'train': opt.get('train'),
        'datasets.train': isinstance(datasets, Mapping) and datasets.get('train'),
    }
    for where, block in blocks.items():
        for key in block if isinstance(block, Mapping) else ():
            name = OF_MMAGIC.get(key, key)
            home = HOMES.get(name, where)
            right = blocks[home]
            if (home, name) != (where, key) and not (isinstance(right, Mapping) and name in right):
                found, expected = (f'{place}.{each}'.lstrip('.') for place, each in ((where, key), (home, name)))
                raise SAPDError(f"{found}: nothing reads this key here. Did you mean '{expected}'?")

"""Checks of a BasicSR option tree before anything is built from it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from importlib.util import find_spec
from typing import Any

import yaml
from basicsr.models.base_model import BaseModel
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY

from sapd_plugin.basicsr.base_models import (
    base_model_class,
    check_base_keys,
    check_model_type,
    find_registered,
    from_basicsr,
)
from sapd_plugin.basicsr.dataset_options import check_datasets
from sapd_plugin.basicsr.metrics import check_metrics
from sapd_plugin.basicsr.misplaced import refuse_misplaced, refuse_misspelt
from sapd_plugin.basicsr.optimizers import check_optimizer
from sapd_plugin.basicsr.option_kinds import check_kinds
from sapd_plugin.basicsr.schedulers import check_scheduler
from sapd_plugin.core import check_block, check_frozen, check_losses, check_stage, needs_stored_masks, read_settings
from sapd_plugin.errors import SAPDError
from sapd_plugin.home import expanded

# Losses of BasicSR's own base models.
LOSS_KEYS = ('pixel_opt', 'perceptual_opt', 'gan_opt', 'ldl_opt', 'feature_matching_opt')


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


def check_options(opt: Mapping[str, Any]) -> None:
    """Refuse training options that SAPDModel would misread.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    check_model_type(opt)
    base = base_model_class(opt)
    known = _known_blocks(base, opt)
    refuse_misspelt(opt, known)
    refuse_misplaced(opt, known)
    if not isinstance(opt.get('network_spf'), Mapping):
        raise SAPDError("network_spf: missing; SAPDModel needs a block with 'type: SPF' in addition to network_g.")
    check_kinds(opt)
    train, path = opt['train'], opt['path']
    check_base_keys(base, opt)
    for key in ('network_g', 'network_spf', 'network_d'):
        if key in opt:
            check_network(key, opt[key])
    losses = {key: train.get(key) for key in ('spd_opt', 'sgr_opt', 'spf_opt')}
    check_losses('train', losses, check_loss, partial(find_registered, LOSS_REGISTRY))
    for key in LOSS_KEYS:
        if train.get(key):
            check_loss(f'train.{key}', train[key])
    check_metrics(opt)
    _check_optimizers(base, opt)
    _check_loggers(opt)
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
    check_datasets(opt, needs_stored_masks(settings.online))


def _known_blocks(base: type, opt: Mapping[str, Any]) -> list[str]:
    """Return the blocks whose readers are BasicSR's or ours, so that other keys are not read there."""
    blocks = ['', 'train', 'val', 'logger', 'path'] if from_basicsr(base) else []
    datasets = opt.get('datasets')
    for phase, dataset in datasets.items() if isinstance(datasets, Mapping) else ():
        if isinstance(dataset, Mapping) and not dataset.get('base_dataset_type'):
            kind = find_registered(DATASET_REGISTRY, dataset.get('type'))
            blocks += [f'datasets.{phase}'] if kind is not None and from_basicsr(kind) else []
    return blocks


def _check_loggers(opt: Mapping[str, Any]) -> None:
    """Refuse loggers that BasicSR cannot start; it starts none if the name holds 'debug'. Raises SAPDError."""
    logger = opt['logger']
    if 'debug' in opt['name']:
        return
    project = (logger.get('wandb') or {}).get('project')
    if project is not None and not logger['use_tb_logger']:
        raise SAPDError(
            "logger.use_tb_logger: found false, expected true: BasicSR's wandb shows what tensorboard logs, and "
            f'logger.wandb.project is {project}. Set that to ~ to use neither.'
        )
    for name, used in (('tensorboard', logger['use_tb_logger']), ('wandb', project is not None)):
        if used and find_spec(name) is None:
            key = 'use_tb_logger' if name == 'tensorboard' else 'wandb.project'
            raise SAPDError(f'logger.{key}: needs {name}, which is not installed here: pip install {name}.')


def _check_optimizers(base: type, opt: Mapping[str, Any]) -> None:
    """Refuse optimizers and a scheduler that cannot be built, unless the base model has a way of its own."""
    train = opt['train']
    if base.get_optimizer is BaseModel.get_optimizer:  # type: ignore[attr-defined]
        for key in ('optim_g', 'optim_d', 'optim_spf'):
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

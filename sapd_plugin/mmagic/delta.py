"""The SAPD delta, as an MMagic config based on the user's own."""

from __future__ import annotations

import inspect
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmagic.datasets import BasicImageDataset
from mmagic.models.base_models import BaseEditModel
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from sapd_plugin.core.delta import LOSSES, branch_block
from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.options import base_model_class, find_type
from sapd_plugin.mmagic.pure_python import pure_python

PLUGIN = 'sapd_plugin.mmagic'
_UPSCALING = ('upscale_factor', 'upscale', 'scale')
# At the output size, every layer costs scale^2 times as much, so super-resolution gets a small second network.
SMALL_NETWORK = {
    'type': 'EDSRNet',
    'in_channels': 3,
    'out_channels': 3,
    'mid_channels': 32,
    'num_blocks': 8,
    'upscale_factor': 1,
}


def read_config(config: str) -> Config:
    """Read an MMagic config, a file or one that a package ships (``mmagic::nafnet/...``), and run its imports.

    Raises:
        SAPDError: it cannot be read.
    """
    try:
        if '::' in config:
            from mmengine.hub import get_config

            return get_config(config)
        found = Config.fromfile(config)
        if found.get('custom_imports'):  # those of a config in pure Python are not imported by MMEngine
            import_modules_from_strings(**found.custom_imports)
        return found
    except Exception as error:  # a config is code
        reason = ' '.join(str(error).split())[:1000]
        raise SAPDError(f'{config}: cannot be read: {type(error).__name__}: {reason}') from error


def is_sapd(config: Mapping[str, Any]) -> bool:
    """Return whether a config trains with SAM priors."""
    model = config.get('model')
    return isinstance(model, Mapping) and is_sapd_model(model)


def is_sapd_model(model: Mapping[str, Any]) -> bool:
    """Return whether a model's config is that of SAPDModel, by its name, or imported by a config in pure Python."""
    kind = model.get('type')
    return kind is not None and (kind == 'SAPDModel' or find_type(kind) is MODELS.get('SAPDModel'))


def inner_datasets(dataset: Mapping[str, Any], where: str = 'dataset') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the config key and the config of each data set below MMEngine's wrappers (RepeatDataset, ConcatDataset)."""
    if isinstance(dataset.get('dataset'), Mapping):
        yield from inner_datasets(dataset['dataset'], f'{where}.dataset')
    elif isinstance(dataset.get('datasets'), Sequence):
        for number, each in enumerate(dataset['datasets']):
            yield from inner_datasets(each, f'{where}.datasets[{number}]')
    else:
        yield where, dataset


def stock_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config of the stock model from that of a SAPD model."""
    parameters = inspect.signature(MODELS.get('SAPDModel')).parameters.values()
    ours = [p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD]
    return {'type': model.get('base_model_type', 'BaseEditModel')} | {
        key: value for key, value in model.items() if key not in ('type', *ours)
    }


def plain(node: Any) -> Any:
    """Return a part of a config as dicts, lists and tuples; the classes of a config in pure Python stay."""
    if isinstance(node, Mapping):
        return {key: plain(value) for key, value in node.items()}
    return type(node)(plain(value) for value in node) if isinstance(node, (list, tuple)) else node


def training_images(config: Config) -> tuple[str, str | None]:
    """Return the folders of ground truth and degraded images; None if training degrades the former itself."""
    _, dataset = next(inner_datasets(config.train_dataloader.dataset), ('', {}))
    prefixes, root = dataset.get('data_prefix') or {}, dataset.get('data_root') or ''
    target, degraded = (posixpath.join(root, prefixes.get(key) or '') for key in ('gt', 'img'))
    return target, degraded if degraded != target else None


def delta_of(
    config: Config,
    base: str,
    masks: str,
    losses: Sequence[str] = tuple(LOSSES),
    spf: Mapping[str, Any] | None = None,
    base_model: str = '',
    name: str = '',
) -> str:
    """Return the text of a config that adds SAM priors to another.

    Args:
        config: the stock config.
        base: path of the stock config, relative to the new file.
        masks: the mask store.
        losses: 'spd', 'sgr' or both.
        spf: keys of ``network_spf``; dotted ones belong to its ``network``.
        base_model: the model to wrap; by default the one of the config.
        name: the experiment's new name, and that of its working folder; by default the config's with ``_sapd``.

    Raises:
        SAPDError: the config is not one of a stock training, or its model cannot be wrapped.
    """
    if is_sapd(config):
        raise SAPDError('model.type: trains with SAM priors already, expected the config of a stock training.')
    missing = [key for key in ('model', 'train_dataloader') if not config.get(key)]
    if missing:
        raise SAPDError(f'{", ".join(missing)}: missing, expected the config of an MMagic training.')
    if not isinstance(config.model.type, str) and not base.endswith('.py'):
        raise SAPDError(f'{base}: is a config in pure Python, expected its file.')
    named = base_model or config.model.type
    model: dict[str, Any] = {'type': 'SAPDModel'}
    if base_model_class(named) is not BaseEditModel:
        model['base_model_type'] = named
    model['network_spf'] = branch_block(_second_network(config.model.get('generator', {})), spf or {})
    model.update({f'{name}_loss': LOSSES[name] for name in losses})

    imports = dict(config.get('custom_imports') or {})
    modules = imports.get('imports') or []
    modules = [modules] if isinstance(modules, str) else list(modules)
    imports['imports'] = [*modules, *([] if PLUGIN in modules else [PLUGIN])]
    blocks: dict[str, Any] = {'custom_imports': imports}
    if config.get('experiment_name'):
        blocks['experiment_name'] = name or f'{config.experiment_name}_sapd'
    if config.get('work_dir'):
        parent, stock = posixpath.split(config.work_dir.rstrip('/'))
        blocks['work_dir'] = posixpath.join(parent, name or f'{stock}_sapd')
    blocks['model'] = model
    context = {'mask_context': True} if (spf or {}).get('context') == 'image' else {}
    blocks['train_dataloader'] = {'dataset': _masked(config.train_dataloader.dataset, {'mask_store': masks, **context})}
    blocks['default_hooks'] = {'sapd': {'type': 'SAPDHook'}}
    if not isinstance(config.model.type, str):
        return pure_python(blocks, base, hooks='default_hooks' in config)
    lines = [f'{key} = {_source(value)}' for key, value in blocks.items() if key != 'model']
    keys = [f'    {key}={_source(value)},' for key, value in model.items()]
    return '\n'.join([f"_base_ = '{base}'", *lines, '', 'model = dict(', *keys, ')', ''])


def _source(value: Any) -> str:
    """Write a value as MMagic's configs do."""
    if isinstance(value, Mapping):
        return f'dict({", ".join(f"{key}={_source(item)}" for key, item in value.items())})'
    if isinstance(value, list):
        return f'[{", ".join(map(_source, value))}]'
    return repr(value)


def _masked(dataset: Mapping[str, Any], masks: Mapping[str, Any]) -> dict[str, Any]:
    """Add masks to a dataset config, below MMEngine's wrappers such as RepeatDataset."""
    if isinstance(dataset.get('dataset'), Mapping):
        return {'dataset': _masked(dataset['dataset'], masks)}
    if isinstance(dataset.get('datasets'), Sequence):
        # A list takes the place of the list of the base, so each of its data sets is complete.
        return {'datasets': [_merged(plain(each), _masked(each, masks)) for each in dataset['datasets']]}
    block: dict[str, Any] = {'type': 'PairedImageMaskDataset', **masks}
    if dataset['type'] not in ('BasicImageDataset', BasicImageDataset):
        block['base_dataset_type'] = dataset['type']
    return block


def _merged(block: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Merge changes into a config block, as MMEngine does with a base."""
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(block.get(key), Mapping)
        block[key] = _merged(block[key], value) if both else value
    return block


def _second_network(generator: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a second network at scale 1 for a generator that upscales; None if a copy of it works."""
    network = find_type(generator.get('type'))
    if network is None or generator.get('upsampler') == '':
        return None
    parameters = inspect.signature(network).parameters
    key = next((key for key in _UPSCALING if key in parameters), None)
    if key is None or generator.get(key, parameters[key].default) in (None, 1):
        return None
    kind = getattr(network, '__name__', '')
    if kind == 'SwinIRNet' and 'upsampler' not in generator:
        return None  # its default does not upscale
    if kind != 'EDSRNet':
        return dict(SMALL_NETWORK)
    return {**{name: value for name, value in generator.items() if name != '_scope_'}, key: 1}

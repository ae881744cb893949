"""The SAPD delta, written into a user's own BasicSR YAML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import yaml

from sapd_plugin.basicsr.base_models import base_model_class
from sapd_plugin.basicsr.following import base_dataset_class
from sapd_plugin.basicsr.misplaced import TRAIN_KEYS
from sapd_plugin.basicsr.options import parse_yaml
from sapd_plugin.basicsr.yaml_text import YamlText
from sapd_plugin.core.delta import LOSSES, branch_block
from sapd_plugin.errors import SAPDError

# Dataset type -> the type that also loads masks.
MASKED_DATASETS = {
    'PairedImageDataset': 'PairedImageMaskDataset',
    'PairedImageMaskDataset': 'PairedImageMaskDataset',
    'GaussianNoiseDataset': 'GaussianNoiseDataset',
}
# At the output size, every layer costs scale^2 times as much, so super-resolution gets a small second network.
COLOUR_NETWORK = {
    'type': 'EDSR',
    'num_in_ch': 3,
    'num_out_ch': 3,
    'num_feat': 32,
    'num_block': 8,
    'upscale': 1,
    'img_range': 255.0,
    'rgb_mean': [0.4488, 0.4371, 0.4040],
}
GRAY_NETWORK = {
    'type': 'NAFNet',
    'img_channel': 1,
    'width': 16,
    'enc_blk_nums': [1, 1],
    'middle_blk_num': 1,
    'dec_blk_nums': [1, 1],
}


def is_sapd(options: Mapping[str, Any]) -> bool:
    """Return whether options train with SAM priors."""
    return options.get('model_type') == 'SAPDModel' or 'network_spf' in options


def stock_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the stock training that SAPD options were made from; its dataset still loads masks."""
    stock = {key: value for key, value in options.items() if key not in ('network_spf', 'base_model_type')}
    stock['model_type'] = options.get('base_model_type', 'SRModel')
    stock['train'] = {key: value for key, value in options['train'].items() if key not in TRAIN_KEYS}
    return stock


def training_images(options: Mapping[str, Any]) -> tuple[str, str | None]:
    """Return the folders of ground truth and degraded images; None if training degrades the former itself."""
    dataset = options['datasets']['train']
    return dataset['dataroot_gt'], dataset.get('dataroot_lq')


def add_delta(
    text: str,
    masks: str,
    losses: Sequence[str] = tuple(LOSSES),
    spf: Mapping[str, Any] | None = None,
    base: str = '',
    name: str = '',
) -> str:
    """Return a BasicSR YAML with the SAPD delta written into it; everything else is kept.

    Args:
        text: the YAML of a stock training.
        masks: the mask store.
        losses: 'spd', 'sgr' or both.
        spf: keys of ``network_spf``; dotted ones belong to its ``network``.
        base: the model to wrap; by default the one of the YAML.
        name: the experiment's new name; by default the YAML's with ``_sapd``.

    Raises:
        SAPDError: the YAML is not one of a stock training, or its model or dataset cannot take masks.
    """
    options, document = parse_yaml(text), YamlText(text)
    if is_sapd(options):
        raise SAPDError('model_type: trains with SAM priors already, expected the config of a stock training.')
    dataset = (options.get('datasets') or {}).get('train') or {}
    for key, value in (
        ('model_type', options.get('model_type')),
        ('network_g', options.get('network_g')),
        ('datasets.train', dataset),
        ('train', options.get('train')),
    ):
        if not value:
            raise SAPDError(f'{key}: missing, expected the config of a BasicSR training.')
    base = base or options['model_type']
    base_model_class({'base_model_type': base})
    kind = dataset.get('type')
    masked = MASKED_DATASETS.get(str(kind), 'PairedImageMaskDataset')
    own = kind not in MASKED_DATASETS
    if own:
        base_dataset_class(kind)

    document.replace(('model_type',), '!!python/object/apply:sapd_plugin.use [SAPDModel]')
    if base != 'SRModel':
        document.insert(('model_type',), {'base_model_type': base})
    if options.get('name'):
        document.replace(('name',), yaml.safe_dump(name or f'{options["name"]}_sapd').splitlines()[0])
    train = ('datasets', 'train')
    if masked != kind:
        document.replace((*train, 'type'), masked)
    if own:
        document.insert((*train, 'type'), {'base_dataset_type': kind})
    if 'mask_store' in dataset:
        document.replace((*train, 'mask_store'), yaml.safe_dump(masks).splitlines()[0])
    else:
        document.insert((*train, 'type'), {'mask_store': masks})
    if (spf or {}).get('context') == 'image':
        document.insert((*train, 'type'), {'mask_context': True})

    network = None
    if options.get('scale', 1) != 1:
        network = deepcopy(GRAY_NETWORK if dataset.get('color') in ('y', 'gray', 'grey') else COLOUR_NETWORK)
    document.insert(('network_g',), {'network_spf': branch_block(network, spf or {})}, blank_line=True)
    # Next to the existing losses.
    keys = document.keys('train')
    last = next((key for key in reversed(keys) if key.endswith('_opt')), keys[-1])
    document.insert(('train', last), {f'{name}_opt': LOSSES[name] for name in losses})
    return document.render()

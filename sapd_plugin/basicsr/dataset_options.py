"""Checks of the blocks of data sets before anything is built from them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.utils.registry import DATASET_REGISTRY

from sapd_plugin.basicsr.base_models import find_registered
from sapd_plugin.basicsr.following import base_dataset_class
from sapd_plugin.basicsr.option_kinds import require
from sapd_plugin.errors import SAPDError, check_choice, describe
from sapd_plugin.home import expanded
from sapd_plugin.metrics import canonical_color

# Types that read images from folders; a user's own may read its images from a file.
OF_FOLDERS = ('PairedImageDataset', 'PairedImageMaskDataset', 'GaussianNoiseDataset', 'SingleImageDataset')


def check_datasets(opt: Mapping[str, Any], needs_store: bool) -> None:
    """Refuse blocks of data sets that a training with SAM priors cannot read.

    Args:
        opt: BasicSR's options, whose kinds have been checked.
        needs_store: whether masks come from a store.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    for phase, dataset in opt['datasets'].items():
        if find_registered(DATASET_REGISTRY, dataset['type']) is None:
            check_choice(f'datasets.{phase}.type', dataset['type'], sorted(DATASET_REGISTRY.keys()))
        _check_normalization(f'datasets.{phase}', dataset)
        if dataset.get('persistent_workers') and not (phase == 'train' and dataset['num_worker_per_gpu']):
            raise SAPDError(
                f'datasets.{phase}.persistent_workers: found true, but this data set is loaded without workers.'
            )
    _check_colors(opt['datasets'])
    dataset, scale = opt['datasets']['train'], opt.get('scale', 1)
    if not dataset.get('base_dataset_type'):
        require('', opt, ('scale',))
        require('datasets.train', dataset, ('gt_size', 'use_hflip', 'use_rot'))
        if dataset['gt_size'] % scale:
            raise SAPDError(
                f'datasets.train.gt_size: found {dataset["gt_size"]}, expected a multiple of scale ({scale}).'
            )
    if dataset.get('prefetch_mode') == 'cuda' and dataset.get('pin_memory') is not True:
        raise SAPDError(
            f"datasets.train.pin_memory: found {dataset.get('pin_memory')}, expected true with prefetch_mode 'cuda'."
        )
    if dataset['type'] == 'PairedImageDataset' and needs_store:
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
    if dataset['type'] == 'GaussianNoiseDataset' and needs_store and not dataset.get('mask_store'):
        raise SAPDError('datasets.train.mask_store: missing, expected a folder made by `sapd extract-masks`.')
    if opt['network_spf'].get('context') == 'image' and not dataset.get('mask_context'):
        raise SAPDError(
            'datasets.train.mask_context: missing, expected true: network_spf.context is image, which reads the '
            'statistics of whole photos.'
        )


def check_places(opt: Mapping[str, Any]) -> None:
    """Refuse data sets whose folders or files are not there. Raises SAPDError, which names the key."""
    for phase, dataset in opt['datasets'].items():
        folders = dataset.get('type') in OF_FOLDERS and not dataset.get('base_dataset_type')
        for key in ('dataroot_gt', 'dataroot_lq', 'meta_info_file'):
            place, where = dataset.get(key), f'datasets.{phase}.{key}'
            if not place or '://' in str(place):
                continue
            if not expanded(place).exists():
                raise SAPDError(f'{where}: found no {"file" if key == "meta_info_file" else "folder"} {place}.')
            if key == 'meta_info_file' and not expanded(place).is_file():  # a named pipe is waited for
                raise SAPDError(f'{where}: {place} is not a regular file, expected a list of images.')
            if key == 'meta_info_file':
                try:
                    expanded(place).read_text()  # in the encoding that BasicSR takes
                except (OSError, UnicodeDecodeError) as error:
                    raise SAPDError(
                        f'{where}: {place} cannot be read ({describe(error)}), expected a text file that lists images.'
                    ) from error
            if key != 'meta_info_file' and folders and not expanded(place).is_dir():
                raise SAPDError(f'{where}: {place} is a file, expected a folder of images.')


def _check_colors(datasets: Mapping[str, Any]) -> None:
    """Refuse a validation on images of another number of channels than training's. Raises SAPDError."""
    found = {
        phase: canonical_color(dataset.get('color')) in ('y', 'gray')
        for phase, dataset in datasets.items()
        if dataset['type'] in OF_FOLDERS and not dataset.get('base_dataset_type')
    }
    for phase, single in found.items():
        if single != found.get('train', single):
            raise SAPDError(
                f'datasets.{phase}.color: found {datasets[phase].get("color")!r}, and datasets.train.color is '
                f'{datasets["train"].get("color")!r}, so a network for the channels of one cannot take the other.'
            )


def _check_normalization(where: str, dataset: Mapping[str, Any]) -> None:
    """Refuse a mean without a deviation, or the reverse. Raises SAPDError, which names the key."""
    mean, std = dataset.get('mean'), dataset.get('std')
    if (mean is None) != (std is None):
        absent, there = ('mean', 'std') if mean is None else ('std', 'mean')
        raise SAPDError(f'{where}.{absent}: missing, and {there} is there: images are normalized by both.')
    channels = 1 if dataset.get('color') == 'y' else 3
    for key, numbers in (('mean', mean), ('std', std)):
        if numbers is not None and len(numbers) not in (1, channels):
            raise SAPDError(f'{where}.{key}: found {len(numbers)} numbers, expected one per channel ({channels}).')

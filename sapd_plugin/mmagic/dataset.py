"""An MMagic image dataset with the masks of a store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mmagic.datasets.transforms import LoadImageFromFile
from mmagic.registry import DATASETS
from mmengine.dataset import BaseDataset, Compose
from mmengine.dist import get_dist_info
from mmengine.logging import print_log

from sapd_plugin.errors import SAPDError, check_choice, check_keys, check_template, describe
from sapd_plugin.mmagic.reader import ImageReader
from sapd_plugin.mmagic.transforms import (
    GT,
    WHERE,
    image_channels,
    is_loader,
    least_side,
    patch_size,
    scale_of_pairs,
    with_masks,
)
from sapd_plugin.priors.masked_class import MaskedDataset, masked_class
from sapd_plugin.priors.patches import few_regions
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import template_key
from sapd_plugin.priors.training import MASK_KEYS, MASK_KINDS, Target, open_training_store
from sapd_plugin.priors.verification import ImageFile
from sapd_plugin.values import check_values

if TYPE_CHECKING:  # at run time, the mixin precedes the user's class
    from mmengine.dataset import BaseDataset as Base
else:
    Base = object


@DATASETS.register_module(name='PairedImageMaskDataset')
def build_paired_image_mask_dataset(base_dataset_type: str | type = 'BasicImageDataset', **config: Any) -> Any:
    """Build the dataset that ``base_dataset_type`` names, whose training samples also hold masks.

    Its own pipeline runs unchanged and draws the same random numbers, so a stock run and a SAPD run see the same
    patches; the mask follows each transform (:mod:`sapd_plugin.mmagic.transforms`).

    Args:
        base_dataset_type: BasicImageDataset, or any dataset whose samples have a ``key`` and a ``gt_path``.
        **config: the base dataset's own config, and
            mask_store: folder of a mask store made by ``sapd extract-masks``; needed for training.
            mask_filename_tmpl: how the store names an image whose key is '{}'; default '{}'.
            mask_fingerprint: refuse a store whose settings have a different fingerprint; optional.
            mask_check: how many images to compare with the digests of their masks, or 'all'; default 32.
            mask_shuffle: a seed; each image gets the mask of a different one. A control, not a feature.
            mask_context: true adds ``data_samples.mask_context``, (65,7) float32, for ``network_spf.context: image``;
                the labels of a patch are then 0..64 (:func:`sapd_plugin.priors.context.patch_context`).

    Raises:
        SAPDError: an unknown dataset, a misspelt key, no store, a missing, wrong-sized or corrupt mask or one of a
            different image, two images with one key, a different fingerprint, or a pipeline that masks cannot follow;
            always before the first step.
    """
    base: Any = base_dataset_type
    if not isinstance(base, type):  # a config may hold anything here, of which the registry takes names alone
        base = DATASETS.get(base) if isinstance(base, str) and base else None
    if base is None or not (isinstance(base, type) and issubclass(base, BaseDataset)):
        names = sorted(k for k, v in DATASETS.module_dict.items() if isinstance(v, type) and issubclass(v, BaseDataset))
        check_choice(f'{WHERE}.base_dataset_type', base_dataset_type, names)
    check_keys(WHERE, (key for key in config if key.startswith('mask')), MASK_KEYS)
    masks = {key: config.pop(key, None) for key in MASK_KEYS}
    check_values(WHERE, masks, MASK_KINDS)
    templates = config.get('filename_tmpl')
    for key, template in templates.items() if isinstance(templates, dict) else ():
        if key != '_scope_':  # in every block of a config whose base is one of MMagic's
            check_template(f'{WHERE}.filename_tmpl.{key}', template)
    return masked_class(MaskMixin, base)(masks, **config)


class MaskMixin(MaskedDataset, Base):
    """Masks for a dataset class. It precedes the base class, which lists the images."""

    pipeline: Any

    def __init__(self, masks: dict[str, Any], **config: Any) -> None:
        try:
            super().__init__(**config)
        except SAPDError:
            raise
        except Exception as error:  # of a class or transform that a user wrote: any
            name = self.base_class.__name__
            raise SAPDError(f'{WHERE}: {name} cannot be built from these arguments ({describe(error)}).') from error
        self.mask_store: MaskStore | ShuffledMasks | None = None
        self.mask_context = bool(masks['mask_context'])
        self.mask_note = self.mask_warning = ''
        if self.test_mode:
            return
        template = masks['mask_filename_tmpl'] or '{}'
        targets = list(self._targets(template))
        self.mask_store, self.mask_note = open_training_store(WHERE, masks, targets, *get_dist_info())
        print_log(f'{WHERE}: {self.mask_note}', 'current')
        self.image_channels = image_channels(self.pipeline.transforms) or self._channels_of_files()
        self._refuse_small(targets)
        self._refuse_unlike(targets)
        keys, size = [target.key for target in targets], patch_size(self.pipeline.transforms)
        self.mask_warning = few_regions(f'{WHERE}.pipeline', self.mask_store, keys, size)
        if self.mask_warning:
            print_log(self.mask_warning, 'current', logging.WARNING)
        self.pipeline = Compose(with_masks(self.pipeline.transforms, self.mask_store, template, self.mask_context))

    def _refuse_small(self, targets: Sequence[Target]) -> None:
        """Refuse an image that is smaller than the crop, before a worker meets it. Raises SAPDError, which names it."""
        side, masks, (rank, ranks) = least_side(self.pipeline.transforms), self.mask_store, get_dist_info()
        store = masks.store if isinstance(masks, ShuffledMasks) else masks
        if side is None or store is None:
            return
        for target in targets[rank::ranks]:
            height, width = store.size(target.key)
            if min(height, width) < side:
                raise SAPDError(
                    f'{WHERE}.pipeline: PairedRandomCrop.gt_patch_size is {side}, but {target.name} is '
                    f'{height}x{width} (height x width). Remove smaller images, or lower it to {min(height, width)} at '
                    'most.'
                )

    def _refuse_unlike(self, targets: Sequence[Target]) -> None:
        """Refuse a degraded image that cannot be read, or has not the size of its ground truth, as a worker would.

        Raises:
            SAPDError: naming it.
        """
        loader, scale = self._loaders().get('img'), scale_of_pairs(self.pipeline.transforms)
        masks, (rank, ranks) = self.mask_store, get_dist_info()
        store = masks.store if isinstance(masks, ShuffledMasks) else masks
        if type(loader) is not LoadImageFromFile or store is None:  # one of the user's own may read what it likes
            return
        reader = ImageReader(f'{WHERE}.pipeline', loader)
        for index in range(rank, len(targets), ranks):
            path, truth = self.get_data_info(index).get('img_path'), store.size(targets[index].key)
            size = reader.size_as_read(path) if isinstance(path, str) else None
            if size is not None and isinstance(scale, int) and (size[0] * scale, size[1] * scale) != truth:
                raise SAPDError(
                    f'{WHERE}.pipeline: {path} is {size[0]}x{size[1]} and its ground truth {truth[0]}x{truth[1]} '
                    f'(height x width), expected {scale} times its size (SetValues, scale).'
                )

    def _channels_of_files(self) -> int | None:
        """Return the number of channels of the images, where the loaders keep that of the files; None if not known.

        Raises:
            SAPDError: naming two images that differ in it.
        """
        found: dict[int, str] = {}
        rank, ranks = get_dist_info()
        for key, loader in self._loaders().items():
            reader = ImageReader(f'{WHERE}.pipeline', loader)
            for index in range(rank, len(self), ranks) if type(loader) is LoadImageFromFile else ():
                path = self.get_data_info(index).get(f'{key}_path')
                channels = reader.channels(path) if isinstance(path, str) else None
                if channels is not None:
                    found.setdefault(channels, path)
        if len(found) > 1:
            listed = ' and '.join(f'{channels} of {path}' for channels, path in found.items())
            raise SAPDError(
                f"{WHERE}.pipeline: LoadImageFromFile with color_type 'unchanged' gives the channels of the files, "
                f"{listed}. Expected 'color' or 'grayscale', or images of one kind."
            )
        return next(iter(found), None)

    def _loaders(self) -> dict[str, Any]:
        """Return the first transform that loads each key."""
        loaders: dict[str, Any] = {}
        for transform in self.pipeline.transforms:
            if is_loader(transform):
                loaders.setdefault(transform.key, transform)
        return loaders

    def _targets(self, template: str) -> Iterator[Target]:
        """Yield each ground truth; its size comes from its header, read where the pipeline loads the images."""
        loaders = self._loaders()
        gt, degraded = (ImageReader(f'{WHERE}.pipeline', loaders.get(key)) for key in (GT, 'img'))
        for index in range(len(self)):
            info = self.get_data_info(index)
            path, other = info['gt_path'], info.get('img_path')
            files = [gt.file(path)]
            if isinstance(other, str) and 'img' in loaders and (other, degraded.place) != (path, gt.place):
                files.append(ImageFile(other, partial(degraded.content, other)))
            yield Target(template_key(info['key'], template), path, partial(gt.size, path), files)

"""Masks for a user's own paired data set (``base_dataset_type``), which crops and flips as it likes."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.utils import imfrombytes
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import Dataset

from sapd_plugin.basicsr.dataset import WHERE, PairedImageMaskDataset, StoredMasks, check_databases, named_dataset
from sapd_plugin.basicsr.motion import Motion, is_recording, pixels, recorded, shows
from sapd_plugin.basicsr.pairs import named_pair
from sapd_plugin.errors import SAPDError, check_choice, describe
from sapd_plugin.priors.masked_class import MaskedDataset, masked_class
from sapd_plugin.priors.training import check_size

if TYPE_CHECKING:  # at run time, the mixin precedes the user's class
    from basicsr.data.paired_image_dataset import PairedImageDataset as Base
else:
    Base = object

KEY = f'{WHERE}.base_dataset_type'
UNPAIRED = (
    'FFHQDataset',
    'REDSDataset',
    'REDSRecurrentDataset',
    'RealESRGANDataset',
    'SingleImageDataset',
    'VideoRecurrentTestDataset',
    'VideoTestDUFDataset',
    'VideoTestDataset',
    'VideoTestVimeo90KDataset',
    'Vimeo90KDataset',
    'Vimeo90KRecurrentDataset',
)
PROBES, SEEDS = 8, 3  # images, and samples of each, that are compared before the first step


def base_dataset_class(name: object) -> type:
    """Return the data set class that ``base_dataset_type`` names.

    Raises:
        SAPDError: no such data set in BasicSR's registry, or one that loads masks itself.
    """
    classes = {key: kind for key, kind in iter(DATASET_REGISTRY) if isinstance(kind, type) and not _has_masks(kind)}
    kind = name if isinstance(name, type) else classes.get(str(name), classes.get(f'{name}_basicsr'))
    if kind is None or not issubclass(kind, Dataset) or _has_masks(kind):
        check_choice(KEY, name if isinstance(name, str) else repr(name), sorted(classes))
    assert isinstance(kind, type)
    if kind.__name__ in UNPAIRED:
        raise SAPDError(f"{KEY}: '{name}' gives no pairs of single images, so it loads no masks.")
    return kind


def build_paired_image_mask_dataset(opt: dict[str, Any]) -> Any:
    """Build the data set that ``base_dataset_type`` names, whose training samples also hold masks.

    Its own ``__getitem__`` runs unchanged and draws the same random numbers. The mask follows what BasicSR's
    ``paired_random_crop`` and ``augment`` do inside of it, from wherever they are called. Samples are compared with the
    image and with what was noted, so a data set that moves pixels in a way of its own is refused.

    Args:
        opt: the options of :class:`~sapd_plugin.basicsr.dataset.PairedImageMaskDataset`, and
            base_dataset_type: PairedImageDataset (default), or any registered data set with ``paths``, a list of
                mappings with a ``gt_path``, whose samples have ``gt`` and ``gt_path``.

    Raises:
        SAPDError: an unknown data set, one that masks cannot follow, or as PairedImageMaskDataset.
    """
    base = base_dataset_class(opt.get('base_dataset_type') or 'PairedImageDataset')
    if base is PairedImageDataset:
        return PairedImageMaskDataset(opt)
    if opt['phase'] != 'train':
        return base(opt)
    return masked_class(FollowingMixin, base)(opt)


class FollowingMixin(MaskedDataset, StoredMasks, Base):
    """Masks for a data set class. It precedes the base class, which reads, crops and flips."""

    def __init__(self, opt: dict[str, Any]) -> None:
        backend = dict(opt.get('io_backend') or {'type': 'disk'})
        check_databases(opt)
        with named_dataset(opt, self.base_class.__name__):
            super().__init__(opt)
        name, paths = self.base_class.__name__, getattr(self, 'paths', None)
        self.opt = opt
        self.gt_folder = str(getattr(self, 'gt_folder', opt.get('dataroot_gt')))
        self.lq_folder = str(getattr(self, 'lq_folder', opt.get('dataroot_lq') or self.gt_folder))
        if (
            not isinstance(paths, list)
            or not paths
            or not all(isinstance(p, Mapping) and 'gt_path' in p for p in paths)
        ):
            raise SAPDError(
                f"{KEY}: {name} has no list 'paths' of mappings with 'gt_path', as PairedImageDataset has, so the "
                'masks of its images cannot be looked up.'
            )
        self.from_lmdb, self.backend = backend['type'] == 'lmdb', backend['type']
        self.prepare_masks(opt, optional=False)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return the base's sample with 'mask' (1,H,W) int32, and perhaps 'mask_context'."""
        if is_recording():  # the base takes another index, as for an image that it cannot read
            another: dict[str, Any] = super().__getitem__(index)
            return another
        with named_pair(WHERE, self.paths[index % len(self.paths)]), recorded() as motion:
            sample: dict[str, Any] = super().__getitem__(index)
        assert self.store is not None
        record, path = self.store.record(self._key(sample['gt_path'])), sample['gt_path']
        known = motion.reference is None or shows(pixels(sample['gt']), motion.reference)
        if (
            not known
            or not motion.fits(record.shape[:2])
            or not self._begins_with_the_image(path, sample['gt'], motion)
        ):
            raise self._refusal(path)
        mask = motion.follow(record)
        height, width = sample['gt'].shape[-2:]
        check_size(WHERE, path, (mask.shape[0], mask.shape[1]), (height, width))
        return {**sample, **self.masks(record, mask)}

    def check_alignment(self) -> None:
        """Refuse a base whose samples are not what the noted crops and flips make of their images.

        Random streams stay as they are, and so does this data set, because a copy is read: what it opens must not be
        open when worker processes fork.

        Raises:
            SAPDError: naming the base and an image.
        """
        with _same_random_streams():
            samples = list(self._samples())
        # Only now, because a database of images must not be open twice.
        for path, image, motion in samples:
            if not self._is_made_of(path, image, motion, unknown=True):
                raise self._refusal(path)

    def _begins_with_the_image(self, path: str, image: torch.Tensor, motion: Motion) -> bool:
        """Return whether the noted steps begin with the image as it is; only for restarted ones, the file is read."""
        return not motion.restarted or (not self.from_lmdb and self._is_made_of(path, image, motion, unknown=False))

    def _is_made_of(self, path: str, image: torch.Tensor, motion: Motion, unknown: bool) -> bool:
        """Return whether a sample is what the noted steps make of an image file; ``unknown`` if it cannot be read."""
        files = self._files({'gt_path': path, 'lq_path': path})
        if not files:
            return unknown
        whole = imfrombytes(files[0].load(), float32=True)
        return motion.fits((whole.shape[0], whole.shape[1])) and shows(pixels(image), motion.follow(whole))

    def _samples(self) -> Iterator[tuple[str, torch.Tensor, Motion]]:
        """Yield path, ground truth and motion of some samples of a copy."""
        name, trial = self.base_class.__name__, self
        with suppress(Exception):  # of what the base has opened
            trial = copy.deepcopy(self)
        for index in sorted([*{i * len(trial) // PROBES for i in range(PROBES)}] * SEEDS):
            try:
                with recorded() as motion:
                    sample = super(FollowingMixin, trial).__getitem__(index)
            except Exception as error:  # of a class that a user wrote: any
                raise SAPDError(f'{KEY}: {name} cannot load the image number {index} ({describe(error)}).') from error
            for key, kind in (('gt', torch.Tensor), ('gt_path', str)):
                if not isinstance(sample, Mapping) or not isinstance(sample.get(key), kind):
                    raise SAPDError(
                        f"{KEY}: {name} gives samples without '{key}', expected those of a paired data set."
                    )
            if 'mask' in sample:
                raise SAPDError(
                    f"{KEY}: {name} gives samples with a 'mask' of their own. Name it as datasets.train.type."
                )
            yield sample['gt_path'], sample['gt'], motion

    def _refusal(self, path: str) -> SAPDError:
        return SAPDError(
            f'{KEY}: masks cannot follow {self.base_class.__name__}: a sample of {path} is not what paired_random_crop '
            'and augment of basicsr.data.transforms made of the image. Move pixels with these two functions alone, or '
            "name a data set that returns 'mask' (1,H,W) itself as datasets.train.type."
        )


@contextmanager
def _same_random_streams() -> Iterator[None]:
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _has_masks(kind: type) -> bool:
    return issubclass(kind, StoredMasks)

"""BasicSR's paired dataset with the masks of a store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, bgr2ycbcr, get_root_logger, imfrombytes, img2tensor
from basicsr.utils.dist_util import get_dist_info
from torch import Tensor
from torchvision.transforms.functional import normalize

from sapd_plugin.basicsr.pairs import check_order, check_pairs, decoded_size, image_file
from sapd_plugin.errors import SAPDError, check_keys, describe
from sapd_plugin.image_header import image_size
from sapd_plugin.priors.context import patch_context
from sapd_plugin.priors.image_lmdb import ImageLMDB
from sapd_plugin.priors.patches import few_regions
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore, mask_key
from sapd_plugin.priors.store.keys import template_key
from sapd_plugin.priors.training import MASK_KEYS, MASK_KINDS, Target, check_size, open_training_store
from sapd_plugin.priors.verification import ImageFile, evenly_spread, read_count
from sapd_plugin.values import check_values

WHERE = 'datasets.train'


class StoredMasks:
    """The masks of a store for a paired data set, which lists its images in ``paths``."""

    opt: dict[str, Any]
    paths: list[dict[str, str]]
    gt_folder: str
    lq_folder: str
    backend: str
    from_lmdb: bool

    def prepare_masks(self, opt: dict[str, Any], optional: bool) -> None:
        """Open the store and check it against the images; in phases other than training, do nothing.

        Args:
            opt: of the data set.
            optional: whether training goes without masks if there is no ``mask_store``.

        Raises:
            SAPDError: a setting of the wrong type, or as ``open_training_store``.
        """
        check_keys(WHERE, (k for k in opt if str(k).startswith('mask')), MASK_KEYS)
        check_values(WHERE, opt, MASK_KINDS)
        self.store: MaskStore | ShuffledMasks | None = None
        self.mask_note = self.mask_warning = ''
        self.keys = [self._key(paths['gt_path']) for paths in self.paths]
        if opt['phase'] == 'train' and self.backend == 'disk' and 'lq_path' in self.paths[0]:
            check_order(WHERE, opt, self.paths[0])
        if opt['phase'] == 'train' and (opt.get('mask_store') or not optional):
            store, self.mask_note = open_training_store(WHERE, opt, list(self._targets()), *get_dist_info())
            get_root_logger().info(f'{WHERE}: {self.mask_note}')
            size = (opt['gt_size'], opt['gt_size']) if opt.get('gt_size') else None
            self.mask_warning = few_regions(f'{WHERE}.gt_size', store, self.keys, size)
            if self.mask_warning:
                get_root_logger().warning(self.mask_warning)
            self.check_alignment()
            self.store = store

    def check_alignment(self) -> None:
        """Check that masks can follow the images; a subclass whose images move otherwise overrides this."""

    def masks(self, record: Any, mask: np.ndarray) -> dict[str, Tensor]:
        """Return the entries of a sample for the crop ``mask`` (H,W,1) of a record, which flips have moved since."""
        context = {}
        if self.opt.get('mask_context'):
            mask, rows = patch_context(mask, record.context())
            context['mask_context'] = torch.from_numpy(rows)
        return {'mask': torch.from_numpy(np.ascontiguousarray(mask[None, ..., 0], dtype=np.int32)), **context}

    def _key(self, gt_path: str) -> str:
        """Return the key of an image's record: its path below dataroot_gt without extension, or its LMDB key."""
        key = gt_path if self.from_lmdb else mask_key(gt_path, self.gt_folder)
        return template_key(key, self.opt.get('mask_filename_tmpl') or '{}')

    def _targets(self) -> Iterator[Target]:
        """Yield each ground truth; its size comes from its header, or in an LMDB from meta_info.txt if that says it."""
        sizes = ImageLMDB(Path(self.gt_folder)).sizes() if self.from_lmdb else {}
        for key, paths in zip(self.keys, self.paths):
            path = paths['gt_path']
            if path in sizes:
                size = partial(sizes.__getitem__, path)
            else:
                size = partial(_lmdb_size, self.gt_folder, path) if self.from_lmdb else partial(image_size, path)
            yield Target(key, path, size, self._files(paths))

    def _files(self, paths: dict[str, str]) -> list[ImageFile]:
        """Return the ground truth, and the degraded image if it is a different file."""
        folders = {'gt_path': self.gt_folder, 'lq_path': self.lq_folder}
        if self.from_lmdb:  # of which the same key is in both folders
            files = dict.fromkeys((folders[side], paths[side]) for side in folders)
            return [ImageFile(f"{folder}, key '{key}'", partial(_from_lmdb, folder, key)) for folder, key in files]
        if self.backend != 'disk':
            return []
        return [image_file(path) for path in dict.fromkeys(paths[side] for side in folders)]


class PairedImageMaskDataset(StoredMasks, PairedImageDataset):
    """PairedImageDataset (disk, meta file or LMDB) whose training samples also hold ``mask`` (1,H,W) int32.

    With ``mask_context``, also ``mask_context`` (65,7) float32.

    The random draws are those of the stock dataset, so a stock run and a SAPD run see the same patches.

    Args:
        opt: the options of PairedImageDataset, and
            mask_store: folder of a mask store made by ``sapd extract-masks``; needed for training.
            mask_filename_tmpl: how the store names an image whose ground truth is named '{}'; default '{}'.
            mask_fingerprint: refuse a store whose settings have a different fingerprint; optional.
            mask_check: how many images to compare with the digests of their masks, or 'all'; default 32.
            mask_shuffle: a seed; each image gets the mask of a different one. A control, not a feature.
            mask_context: true adds ``mask_context``, for ``network_spf.context: image``; the labels of a patch are
                then 0..64 (:func:`sapd_plugin.priors.context.patch_context`).

    Raises:
        SAPDError: a misspelt key, no store, a missing, wrong-sized or corrupt mask or one of a different image, two
            images with one key, or a different fingerprint; always before the first step.
    """

    store_is_optional = False
    file_client: Any

    def __init__(self, opt: dict[str, Any]) -> None:
        check_databases(opt)
        with named_dataset(opt, 'PairedImageDataset'):
            super().__init__(opt)
        if not self.paths:
            place = opt.get('meta_info_file') or opt['dataroot_gt']
            raise SAPDError(f'datasets.{opt["phase"]}: found no images in {place}, expected at least one.')
        self.backend = self.io_backend_opt['type']  # the stock class drops the entry on its first read
        self.from_lmdb = self.backend == 'lmdb'
        self.prepare_masks(opt, self.store_is_optional)
        rank, ranks = get_dist_info()
        if opt['phase'] == 'train':
            check_pairs(WHERE, opt, islice(zip(self.paths, self._sizes()), rank, None, ranks), self.backend)
            count = read_count(f'{WHERE}.mask_check', opt.get('mask_check'), len(self.paths))
            for paths in evenly_spread(self.paths, count)[rank::ranks]:
                for file in self._files(paths)[1:]:  # the ground truth has been compared with its mask
                    decoded_size(file)

    def _sizes(self) -> Iterator[tuple[int, int] | None]:
        """Yield (H, W) of each ground truth; that of its mask has been checked to be the same."""
        store = self.store.store if isinstance(self.store, ShuffledMasks) else self.store
        if store is not None:
            yield from (store.size(key) for key in self.keys)
        else:
            yield from (target.size() for target in self._targets())

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {'lq', 'gt': (C,h,w) float32, 'mask': (1,H,W) int32, 'lq_path', 'gt_path'}, perhaps 'mask_context'."""
        if self.store is None:
            return super().__getitem__(index)
        gt_path, lq_path = self.paths[index]['gt_path'], self.paths[index]['lq_path']
        gt, lq = self.read(gt_path, 'gt'), self.read(lq_path, 'lq')
        record = self.record(index, gt)
        # The record is cropped like an image, and decodes only that crop.
        (gt, mask), lq = paired_random_crop([gt, record], lq, self.opt['gt_size'], self.opt['scale'], gt_path)
        gt, lq, mask = augment([gt, lq, mask], self.opt['use_hflip'], self.opt['use_rot'])

        # Only now, because the conversion of whole images takes longer than all that masks need.
        gt, lq = unit_range(gt), unit_range(lq)
        if self.opt.get('color') == 'y':
            gt, lq = (bgr2ycbcr(image, y_only=True)[..., None] for image in (gt, lq))
        gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
        if self.mean is not None or self.std is not None:
            normalize(lq, self.mean, self.std, inplace=True)
            normalize(gt, self.mean, self.std, inplace=True)
        return {'lq': lq, 'gt': gt, **self.masks(record, mask), 'lq_path': lq_path, 'gt_path': gt_path}

    def read(self, path: str, client: str) -> np.ndarray:
        """Read an image as BGR (H,W,3) uint8; ``client`` is 'gt' or 'lq'.

        Raises:
            SAPDError: it is not an image.
        """
        if self.file_client is None:
            self.file_client = FileClient(self.io_backend_opt.pop('type'), **self.io_backend_opt)
        image = imfrombytes(self.file_client.get(path, client))
        if image is None:
            raise SAPDError(f'{path}: cannot be decoded, expected an image.')
        return image

    def record(self, index: int, gt: np.ndarray) -> Any:
        """Return the stored mask record of an image; its size has to match ``gt`` (H,W,C)."""
        assert self.store is not None
        record = self.store.record(self.keys[index])
        check_size(WHERE, self.paths[index]['gt_path'], record.shape[:2], (gt.shape[0], gt.shape[1]))
        return record


def unit_range(image: np.ndarray) -> np.ndarray:
    """Convert uint8 to float32 in [0, 1], to the bit as BasicSR does when it reads an image."""
    return image.astype(np.float32) / 255.0


@contextmanager
def named_dataset(opt: Mapping[str, Any], name: object) -> Iterator[None]:
    """Name the data set whose options BasicSR cannot build it from.

    Args:
        opt: of the data set; ``phase`` is in it.
        name: of its class, for messages.

    Raises:
        SAPDError: naming the data set, and the error.
    """
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:  # of BasicSR, or of a class that a user wrote: any
        raise SAPDError(
            f'datasets.{opt.get("phase")}: {name} cannot be built from these options ({describe(error)}).'
        ) from error


def check_databases(opt: dict[str, Any]) -> None:
    """Check the LMDBs of a data set before BasicSR opens them, because a damaged one would end the process.

    Raises:
        SAPDError: naming the damaged one.
    """
    if (opt.get('io_backend') or {}).get('type') == 'lmdb':
        for side in ('dataroot_gt', 'dataroot_lq'):
            if opt.get(side):
                ImageLMDB(Path(opt[side]))


def _lmdb_size(folder: str, key: str) -> tuple[int, int]:
    return image_size(_from_lmdb(folder, key))


def _from_lmdb(folder: str, key: str) -> bytes:
    # Closed again, because an environment must not be open when worker processes fork.
    with lmdb.open(folder, readonly=True, lock=False, readahead=False) as env, env.begin() as transaction:
        content = transaction.get(key.encode())
    if content is None:
        raise OSError(f'not in the LMDB {folder}, although its meta_info.txt lists it')
    return bytes(content)

"""BasicSR's paired dataset with the masks of a store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils import FileClient, bgr2ycbcr, imfrombytes, img2tensor
from PIL import Image
from torchvision.transforms.functional import normalize

from sapd_plugin.errors import SAPDError, check_keys, nearest
from sapd_plugin.priors.codec import RecordError
from sapd_plugin.priors.keys import template_key
from sapd_plugin.priors.store import MaskStore, mask_key

_EXIF_ORIENTATION = 0x0112
MASK_KEYS = ('mask_store', 'mask_filename_tmpl', 'mask_fingerprint')


class PairedImageMaskDataset(PairedImageDataset):
    """PairedImageDataset (disk, meta file or LMDB) whose training samples also hold ``mask`` (1,H,W) int32.

    The random draws are those of the stock dataset, so a stock run and a SAPD run see the same patches.

    Args:
        opt: as PairedImageDataset, and
            mask_store: folder of a mask store made by ``tools/extract_masks.py``; needed for training.
            mask_filename_tmpl: how the store names an image whose ground truth is named '{}'; default '{}'.
            mask_fingerprint: refuse a store whose settings' fingerprint is another one; optional.

    Raises:
        SAPDError: a misspelt key, no store, a missing, wrong-sized or corrupt mask, or another fingerprint. All of
            them before the first step.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        check_keys('datasets.train', (k for k in opt if str(k).startswith('mask')), MASK_KEYS)
        super().__init__(opt)
        self.from_lmdb = self.io_backend_opt['type'] == 'lmdb'  # the stock class drops the entry when it first reads
        self.store: MaskStore | None = None
        self.keys = [self._key(paths['gt_path']) for paths in self.paths]
        if opt['phase'] == 'train':
            self.store = self._open_store()

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {'lq', 'gt': (C,h,w) float32, 'mask': (1,H,W) int32, 'lq_path', 'gt_path'}."""
        if self.store is None:
            return super().__getitem__(index)
        if self.file_client is None:
            self.file_client = FileClient(self.io_backend_opt.pop('type'), **self.io_backend_opt)
        gt_path, lq_path = self.paths[index]['gt_path'], self.paths[index]['lq_path']
        gt = imfrombytes(self.file_client.get(gt_path, 'gt'), float32=True)
        lq = imfrombytes(self.file_client.get(lq_path, 'lq'), float32=True)
        record = self.store.record(self.keys[index])
        _check_size(gt_path, record.shape[:2], gt.shape[:2])

        # The record is sliced by the crop like an image, and decodes that crop alone.
        (gt, mask), lq = paired_random_crop([gt, record], lq, self.opt['gt_size'], self.opt['scale'], gt_path)
        gt, lq, mask = augment([gt, lq, mask], self.opt['use_hflip'], self.opt['use_rot'])

        if self.opt.get('color') == 'y':
            gt, lq = (bgr2ycbcr(image, y_only=True)[..., None] for image in (gt, lq))
        gt, lq = img2tensor([gt, lq], bgr2rgb=True, float32=True)
        if self.mean is not None or self.std is not None:
            normalize(lq, self.mean, self.std, inplace=True)
            normalize(gt, self.mean, self.std, inplace=True)
        mask = torch.from_numpy(np.ascontiguousarray(mask[None, ..., 0], dtype=np.int32))
        return {'lq': lq, 'gt': gt, 'mask': mask, 'lq_path': lq_path, 'gt_path': gt_path}

    def _open_store(self) -> MaskStore:
        folder = self.opt.get('mask_store')
        if not folder:
            raise SAPDError("datasets.train.mask_store: missing, expected a folder made by 'tools/extract_masks.py'.")
        store = MaskStore(Path(folder).expanduser())
        expected = self.opt.get('mask_fingerprint')
        if expected and expected != store.fingerprint:
            raise SAPDError(
                f'datasets.train.mask_fingerprint: {folder} has {store.fingerprint}, expected {expected}. '
                f'Its settings: {store.settings}.'
            )
        missing = sorted(key for key in self.keys if key not in store)
        if missing:
            raise SAPDError(
                f'datasets.train.mask_store: {folder} has no masks for {len(missing)} of {len(self.keys)} images, '
                f"among them '{missing[0]}'.{nearest(missing[0], store.keys())} Run tools/extract_masks.py again, "
                'or set mask_filename_tmpl where the names differ.'
            )
        for key, (gt_path, size) in zip(self.keys, self._image_sizes()):
            try:
                record = store.record(key)
                record.check()
            except RecordError as error:
                raise SAPDError(
                    f"datasets.train.mask_store: {folder}, mask '{key}': {error} Delete the store and run "
                    'tools/extract_masks.py again.'
                ) from error
            _check_size(gt_path, record.shape[:2], size)
        return store

    def _key(self, gt_path: str) -> str:
        """Name of an image's record: its path below dataroot_gt without the extension; an LMDB key as it is."""
        key = gt_path if self.from_lmdb else mask_key(gt_path, self.gt_folder)
        return template_key(key, self.opt.get('mask_filename_tmpl', '{}'))

    def _image_sizes(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Yield (path or key, (H, W)) of each ground truth, reading headers alone."""
        if self.from_lmdb:
            lines = (Path(self.gt_folder) / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
            sizes = {line.split('.')[0]: re.search(r'\((\d+),\s*(\d+)', line) for line in lines}
        for paths in self.paths:
            gt_path = paths['gt_path']
            if self.from_lmdb:
                height, width = (int(v) for v in sizes[gt_path].groups())
            else:
                with Image.open(gt_path) as image:
                    # OpenCV, which loads the training images, turns them as their EXIF entry says.
                    turned = image.getexif().get(_EXIF_ORIENTATION, 1) >= 5
                    width, height = image.size[::-1] if turned else image.size
            yield gt_path, (height, width)


def _check_size(gt_path: str, mask_size: tuple[int, int], image_size: tuple[int, int]) -> None:
    if tuple(mask_size) != tuple(image_size):
        raise SAPDError(
            f'datasets.train.mask_store: the mask of {gt_path} is {mask_size[0]}x{mask_size[1]}, the image '
            f"{image_size[0]}x{image_size[1]} (height x width). Cut the masks on images of the ground truth's size."
        )

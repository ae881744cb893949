"""Masks follow a user's own data set (``base_dataset_type``), or it is refused by name; never are they misaligned."""

from __future__ import annotations

import pickle
import random
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset, transforms
from basicsr.data.data_util import paired_paths_from_folder
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.transforms import augment as turn_all
from basicsr.data.transforms import paired_random_crop
from basicsr.models import build_model
from basicsr.utils import img2tensor
from basicsr.utils.registry import DATASET_REGISTRY
from torch.utils.data import DataLoader, Dataset

from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import in_lmdb, parsed, sapd_options, seeded, stock_options
from tests.adapters_basicsr.test_dataset import is_aligned


@DATASET_REGISTRY.register()
class Filtered(PairedImageDataset):
    """Its own choice of images, an additional key, and draws of its own before and after the stock ones."""

    def __init__(self, opt: dict[str, Any]) -> None:
        super().__init__(opt)
        self.paths = [paths for paths in self.paths if '002' not in paths['gt_path']]

    def __getitem__(self, index: int) -> dict[str, Any]:
        level = random.random()
        return {**super().__getitem__(index), 'level': level, 'noise': np.random.rand() + torch.rand(()).item()}


class Own(Dataset):
    """No relative of BasicSR's: reads by itself, and prepares a pair in a way that subclasses define."""

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt = opt
        self.paths = paired_paths_from_folder([opt['dataroot_lq'], opt['dataroot_gt']], ['lq', 'gt'], '{}')

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        paths = self.paths[index]
        gt, lq = (cv2.imread(paths[f'{key}_path']).astype(np.float32) / 255 for key in ('gt', 'lq'))
        gt, lq = self.prepare(gt, lq)
        gt, lq = img2tensor([np.ascontiguousarray(gt), np.ascontiguousarray(lq)], bgr2rgb=True, float32=True)
        return {'gt': gt, 'lq': lq, **paths}

    def prepare(self, gt: np.ndarray, lq: np.ndarray) -> Any:
        raise NotImplementedError


@DATASET_REGISTRY.register()
class ByAttribute(Own):
    def prepare(self, gt, lq):
        gt, lq = transforms.paired_random_crop(gt, lq, 48, 1)
        (gt, lq), status = transforms.augment([gt, lq], return_status=True)
        assert len(status) == 3
        return gt, lq


@DATASET_REGISTRY.register()
class TurnsFirst(Own):
    """Turns the whole image, crops two images of the ground truth's size, and turns again; under another name."""

    def prepare(self, gt, lq):
        gt, lq = (np.ascontiguousarray(image) for image in turn_all([gt, lq], True, True))
        (gt, same), lq = paired_random_crop([gt, gt.copy()], lq, 48, 1)
        assert np.array_equal(gt, same)
        return turn_all([gt, lq], hflip=True, rotation=True)


@DATASET_REGISTRY.register()
class WithFlow(Own):
    def prepare(self, gt, lq):
        gt, lq = paired_random_crop(gt, lq, 48, 1)
        images, _ = turn_all([gt, lq], flows=[np.zeros((48, 48, 2), np.float32)])
        return images


@DATASET_REGISTRY.register()
class Tensors(Own):
    def prepare(self, gt, lq):
        pair = [torch.from_numpy(image.transpose(2, 0, 1))[None] for image in (gt, lq)]
        gt, lq = paired_random_crop(*pair, 48, 1)
        return turn_all([image[0].permute(1, 2, 0).numpy().copy() for image in (gt, lq)])


@DATASET_REGISTRY.register()
class Choosing(PairedImageDataset):
    """Draws again, patches of other images as well, until one is bright enough."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        for _ in range(4):
            sample = super().__getitem__(index)
            if sample['gt'].mean() > 0.4:
                break
            index = random.randrange(len(self))
        return sample


@DATASET_REGISTRY.register()
class Skipping(ByAttribute):
    """Takes another image in the place of one that it cannot read, before or after it has moved the pixels."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        late = random.random() < 0.5
        try:
            sample = super().__getitem__(index) if late else None
            if index == 1:
                raise OSError('a broken disk')
        except OSError:
            return self[random.randrange(2, len(self))]
        return sample or super().__getitem__(index)


@DATASET_REGISTRY.register()
class OwnFlipBetween(Own):
    """Where the patch is the whole image, what follows a flip would fit the mask as well."""

    def prepare(self, gt, lq):
        gt, lq = paired_random_crop(gt, lq, min(gt.shape[:2]), 1)
        if random.random() < 0.5:
            gt, lq = (np.ascontiguousarray(image[:, ::-1]) for image in (gt, lq))
        return paired_random_crop(gt, lq, min(gt.shape[:2]), 1)


@DATASET_REGISTRY.register()
class Whole(Own):
    def prepare(self, gt, lq):
        return gt, lq


@DATASET_REGISTRY.register()
class OwnFlip(Own):
    def prepare(self, gt, lq):
        gt, lq = paired_random_crop(gt, lq, 48, 1)
        return (gt[:, ::-1], lq[:, ::-1]) if random.random() < 0.5 else (gt, lq)


@DATASET_REGISTRY.register()
class OwnFlipBefore(Own):
    def prepare(self, gt, lq):
        flip = random.random() < 0.5
        return paired_random_crop(*((gt[::-1], lq[::-1]) if flip else (gt, lq)), 48, 1)


@DATASET_REGISTRY.register()
class OwnCrop(Own):
    def prepare(self, gt, lq):
        top = random.randrange(gt.shape[0] - 47)
        return gt[top : top + 48, :48], lq[top : top + 48, :48]


@DATASET_REGISTRY.register()
class Resized(Own):
    def prepare(self, gt, lq):
        return paired_random_crop(*(cv2.resize(image, None, fx=0.8, fy=0.8) for image in (gt, lq)), 48, 1)


@DATASET_REGISTRY.register()
class Rolled(Own):
    def prepare(self, gt, lq):
        gt, lq = paired_random_crop(gt, lq, 48, 1)
        return np.roll(gt, 9, axis=0), np.roll(lq, 9, axis=0)


@DATASET_REGISTRY.register()
class Failing(Own):
    pass


@DATASET_REGISTRY.register()
class WithoutPaths(Own):
    def __init__(self, opt):
        super().__init__(opt)
        self.pairs = self.__dict__.pop('paths')


@DATASET_REGISTRY.register()
class WithMasks(ByAttribute):
    def __getitem__(self, index):
        return {**super().__getitem__(index), 'mask': 1}


def build(pairs, store, base: str, **changes: Any) -> Any:
    opt = sapd_options(pairs, store, **{'datasets:train:base_dataset_type': base}, **changes)
    return build_dataset(parsed(opt, pairs.parent)['datasets']['train'])


def stock(pairs, base: str, **changes: Any) -> Any:
    opt = stock_options(pairs, **{'datasets:train:type': base}, **changes)
    return build_dataset(parsed(opt, pairs.parent)['datasets']['train'])


def assert_followed(plain: Any, masked: Any, trials: int = 60) -> None:
    """The same samples from the same draws, which leave the same state behind, and masks that are aligned."""
    assert len(masked) == len(plain)
    seen = set()
    for trial in range(trials):
        np.random.seed(trial)
        expected = seeded(plain, trial % len(plain), trial)
        after = random.getstate(), torch.get_rng_state()
        np.random.seed(trial)
        sample = seeded(masked, trial % len(plain), trial)
        assert random.getstate() == after[0]
        assert torch.equal(torch.get_rng_state(), after[1])
        assert sample.keys() == expected.keys() | {'mask'}
        for key, value in expected.items():
            assert torch.equal(value, sample[key]) if isinstance(value, torch.Tensor) else value == sample[key]
        assert sample['mask'].dtype == torch.int32
        assert is_aligned(sample)
        seen.add(sample['mask'].numpy().tobytes())
    assert len(seen) > len(plain)


@pytest.mark.parametrize(
    'base',
    [
        'Filtered',
        'ByAttribute',
        'TurnsFirst',
        'WithFlow',
        'Tensors',
        'RealESRGANPairedDataset',
        'Choosing',
        'Skipping',
    ],
)
def test_masks_follow(pairs, grey_store, base):
    assert_followed(stock(pairs, base), build(pairs, grey_store, base))


def test_an_image_that_is_not_moved_keeps_its_mask(pairs, grey_store):
    masked = build(pairs, grey_store, 'Whole')
    assert all(is_aligned(masked[index]) for index in range(4))


@pytest.mark.parametrize('backend', ['lmdb', 'scale', 'gray'])
def test_masks_follow_what_the_options_change(pairs, grey_store, tmp_path, backend):
    changes: dict[str, Any] = {}
    if backend == 'lmdb':
        changes = in_lmdb(pairs, tmp_path)
    if backend == 'gray':
        changes = {'datasets:train:color': 'y', 'datasets:train:mean': [0.5], 'datasets:train:std': [0.25]}
    if backend == 'scale':
        (tmp_path / 'rainy').mkdir()
        (tmp_path / 'clean').symlink_to(pairs / 'clean')
        for path in (pairs / 'rainy').glob('*.png'):
            cv2.imwrite(str(tmp_path / 'rainy' / path.name), cv2.resize(cv2.imread(str(path)), (56, 48)))
        pairs, changes = tmp_path, {'scale': 2}
    plain, masked = stock(pairs, 'Filtered', **changes), build(pairs, grey_store, 'Filtered', **changes)
    own = build_dataset(parsed(sapd_options(pairs, grey_store, **changes), tmp_path)['datasets']['train'])
    for trial in range(20):
        expected, sample = (seeded(dataset, trial % 3, trial) for dataset in (plain, masked))
        assert torch.equal(sample['gt'], expected['gt'])
        if backend != 'gray':
            assert is_aligned(sample)
        # The same draws after the one that Filtered makes first: the stock data set's own mask.
        random.seed(trial)
        random.random()
        index = next(i for i, paths in enumerate(own.paths) if paths['gt_path'] == sample['gt_path'])
        assert torch.equal(own[index]['mask'], sample['mask'])


def test_workers_give_the_same_masks(pairs, grey_store):
    masked = build(pairs, grey_store, 'ByAttribute')
    copied = pickle.loads(pickle.dumps(masked))
    assert torch.equal(seeded(copied, 1, 3)['mask'], seeded(masked, 1, 3)['mask'])
    batch = next(iter(DataLoader(masked, 4, num_workers=1, multiprocessing_context='spawn')))
    assert all(is_aligned({key: batch[key][i] for key in ('gt', 'mask')}) for i in range(4))


@pytest.mark.parametrize('base', ['OwnFlip', 'OwnFlipBefore', 'OwnFlipBetween', 'OwnCrop', 'Resized', 'Rolled'])
def test_what_masks_cannot_follow_is_refused_before_the_first_step(pairs, grey_store, base):
    state = random.getstate(), torch.get_rng_state()
    with pytest.raises(SAPDError, match=rf'datasets.train.base_dataset_type: masks cannot follow {base}: .*clean'):
        build(pairs, grey_store, base)
    assert random.getstate() == state[0]
    assert torch.equal(torch.get_rng_state(), state[1])


def test_a_data_set_that_moves_pixels_later_stops_the_run(pairs, grey_store):
    masked = build(pairs, grey_store, 'ByAttribute')
    masked.base_class.prepare, prepare = (
        (lambda self, gt, lq: [i[::-1] for i in prepare(self, gt, lq)]),
        ByAttribute.prepare,
    )
    try:
        with pytest.raises(SAPDError, match='masks cannot follow ByAttribute'):
            for index in range(16):
                masked[index % 4]
    finally:
        ByAttribute.prepare = prepare


@pytest.mark.parametrize(
    ('base', 'message'),
    [
        ('Filterd', r"base_dataset_type: found 'Filterd', expected one of .*Did you mean 'Filtered'"),
        (3, r"base_dataset_type: found '3', expected one of"),
        ('GaussianNoiseDataset', r"base_dataset_type: found 'GaussianNoiseDataset', expected one of"),
        ('Failing', r'Failing cannot load the image number 0 \(NotImplementedError'),
        ('WithoutPaths', r"WithoutPaths has no list 'paths' of mappings with 'gt_path'"),
        ('WithMasks', r"WithMasks gives samples with a 'mask' of their own"),
        ('SingleImageDataset', r"'SingleImageDataset' gives no pairs of single images, so it loads no masks"),
    ],
)
def test_mistakes_are_named(pairs, grey_store, base, message):
    with pytest.raises(SAPDError, match=message):
        build(pairs, grey_store, base)


def test_a_training_with_an_own_data_set(pairs, grey_store, tmp_path):
    opt = parsed(sapd_options(pairs, grey_store, **{'datasets:train:base_dataset_type': 'Filtered'}), tmp_path)
    dataset, model = build_dataset(opt['datasets']['train']), build_model(opt)
    model.feed_data(next(iter(DataLoader(dataset, 2))))
    model.optimize_parameters(1)
    assert model.get_current_log()['l_spf'] > 0
    assert type(build_dataset(opt['datasets']['val'] | {'base_dataset_type': 'Filtered'})) is PairedImageDataset

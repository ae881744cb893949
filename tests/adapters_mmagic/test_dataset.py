"""Masks through MMagic's own transforms: they stay with their pixels, whatever the pipeline, and mistakes are named."""

from __future__ import annotations

import copy
import itertools
import os
import random
import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
import torch
from mmagic.datasets import BasicImageDataset
from mmagic.registry import DATASETS, TRANSFORMS
from mmagic.structures import DataSample
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.pending import PendingMask
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from tests.adapters_mmagic.recipes import sapd_config
from tests.photos import is_context_of, make_store, quantise, same_partition
from tests.recipes import DELETE

CROP = {'type': 'PairedRandomCrop', 'gt_patch_size': 48}
FLIPS = [
    {'type': 'Flip', 'keys': ['img', 'gt'], 'flip_ratio': 0.5, 'direction': direction}
    for direction in ('horizontal', 'vertical')
]
TRANSPOSE = {'type': 'RandomTransposeHW', 'keys': ['img', 'gt'], 'transpose_ratio': 0.5}
GAUSSIAN = {'noise_type': ['gaussian'], 'noise_prob': [1], 'gaussian_sigma': [25, 25], 'gaussian_gray_noise_prob': 0}
NOISE = {'type': 'RandomNoise', 'params': GAUSSIAN, 'keys': ['img']}
PIPELINES = {
    'NAFNet: flip, transpose, crop': [*FLIPS, TRANSPOSE, CROP],
    'EDSR, SwinIR: crop, flip, transpose, noise': [CROP, *FLIPS, TRANSPOSE, NOISE],
    'FixedCrop': [{'type': 'FixedCrop', 'keys': ['img', 'gt'], 'crop_size': (40, 56)}, *FLIPS],
    'ModCrop': [{'type': 'SetValues', 'dictionary': {'scale': 5}}, {'type': 'ModCrop', 'key': 'gt'}],
    'CopyValues': [{'type': 'CopyValues', 'src_keys': ['gt'], 'dst_keys': ['img']}, *FLIPS, CROP, NOISE],
    'Resize of the input': [{'type': 'Resize', 'keys': ['gt'], 'output_keys': ['img'], 'scale': (28, 24)}],
    'RandomRotation': [{'type': 'RandomRotation', 'keys': ['img', 'gt'], 'degrees': 30}, CROP],
    'GaussianNoise': [CROP, *FLIPS, {'type': 'GaussianNoise', 'sigma': [0, 50]}],
}


def config_of(pairs: Path, store: Path, transforms: list, **changes) -> dict:
    dataset = sapd_config(pairs, store, **{f'train_dataloader:dataset:{k}': v for k, v in changes.items()})
    dataset = dataset['train_dataloader']['dataset']
    for loader in dataset['pipeline'][:2]:
        loader['channel_order'] = 'bgr'
    dataset['pipeline'] = [*dataset['pipeline'][:3], *copy.deepcopy(transforms), dataset['pipeline'][-1]]
    return dataset


def build(pairs: Path, store: Path, transforms: list, **changes):
    return DATASETS.build(config_of(pairs, store, transforms, **changes))


def samples(dataset, count: int = 12):
    np.random.seed(1)
    random.seed(1)
    torch.manual_seed(1)
    for index in range(count):
        yield dataset[index % len(dataset)]


def image_of(tensor: torch.Tensor) -> np.ndarray:
    return tensor.permute(1, 2, 0).numpy()


def is_aligned(data: DataSample) -> bool:
    """Whether a mask from ``grey_store`` is what the grey levels of its patch are."""
    return same_partition(quantise(image_of(data.gt_img)), data.sam_mask[0].numpy())


@pytest.mark.parametrize('name', PIPELINES)
def test_patches_are_those_of_the_stock_pipeline_with_masks_of_their_pixels(pairs, grey_store, name):
    config = config_of(pairs, grey_store, PIPELINES[name])
    stock = {k: v for k, v in copy.deepcopy(config).items() if not k.startswith('mask')} | {'type': 'BasicImageDataset'}
    for ours, theirs in zip(*([*samples(DATASETS.build(c))] for c in (config, stock))):
        data = ours['data_samples']
        assert torch.equal(ours['inputs'], theirs['inputs'])
        assert torch.equal(data.gt_img, theirs['data_samples'].gt_img)
        assert data.sam_mask.dtype == torch.int32
        assert data.sam_mask.shape == (1, *data.gt_img.shape[1:])
        assert name == 'RandomRotation' or is_aligned(data)  # rotation interpolates grey levels; see below


def test_context_is_that_of_the_whole_photo_whatever_the_pipeline(pairs, grey_store):
    for name in ('NAFNet: flip, transpose, crop', 'EDSR, SwinIR: crop, flip, transpose, noise', 'FixedCrop'):
        datasets = [build(pairs, grey_store, PIPELINES[name], **changes) for changes in ({}, {'mask_context': True})]
        photos = [cv2.imread(datasets[0].get_data_info(index)['gt_path']) for index in range(len(datasets[0]))]
        for photo, without, sample in zip(itertools.cycle(photos), *([*samples(dataset)] for dataset in datasets)):
            data, mask = sample['data_samples'], sample['data_samples'].sam_mask
            assert 'mask_context' not in without['data_samples']
            assert mask.dtype == torch.int32
            assert data.mask_context.dtype == torch.float32
            assert data.mask_context.shape == (65, 7)
            assert torch.equal(data.gt_img, without['data_samples'].gt_img)
            assert same_partition(mask.numpy(), without['data_samples'].sam_mask.numpy())
            assert is_context_of(photo, image_of(data.gt_img), mask[0].numpy(), data.mask_context.numpy())


@pytest.mark.parametrize('crop', [CROP, {'type': 'FixedCrop', 'keys': ['img', 'gt'], 'crop_size': (48, 48)}])
def test_a_patch_too_small_for_masks_is_warned_of(pairs, grey_store, crop):
    side, small = ('gt_patch_size', 2) if crop is CROP else ('crop_size', (2, 2))
    assert build(pairs, grey_store, [*FLIPS, crop]).mask_warning == ''
    warning = build(pairs, grey_store, [*FLIPS, {**crop, side: small}]).mask_warning
    assert re.match(r'train_dataloader\.dataset\.pipeline: in the median, a patch of 2x2 holds [12] regions', warning)
    assert build(pairs, grey_store, FLIPS).mask_warning == ''


@pytest.mark.parametrize('seed', range(8))
def test_a_pending_mask_is_the_turned_mask(grey_store, seed):
    rng = random.Random(seed)
    record = MaskStore(grey_store).record('001')
    pending, expected = PendingMask(record), record[:, :]
    for _ in range(6):
        turn = rng.choice(['horizontal', 'vertical', 'transpose'])
        if turn == 'transpose':
            pending, expected = pending.transposed(), expected.transpose(1, 0, 2)
        else:
            pending = pending.flipped(turn)
            expected = expected[:, ::-1] if turn == 'horizontal' else expected[::-1]
        assert pending.shape == expected.shape
        top, left = rng.randrange(40), rng.randrange(40)
        part = slice(top, top + 33), slice(left, left + 21)
        assert np.array_equal(pending[(*part, ...)], expected[part])
        assert np.array_equal(pending[:, :], expected)


def test_rotation_turns_the_mask_as_the_image(pairs, tmp_path):
    """Photos of two flat halves: after any rotation the mask's border is the image's, to a pixel of interpolation."""
    for kind in ('clean', 'rainy'):
        (tmp_path / kind).mkdir()
        image = np.full((96, 112, 3), 40, np.uint8)
        image[:, 60:] = 200
        cv2.imwrite(str(tmp_path / kind / 'a.png'), image)
    store = make_store(
        tmp_path / 'masks', tmp_path / 'clean', lambda path: (cv2.imread(str(path))[..., 0] > 100).astype(int) + 1
    )
    rotate = {'type': 'RandomRotation', 'keys': ['img', 'gt'], 'degrees': (-40, 40)}
    labels = MaskStore(store).record('a').labels()
    dark, bright = int(labels[0, 0]), int(labels[0, -1])
    turned = 0
    for sample in samples(build(tmp_path, store, [rotate])):
        data = sample['data_samples']
        gt, mask = image_of(data.gt_img)[..., 0], data.sam_mask[0].numpy()
        assert np.isin(mask, [0, dark, bright]).all()
        inside = cv2.erode((gt == 40).astype(np.uint8), np.ones((3, 3))) > 0
        assert (mask[inside] == dark).all()
        inside = cv2.erode((gt == 200).astype(np.uint8), np.ones((3, 3))) > 0
        assert (mask[inside] == bright).all()
        turned += bool((mask[0] != mask[0, 0]).any() and (mask == 0).any())
    assert turned > 6


@pytest.mark.parametrize('scale', [(96, 64), (150, 130), 0.5])
def test_resize_takes_the_nearest_label(pairs, grey_store, scale):
    resize = {'type': 'Resize', 'keys': ['img', 'gt'], 'scale': scale, 'keep_ratio': isinstance(scale, float)}
    store = MaskStore(grey_store)
    for sample in samples(build(pairs, grey_store, [resize]), 4):
        data = sample['data_samples']
        mask = data.sam_mask[0].numpy()
        assert mask.shape == tuple(data.gt_img.shape[1:]) != (96, 112)
        labels = store.record(Path(data.gt_path).stem).labels()
        rows = ((np.arange(mask.shape[0]) + 0.5) * labels.shape[0] / mask.shape[0]).astype(int)
        columns = ((np.arange(mask.shape[1]) + 0.5) * labels.shape[1] / mask.shape[1]).astype(int)
        assert (mask == labels[rows][:, columns]).mean() > 0.98  # pixel centres that fall on an edge go either way


def test_super_resolution_crops_at_both_scales(pairs, grey_store, tmp_path):
    (tmp_path / 'clean').symlink_to(pairs / 'clean')
    (tmp_path / 'small').mkdir()
    for path in (pairs / 'clean').glob('*.png'):
        small = cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(tmp_path / 'small' / f'{path.stem}_x2.png'), small)
    changes = {
        'data_root': str(tmp_path),
        'data_prefix': {'img': 'small', 'gt': 'clean'},
        'filename_tmpl': {'img': '{}_x2', 'gt': '{}'},
        'search_key': 'gt',
    }
    transforms = [{'type': 'SetValues', 'dictionary': {'scale': 2}}, CROP, *FLIPS, TRANSPOSE]
    for sample in samples(build(pairs, grey_store, transforms, **changes)):
        data = sample['data_samples']
        assert sample['inputs'].shape == (3, 24, 24)
        assert data.sam_mask.shape == (1, 48, 48)
        assert is_aligned(data)


def test_sub_folders_and_templates(pairs, tmp_path):
    for kind in ('rainy', 'clean'):
        for day, name in (('a', '001'), ('b', '001'), ('b', 'x.y')):
            (tmp_path / kind / day).mkdir(parents=True, exist_ok=True)
            shutil.copy(pairs / kind / ('001.png' if day == 'a' else '002.png'), tmp_path / kind / day / f'{name}.png')
    with MaskStoreWriter(tmp_path / 'masks', {'segmenter': 'test'}) as writer:
        for path in (tmp_path / 'clean').rglob('*.png'):
            key = path.relative_to(tmp_path / 'clean').with_suffix('').as_posix()
            folder, name = key.split('/')
            writer.put(f'{folder}/{name}_restored', LabelMap.from_labels(quantise(cv2.imread(str(path)))))
    changes = {'data_root': str(tmp_path), 'recursive': True, 'mask_filename_tmpl': '{}_restored'}
    dataset = build(pairs, tmp_path / 'masks', [*FLIPS, CROP], **changes)
    assert len(dataset) == 3
    assert all(is_aligned(sample['data_samples']) for sample in samples(dataset))


def in_lmdb(dataset: dict[str, Any], pairs: Path, folder: Path) -> dict[str, Any]:
    """The same dataset out of two LMDB files, made below ``folder``."""
    names = sorted(path.name for path in (pairs / 'clean').glob('*.png'))
    (folder / 'names.txt').write_text('\n'.join(f'{name} (96,112,3)' for name in names))
    dataset.update(ann_file=str(folder / 'names.txt'), data_root=str(folder), data_prefix={'img': '', 'gt': ''})
    for loader, kind in zip(dataset['pipeline'], ('rainy', 'clean')):
        target = str(folder / f'{kind}.lmdb')
        with lmdb.open(target, map_size=1 << 24) as env, env.begin(write=True) as transaction:
            for path in (pairs / kind).glob('*.png'):
                transaction.put(path.stem.encode(), path.read_bytes())
        loader['backend_args'] = {'backend': 'lmdb', 'db_path': target}
    return dataset


def test_a_damaged_lmdb_is_named_before_mmengine_opens_it(pairs, grey_store, tmp_path):
    config = in_lmdb(config_of(pairs, grey_store, [*FLIPS, CROP]), pairs, tmp_path)
    for place in tmp_path.glob('*.lmdb/data.mdb'):
        os.truncate(place, place.stat().st_size // 2)
    with pytest.raises(SAPDError, match=r'images: the LMDB .* cannot be read \(.*a truncated copy\)'):
        DATASETS.build(config)


def test_lmdb_and_worker_processes(pairs, grey_store, tmp_path):
    dataset = DATASETS.build(in_lmdb(config_of(pairs, grey_store, [*FLIPS, CROP]), pairs, tmp_path))
    for context, workers in (('fork', 2), ('spawn', 1)):
        loader = DataLoader(dataset, 2, num_workers=workers, multiprocessing_context=context, collate_fn=pseudo_collate)
        seen = [data for batch in loader for data in batch['data_samples']]
        assert len(seen) == 4
        assert all(is_aligned(data) for data in seen)


def test_validation_loads_no_masks(pairs, tmp_path):
    dataset = build(pairs, tmp_path / 'absent', [], test_mode=True)
    assert 'sam_mask' not in dataset[0]['data_samples']


def test_wrappers_of_the_framework(pairs, store):
    config = config_of(pairs, store, [CROP])
    repeated = DATASETS.build({'type': 'RepeatDataset', 'times': 3, 'dataset': config})
    assert repeated[11]['data_samples'].sam_mask.shape == (1, 48, 48)
    joined = DATASETS.build({'type': 'ConcatDataset', 'datasets': [config, copy.deepcopy(config)]})
    assert joined[7]['data_samples'].sam_mask.shape == (1, 48, 48)


def test_a_dataset_of_the_users_own(pairs, grey_store):
    @DATASETS.register_module(force=True)
    class FirstTwo(BasicImageDataset):
        def load_data_list(self):
            return sorted(super().load_data_list(), key=lambda info: info['key'])[:2]

    dataset = build(pairs, grey_store, [*FLIPS, CROP], base_dataset_type='FirstTwo')
    assert len(dataset) == 2
    assert isinstance(dataset, FirstTwo)
    assert dataset[0]['data_samples'].sam_mask.shape == (1, 48, 48)


DATA_MISTAKES = {
    'no store': ({'mask_store': DELETE}, r'train_dataloader.dataset.mask_store: missing, expected a folder'),
    'key': ({'mask_stor': 'x'}, r"train_dataloader.dataset: unknown key 'mask_stor'.*Did you mean 'mask_store'"),
    'base': ({'base_dataset_type': 'BasicImageDatset'}, r"found 'BasicImageDatset'.*Did you mean 'BasicImageDataset'"),
    'fingerprint': ({'mask_fingerprint': '00ff'}, r"mask_fingerprint: .*, expected 00ff.*'segmenter': 'test'"),
    'template': ({'mask_filename_tmpl': '{}_x'}, r"no masks for 4 of 4 images, among them '001_x'.*mask_filename_t"),
}


@pytest.mark.parametrize('mistake', DATA_MISTAKES)
def test_mistakes_in_the_dataset(pairs, store, mistake):
    changes, message = DATA_MISTAKES[mistake]
    with pytest.raises(SAPDError, match=message):
        build(pairs, store, [CROP], **changes)


@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_wrong_size(pairs, tmp_path, backend):
    (tmp_path / 'small').mkdir()
    for path in (pairs / 'clean').glob('*.png'):
        cv2.imwrite(str(tmp_path / 'small' / path.name), cv2.imread(str(path))[:-1])
    store = make_store(tmp_path / 'masks', tmp_path / 'small')
    config = config_of(pairs, store, [CROP])
    message = r'train_dataloader.dataset.mask_store: the mask of .*001.png is 95x112, the image 96x112'
    with pytest.raises(SAPDError, match=message):
        DATASETS.build(config if backend == 'disk' else in_lmdb(config, pairs, tmp_path))


def test_pipelines_that_masks_cannot_follow(pairs, store):
    @TRANSFORMS.register_module(force=True)
    class Swirl:
        keys = ('img', 'gt')

        def __call__(self, results):
            return results

    with pytest.raises(SAPDError, match=r"pipeline: it is unknown how Swirl moves 'gt'.*Known are .*PairedRandomCrop"):
        build(pairs, store, [{'type': 'Swirl'}])
    config = config_of(pairs, store, [])
    config['pipeline'] = config['pipeline'][:1]
    with pytest.raises(SAPDError, match=r"pipeline: has no LoadImageFromFile with key='gt'"):
        DATASETS.build(config)
    config = config_of(pairs, store, [])
    del config['pipeline'][-1]
    with pytest.raises(SAPDError, match=r'pipeline: has no PackInputs'):
        DATASETS.build(config)


def test_shuffled_masks_are_other_images_masks(pairs, store):
    plain, shuffled = (
        build(pairs, store, PIPELINES['NAFNet: flip, transpose, crop'], **c) for c in ({}, {'mask_shuffle': 1})
    )
    for own, other in zip([*samples(plain, 4)], [*samples(shuffled, 4)]):
        assert torch.equal(own['inputs'], other['inputs'])
        assert own['data_samples'].sam_mask.shape == other['data_samples'].sam_mask.shape
        assert not torch.equal(own['data_samples'].sam_mask, other['data_samples'].sam_mask)


def test_an_image_smaller_than_the_crop_is_named_before_a_worker_meets_it(pairs, store):
    crop = {'type': 'PairedRandomCrop', 'gt_patch_size': 100}
    with pytest.raises(SAPDError, match=r'gt_patch_size is 100, but .*001.png is 96x112 \(height x width\)'):
        DATASETS.build(config_of(pairs, store, [crop]))
    resized = {'type': 'Resize', 'keys': ['img', 'gt'], 'scale': 2.0}
    DATASETS.build(config_of(pairs, store, [resized, crop]))  # its size is not known before


def shrink(file: Path) -> None:
    cv2.imwrite(str(file), cv2.imread(str(file))[:-1])


def pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


@pytest.mark.parametrize('check', ['all', 0])
@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (shrink, r'rainy/002.png is 95x112 and its ground truth 96x112 \(height x width\), expected 1 times its size'),
        (pipe, r'rainy/002.png:? cannot be read .*a named pipe, expected a regular file'),
        (Path.unlink, r'rainy/002.png:? cannot be read .*No such file'),
    ],
)
def test_a_degraded_image_that_is_unlike_its_truth_is_named_before_a_worker_meets_it(
    pairs, store, tmp_path, change, message, check
):
    shutil.copytree(pairs, tmp_path / 'pairs')
    change(tmp_path / 'pairs/rainy/002.png')
    with pytest.raises(SAPDError, match=message):
        DATASETS.build(config_of(tmp_path / 'pairs', store, [*FLIPS, CROP], mask_check=check, search_key='gt'))


def test_a_step_that_fails_for_an_image_names_it(pairs, store):
    resized = {'type': 'Resize', 'keys': ['gt'], 'scale': (150, 130)}
    dataset = DATASETS.build(config_of(pairs, store, [resized, CROP]))
    with pytest.raises(
        SAPDError, match=r'pipeline: PairedRandomCrop fails for .*rainy/001.png and .*clean/001.png \(Sc'
    ):
        dataset[0]


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'filename_tmpl': {'img': '{x}'}}, r"filename_tmpl.img: found '{x}', expected text with one {}"),
        ({'data_prefix': {'img': 'absent', 'gt': 'clean'}}, r'BasicImageDataset cannot be built .*absent'),
        ({'base_dataset_type': 3}, r'base_dataset_type: found 3, expected one of'),
    ],
)
def test_mistakes_of_the_base_are_named(pairs, store, changes, message):
    with pytest.raises(SAPDError, match=message):
        DATASETS.build(config_of(pairs, store, [CROP], **changes))


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_images_that_are_kept_as_in_the_file_have_its_channels(tmp_path, channels: int) -> None:
    pairs, store = unchanged_pairs(tmp_path, [channels, channels])
    assert build(pairs, store, [CROP], **UNCHANGED).image_channels == channels


def test_images_of_several_kinds_that_are_kept_as_in_the_file_are_named(tmp_path) -> None:
    pairs, store = unchanged_pairs(tmp_path, [3, 1])
    with pytest.raises(SAPDError, match=r"'unchanged' gives .* 3 of .*0.png and 1 of .*1.png. Expected 'color'"):
        build(pairs, store, [CROP], **UNCHANGED)


UNCHANGED = {'pipeline:0:color_type': 'unchanged', 'pipeline:1:color_type': 'unchanged'}


def unchanged_pairs(folder: Path, channels: list[int]) -> tuple[Path, Path]:
    """Write pairs of PNG files with as many channels, and a store of masks for them."""
    for side in ('clean', 'rainy'):
        (folder / side).mkdir()
        for number, each in enumerate(channels):
            image = np.random.default_rng(number).integers(0, 256, (64, 64, each), np.uint8)
            cv2.imwrite(str(folder / side / f'{number}.png'), image)
    return folder, make_store(folder / 'masks', folder / 'clean')

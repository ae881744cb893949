"""GaussianNoiseDataset: the same patches and noise for stock and SAPD, masks in place, tests as published."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset

from sapd_plugin.basicsr.options import check_options
from sapd_plugin.basicsr.restorer import build_restorer
from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import (
    in_lmdb,
    parsed,
    sapd_options,
    seeded,
    stock_options,
    training_set,
    write_yaml,
)
from tests.photos import quantise, same_partition
from tests.recipes import DELETE, update

NOISE = {
    'datasets:train:type': 'GaussianNoiseDataset',
    'datasets:train:sigma': 25,
    'datasets:train:dataroot_lq': DELETE,
    'datasets:val:type': 'GaussianNoiseDataset',
    'datasets:val:sigma': 25,
    'datasets:val:dataroot_lq': DELETE,
}


@pytest.mark.parametrize('color', ['rgb', 'gray'])
@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_same_patches_and_noise_with_and_without_masks_and_masks_aligned(pairs, grey_store, tmp_path, color, backend):
    changes = in_lmdb(pairs, tmp_path) if backend == 'lmdb' else {}
    changes |= {**NOISE, 'datasets:train:color': color, 'datasets:train:sigma': [10, 50]}
    options = stock_options(pairs), sapd_options(pairs, grey_store)
    stock, sapd = (training_set(update(opt, changes), tmp_path) for opt in options)
    colour = training_set(update(stock_options(pairs), {**changes, 'datasets:train:color': 'rgb'}), tmp_path)
    for trial in range(12):
        expected, sample = (seeded(dataset, trial % 4, trial) for dataset in (stock, sapd))
        assert 'mask' not in expected
        for key in ('lq', 'gt'):
            assert torch.equal(sample[key], expected[key])
            assert sample[key].shape == (3 if color == 'rgb' else 1, 48, 48)
            assert sample[key].dtype == torch.float32
        rgb = (seeded(colour, trial % 4, trial)['gt'] * 255).round().numpy()
        if color != 'rgb':
            exact = np.tensordot([2989, 5870, 1140], rgb.astype(int), 1) / 10_000
            found = (sample['gt'][0] * 255).round().numpy()
            assert np.abs(found - exact).max() <= 0.5 + 1e-9  # of a half, either neighbour is the nearest
        assert 9 < float((sample['lq'] - sample['gt']).std() * 255) < 52
        assert sample['mask'].dtype == torch.int32
        assert same_partition(quantise(rgb.transpose(1, 2, 0)[..., ::-1]), sample['mask'][0].numpy())


@pytest.mark.parametrize('color', ['rgb', 'gray', 'grey'])
def test_validation_is_the_published_recipe(pairs, store, color):
    opt = update(sapd_options(pairs, store), {**NOISE, 'datasets:val:color': color})
    dataset = training_set(opt, pairs.parent, 'val')
    assert len(dataset) == 4
    for index in (0, 3):
        sample = dataset[index]
        rgb = cv2.imread(sample['gt_path'])[..., ::-1].astype(np.float64)
        clean = rgb if color == 'rgb' else np.round(rgb @ [0.2989, 0.5870, 0.1140])[..., None]
        clean = np.float32(clean / 255)
        np.random.seed(0)
        noisy = clean + np.random.normal(0, 25 / 255, clean.shape)
        assert np.allclose(sample['gt'].permute(1, 2, 0), clean, atol=1e-7)
        assert np.allclose(sample['lq'].permute(1, 2, 0), noisy, atol=1e-6)
    assert torch.equal(dataset[0]['lq'], dataset[0]['lq'])


def test_noise_is_new_in_each_epoch_of_a_worker(pairs, tmp_path):
    opt = parsed(update(stock_options(pairs, **{'datasets:train:num_worker_per_gpu': 1}), NOISE), tmp_path)
    dataset_opt = opt['datasets']['train']
    loader = build_dataloader(build_dataset(dataset_opt), dataset_opt, num_gpu=0, seed=0)
    noises = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        noises.append([torch.cat([batch['lq'] - batch['gt'] for batch in loader]) for _ in range(2)])
    assert torch.equal(noises[0][0], noises[1][0])
    assert torch.equal(noises[0][1], noises[1][1])
    flat = [noise.flatten() for noise in (noises[0][0], noises[0][1], noises[2][0])]
    for a, b in ((0, 1), (0, 2)):
        assert abs(float(torch.corrcoef(torch.stack([flat[a], flat[b]]))[0, 1])) < 0.05


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'datasets:train:sigma': None}, 'datasets.train.sigma: missing'),
        ({'datasets:train:sigma': 'x'}, "datasets.train.sigma: found 'x'"),
        ({'datasets:train:color': 'gry'}, "datasets.train.color: found 'gry'.*Did you mean 'gray'"),
        ({'datasets:train:mean': [0.5]}, r'datasets.train.mean: found \[0.5\]'),
        ({'datasets:train:seed': 3}, 'datasets.train.seed: .*manual_seed'),
        ({'scale': 2}, 'scale: found 2'),
        ({'datasets:train:mask_stor': 'x'}, "unknown key 'mask_stor'"),
    ],
)
def test_mistakes_are_named(pairs, store, tmp_path, change, words):
    opt = update(sapd_options(pairs, store), {**NOISE, **change})
    with pytest.raises(SAPDError, match=words):
        training_set(opt, tmp_path)


def test_sapd_asks_for_masks(pairs, store):
    opt = update(sapd_options(pairs, store), NOISE)
    check_options(opt)
    del opt['datasets']['train']['mask_store']
    with pytest.raises(SAPDError, match='datasets.train.mask_store: missing'):
        check_options(opt)


def test_a_grey_student_restores_for_mask_extraction(pairs, tmp_path):
    network = {'type': 'DnCNN', 'nc': 4, 'nb': 3, 'act_mode': 'R'}
    test = {'name': 'grey', 'type': 'GaussianNoiseDataset', 'color': 'gray', 'sigma': 25}
    opt = stock_options(pairs, network_g=network, datasets={'test': test})
    student = build_network(dict(network)).eval()
    torch.save({'params': student.state_dict()}, tmp_path / 'net_g.pth')
    restorer = build_restorer(write_yaml(opt, tmp_path / 'test.yml'), tmp_path / 'net_g.pth', 'cpu')
    image = cv2.imread(str(pairs / 'rainy/001.png'))[..., ::-1]
    grey = np.round(image @ np.array([0.2989, 0.5870, 0.1140])) / 255
    with torch.no_grad():
        expected = student(torch.from_numpy(np.float32(grey))[None, None])[0, 0].clamp(0, 1).numpy()
    restored = restorer(np.ascontiguousarray(image))
    assert restored.shape == image.shape
    assert np.abs(restored - 255 * expected[..., None]).max() <= 0.5 + 1e-3

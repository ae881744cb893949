"""Noise and grey in MMagic's pipeline: what BasicSR's data set gives, and what MMagic's own transforms do."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from mmagic.registry import DATASETS, MODELS, TRANSFORMS
from mmengine.dataset import pseudo_collate

from sapd_plugin.errors import SAPDError
from tests.adapters_mmagic.recipes import stock_config
from tests.adapters_mmagic.test_dataset import NOISE


def sample_of(pairs, order, *transforms):
    loads = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': order} for key in ('img', 'gt')]
    dataset = {**stock_config(pairs)['val_dataloader']['dataset'], 'data_prefix': {'img': 'clean', 'gt': 'clean'}}
    dataset['pipeline'] = [*loads, *transforms, {'type': 'PackInputs'}]
    return DATASETS.build(dataset)[0]


@pytest.mark.parametrize('order', ['rgb', 'bgr'])
@pytest.mark.parametrize('grey', [False, True])
def test_test_noise_is_the_published_recipe(pairs, order, grey):
    transforms = [{'type': 'MATLABGray'}] * grey + [{'type': 'GaussianNoise', 'sigma': 25, 'seed': 0}]
    sample = sample_of(pairs, order, *transforms)
    rgb = cv2.imread(str(pairs / 'clean/001.png'))[..., ::-1].astype(np.float64)
    clean = np.round(rgb @ [0.2989, 0.5870, 0.1140])[..., None] if grey else rgb
    np.random.seed(0)
    noisy = clean + np.random.normal(0, 25, clean.shape)
    gt, img = sample['data_samples'].gt_img, sample['inputs']
    step = -1 if order == 'bgr' else 1
    assert np.array_equal(gt.permute(1, 2, 0).numpy()[..., ::step], clean)
    assert np.allclose(img.permute(1, 2, 0).numpy()[..., ::step], noisy, atol=1e-4)
    assert img.min() < 0 or img.max() > 255


def test_a_grey_network_trains_and_tests_on_such_samples(pairs):
    network = {'type': 'DnCNN', 'nc': 4, 'nb': 3}
    model = stock_config(pairs)['model']
    model['data_preprocessor'].update(mean=[0.0], std=[255.0])
    model = MODELS.build({**model, 'generator': network})
    batch = [sample_of(pairs, 'rgb', {'type': 'MATLABGrey'}, {'type': 'GaussianNoise', 'sigma': [0, 50]})]
    data = model.data_preprocessor(pseudo_collate(batch), True)
    assert data['inputs'].shape == (1, 1, 96, 112)
    assert data['data_samples'].gt_img.max() <= 1
    assert model(**data, mode='loss')['loss'] > 0
    assert model.test_step(pseudo_collate(batch))[0].output.pred_img.shape == (1, 96, 112)


def test_mmagics_random_noise_is_neither_rounded_nor_clipped_and_has_no_seed(pairs):
    random_noise = TRANSFORMS.build(NOISE)
    image = np.full((64, 64, 3), 240, np.uint8)
    first, second = (random_noise({'img': image})['img'] for _ in range(2))
    assert first.max() > 255
    assert not np.array_equal(first, np.round(first))
    assert first.std() == pytest.approx(25, rel=0.05)
    assert not np.array_equal(first, second)


def test_mistakes_are_named():
    with pytest.raises(SAPDError, match="GaussianNoise.sigma: found 'a'"):
        TRANSFORMS.build({'type': 'GaussianNoise', 'sigma': 'a'})

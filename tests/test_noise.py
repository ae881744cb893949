"""Gaussian noise, apart from the frameworks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sapd_plugin.errors import SAPDError
from sapd_plugin.noise import NoiseSource


def test_test_noise_is_that_of_the_published_recipe_and_leaves_the_streams_alone():
    image = np.random.RandomState(1).randint(0, 256, (20, 30, 3)) / np.float32(255)
    before = np.random.get_state()
    np.random.seed(0)
    expected = image.astype(np.float32)
    expected += np.random.normal(0, 25 / 255, image.shape)
    np.random.set_state(before)
    torch_stream = torch.get_rng_state()
    source = NoiseSource('test', 25, seed=0)
    for _ in range(2):
        assert np.array_equal(source(image.astype(np.float32), peak=1), expected)
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert torch.equal(torch.get_rng_state(), torch_stream)
    assert np.allclose(source(image * 255, peak=255), expected * 255, atol=1e-4)


def test_training_noise_has_its_level_and_is_not_repeated():
    torch.manual_seed(0)
    image = np.full((128, 128, 3), 250, np.uint8)
    first, second = (NoiseSource('train', 25)(image, peak=255) for _ in range(2))
    assert first.dtype == np.float32
    for noisy in (first, second):
        assert noisy.std() == pytest.approx(25, rel=0.02)
        assert noisy.mean() == pytest.approx(250, abs=0.5)
        assert noisy.max() > 300
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(first[..., 0].ravel(), first[..., 1].ravel())[0, 1]) < 0.03


def test_range_of_levels_and_clipping():
    torch.manual_seed(0)
    image = np.full((48, 48, 1), 0.5, np.float32)
    source = NoiseSource('train', [10, 40])
    levels = [source(image, peak=1).std() * 255 for _ in range(200)]
    assert 9 < min(levels) < 13
    assert 37 < max(levels) < 42
    assert np.mean(levels) == pytest.approx(25, abs=2.5)
    clipped = NoiseSource('train', 200, clip=True)(image, peak=1)
    assert (clipped.min(), clipped.max()) == (0, 1)
    assert np.array_equal(NoiseSource('train', 0)(image, peak=1), image)


@pytest.mark.parametrize(
    ('settings', 'words'),
    [
        ({'sigma': -1}, 'x.sigma: found -1'),
        ({'sigma': '25'}, "x.sigma: found '25'"),
        ({'sigma': [50, 0]}, r'x.sigma: found \[50, 0\]'),
        ({'sigma': [0, 25, 50]}, 'x.sigma: found'),
        ({'sigma': True}, 'x.sigma: found True'),
        ({'sigma': float('nan')}, 'x.sigma: found nan'),
        ({'sigma': [0, 50], 'seed': 0}, 'x.sigma:.*one level'),
        ({'sigma': 25, 'seed': -1}, 'x.seed: found -1'),
        ({'sigma': 25, 'seed': 1.5}, 'x.seed: found 1.5'),
        ({'sigma': 25, 'clip': 'no'}, "x.clip: found 'no'"),
    ],
)
def test_mistakes_are_named(settings, words):
    with pytest.raises(SAPDError, match=words):
        NoiseSource('x', **settings)

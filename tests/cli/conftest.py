from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import torch

from tests.photos import make_store


@pytest.fixture(scope='session')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs of 96x112: parts of a photo in ``clean``, and with noise in ``rainy``."""
    folder = tmp_path_factory.mktemp('cli') / 'photos'
    photo, noise = skimage.data.astronaut()[..., ::-1], np.random.default_rng(0)
    for index in range(3):
        clean = photo[100 * index : 100 * index + 96, 180:292]
        rainy = np.clip(clean + noise.normal(0, 25, clean.shape), 0, 255).astype(np.uint8)
        for kind, image in (('clean', clean), ('rainy', rainy)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f'{index}.png'), image)
    return folder


@pytest.fixture(scope='session')
def masks(photos: Path) -> Path:
    return make_store(photos.parent / 'masks', photos / 'clean')


@pytest.fixture(scope='session')
def random_vgg(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG-19 up to relu3_1 in torchvision's names, with random weights."""
    generator, state = torch.Generator().manual_seed(0), {}
    for index, (inputs, outputs) in {0: (3, 64), 2: (64, 64), 5: (64, 128), 7: (128, 128), 10: (128, 256)}.items():
        state[f'features.{index}.weight'] = torch.randn(outputs, inputs, 3, 3, generator=generator) / (3 * inputs**0.5)
        state[f'features.{index}.bias'] = torch.zeros(outputs)
    path = tmp_path_factory.mktemp('vgg') / 'random.pth'
    torch.save(state, path)
    return path

"""Published checkpoints through both frameworks' own test tools, against a computation of the tests' own.

Parts of five images each, for time; the whole test sets were measured by the same commands: docs/metrics.md.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests import published
from tests.photos import ROOT, succeed

pytestmark = pytest.mark.slow

COUNT = 5
PART = slice(60, 221), slice(80, 281)  # odd sizes, which FFDNet pads
CONFIGS = {
    'prenet': ('derain/prenet_rain100l_test', 'prenet/rain100l_PReNet6.pth'),
    'dncnn': ('denoise/dncnn_cbsd68_grey_sigma25_test', 'dncnn_gray_sigma25.pth'),
    'ffdnet': ('denoise/ffdnet_cbsd68_colour_sigma25_test', 'ffdnet_color.pth'),
}


@pytest.fixture(scope='module')
def images(calibration_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Parts of the first images of each set, in the layout that the configs read."""
    root = tmp_path_factory.mktemp('calibration')
    places = {
        'Rain100L/test/input': 'rain100l/rainy',
        'Rain100L/test/target': 'rain100l/clean',
        'CBSD68/test/target': 'cbsd68',
    }
    for place, source in places.items():
        folder = root / 'datasets' / place
        folder.mkdir(parents=True)
        for path in sorted((calibration_data / source).glob('*.png'))[:COUNT]:
            cv2.imwrite(str(folder / path.name), cv2.imread(str(path))[PART])
    return root


@pytest.fixture(scope='module')
def weights(calibration_data: Path) -> Path:
    return calibration_data / 'weights'


def load(weights: Path, name: str) -> published.State:
    return torch.load(weights / CONFIGS[name][1], map_location='cpu', weights_only=True)


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def prenet(images: Path, weights: Path) -> dict[str, float]:
    state, data, rows = load(weights, 'prenet'), images / 'datasets', []
    for path in sorted((data / 'Rain100L/test/input').iterdir()):
        clean = published.read(data / 'Rain100L/test/target' / path.name)
        exact = published.restored(published.prenet, state, published.read(path) / 255)
        floored, rounded = np.floor(exact), np.round(exact)
        y, truth = published.luma(floored), published.luma(clean)
        rows.append(
            {
                'y': published.psnr(y, truth),
                'ssim y': published.ssim(y, truth),
                'y_rounded': published.psnr(np.round(y), np.round(truth)),
                'rgb': published.psnr(floored, clean),
                'y/round': published.psnr(published.luma(rounded), truth),
            }
        )
    return means(rows)


def denoised(name: str, images: Path, weights: Path) -> dict[str, float]:
    network = {'dncnn': published.dncnn, 'ffdnet': published.ffdnet}[name]
    state, rows = load(weights, name), []
    for path in sorted((images / 'datasets/CBSD68/test/target').iterdir()):
        clean = published.read(path)
        clean = published.grey(clean) if name == 'dncnn' else clean
        exact = published.restored(network, state, published.noisy(clean))
        rounded = np.round(exact)
        channels = [published.ssim(rounded[..., c : c + 1], clean[..., c : c + 1]) for c in range(clean.shape[2])]
        rows.append(
            {
                'round': published.psnr(rounded, clean),
                'none': published.psnr(exact, clean),
                'ssim': float(np.mean(channels)),
            }
        )
    return means(rows)


def basicsr(name: str, images: Path, weights: Path) -> dict[str, float]:
    config, file = CONFIGS[name]
    force = [f'path:pretrain_network_g={weights / file}', 'num_gpu=0', 'val:save_img=false']
    command = [str(ROOT / 'tools/basicsr_test.py'), '-opt', str(ROOT / f'configs/basicsr/{config}.yml')]
    printed = succeed([*command, '--force_yml', *force], images)
    return {key: float(value) for key, value in re.findall(r'# (\w+): ([\d.]+)', printed)}


def mmagic(name: str, images: Path, weights: Path) -> dict[str, float]:
    config, file = CONFIGS[name]
    command = [str(ROOT / 'tools/mmagic_test.py'), str(ROOT / f'configs/mmagic/{config}.py'), str(weights / file)]
    out = images / f'{name}.json'
    succeed([*command, '--out', str(out), '--work-dir', str(images / name)], images)
    return json.loads(out.read_text())


PSNR, SSIM = {'abs': 1e-3}, {'abs': 1e-4}  # BasicSR prints four digits


def check(found, expected, tolerance):
    assert {key: found[key] for key in expected} == pytest.approx(expected, **tolerance)


def test_prenet(images, weights):
    known, found = prenet(images, weights), basicsr('prenet', images, weights)
    names = {'psnr': 'y', 'psnr_y_rounded': 'y_rounded', 'psnr_rgb': 'rgb'}
    check(found, {name: known[key] for name, key in names.items()}, PSNR)
    check(found, {'ssim': known['ssim y']}, SSIM)
    found = mmagic('prenet', images, weights)
    names = {'y/floor': 'y', 'y_rounded/floor': 'y_rounded', 'rgb/floor': 'rgb', 'y/round': 'y/round'}
    check(found, {f'{name}/PSNR': known[key] for name, key in names.items()}, PSNR)
    check(found, {'y/floor/SSIM': known['ssim y']}, SSIM)
    assert abs(known['y/round'] - known['y']) > 10 * PSNR['abs']


@pytest.mark.parametrize(('name', 'protocol'), [('dncnn', 'gray'), ('ffdnet', 'rgb')])
def test_denoisers(images, weights, name, protocol):
    known, found = denoised(name, images, weights), basicsr(name, images, weights)
    check(found, {'psnr': known['round']}, PSNR)
    check(found, {'ssim': known['ssim']}, SSIM)
    found = mmagic(name, images, weights)
    check(found, {f'{protocol}/{q}/PSNR': known[q] for q in ('round', 'none')}, PSNR)
    check(found, {f'{protocol}/round/SSIM': known['ssim']}, SSIM)

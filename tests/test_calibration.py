"""Published checkpoints through both frameworks' own test tools, against a computation of the tests' own.

Parts of five images each, for time; the whole test sets were measured by the same commands: docs/metrics.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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


def means(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}


def prenet(state: published.State, data: Path) -> dict[str, float]:
    rows = []
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


def denoised(network: Callable, convert: Callable, state: published.State, data: Path) -> dict[str, float]:
    rows = []
    for path in sorted((data / 'CBSD68/test/target').iterdir()):
        clean = convert(published.read(path))
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


@pytest.fixture(scope='module')
def expected(images: Path, calibration_data: Path) -> dict[str, dict[str, float]]:
    states = {
        name: torch.load(calibration_data / 'weights' / file, map_location='cpu', weights_only=True)
        for name, (_, file) in CONFIGS.items()
    }
    data = images / 'datasets'
    return {
        'prenet': prenet(states['prenet'], data),
        'dncnn': denoised(published.dncnn, published.grey, states['dncnn'], data),
        'ffdnet': denoised(published.ffdnet, lambda rgb: rgb, states['ffdnet'], data),
    }


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


@pytest.fixture(scope='module')
def measured(images: Path, calibration_data: Path) -> dict[tuple[str, str], dict[str, float]]:
    """What the test tools print, two processes at a time."""
    weights = calibration_data / 'weights'
    with ThreadPoolExecutor(2) as pool:
        jobs = {(tool.__name__, name): pool.submit(tool, name, images, weights) for name in CONFIGS for tool in TOOLS}
    return {key: job.result() for key, job in jobs.items()}


TOOLS = basicsr, mmagic
PSNR, SSIM = {'abs': 1e-3}, {'abs': 1e-4}  # BasicSR prints four digits


def check(found, expected, tolerance):
    assert {key: found[key] for key in expected} == pytest.approx(expected, **tolerance)


def test_prenet(measured, expected):
    known = expected['prenet']
    names = {'psnr': 'y', 'psnr_y_rounded': 'y_rounded', 'psnr_rgb': 'rgb'}
    check(measured['basicsr', 'prenet'], {name: known[key] for name, key in names.items()}, PSNR)
    check(measured['basicsr', 'prenet'], {'ssim': known['ssim y']}, SSIM)
    names = {'y/floor': 'y', 'y_rounded/floor': 'y_rounded', 'rgb/floor': 'rgb', 'y/round': 'y/round'}
    check(measured['mmagic', 'prenet'], {f'{name}/PSNR': known[key] for name, key in names.items()}, PSNR)
    check(measured['mmagic', 'prenet'], {'y/floor/SSIM': known['ssim y']}, SSIM)
    assert abs(known['y/round'] - known['y']) > 10 * PSNR['abs']


@pytest.mark.parametrize(('name', 'protocol'), [('dncnn', 'gray'), ('ffdnet', 'rgb')])
def test_denoisers(measured, expected, name, protocol):
    known = expected[name]
    check(measured['basicsr', name], {'psnr': known['round']}, PSNR)
    check(measured['basicsr', name], {'ssim': known['ssim']}, SSIM)
    check(measured['mmagic', name], {f'{protocol}/{q}/PSNR': known[q] for q in ('round', 'none')}, PSNR)
    check(measured['mmagic', name], {f'{protocol}/round/SSIM': known['ssim']}, SSIM)

"""Synthetic pairs: deterministic, with every parameter on record, and rain like Rain100L's."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapd_plugin.cli import prepare_dataset
from sapd_plugin.datasets.synthetic.blur import PRESETS as BLUR
from sapd_plugin.datasets.synthetic.blur import Blur, BlurSettings, read_kernels, shake_kernel
from sapd_plugin.datasets.synthetic.job import render, streams
from sapd_plugin.datasets.synthetic.noise import Noise, NoiseSettings
from sapd_plugin.datasets.synthetic.rain import PRESETS as RAIN
from sapd_plugin.datasets.synthetic.rain import Rain, RainSettings
from sapd_plugin.metrics import protocol_psnr
from sapd_plugin.priors.extraction.images import read_image
from tests.oriented import turned
from tests.photos import photographs

DEGRADATIONS = {'rain': (Rain, RainSettings), 'noise': (Noise, NoiseSettings), 'blur': (Blur, BlurSettings)}


@pytest.fixture(scope='module')
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four JPEG photos and one PNG."""
    folder = tmp_path_factory.mktemp('photos')
    names = ('001.jpg', '002.jpg', '003.jpg', '004.jpg', 'b.png')
    for name, photo in zip(names, photographs().values()):
        cv2.imwrite(str(folder / name), photo[..., ::-1])
    return folder


@pytest.fixture(scope='module')
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight kernels as pictures, kernel1.png to kernel8.png, none of them its own mirror image."""
    folder = tmp_path_factory.mktemp('kernels')
    for number in range(1, 9):
        kernel = shake_kernel(**Blur(BLUR['shake']).draw(np.random.default_rng(number))['kernel'])
        cv2.imwrite(str(folder / f'kernel{number}.png'), (255 * kernel / kernel.max()).round().astype(np.uint8))
    return folder


def make(photos: Path, output: Path, kind: str, *more: str) -> Path:
    command = ['--synthetic', kind, '--source', str(photos), '--output', str(output), '--name', 'made', *more]
    assert prepare_dataset.main(command) == 0
    return output / 'made/train'


def contents(folder: Path) -> dict[str, bytes]:
    return {f'{p.parent.name}/{p.name}': p.read_bytes() for p in folder.glob('*/*.png')}


@pytest.mark.parametrize('kind', list(DEGRADATIONS))
def test_an_image_is_made_again_from_its_record(kind: str, photos: Path, tmp_path: Path) -> None:
    folder = make(photos, tmp_path, kind)
    record = json.loads((folder / 'parameters.json').read_text())
    build, settings = DEGRADATIONS[kind]
    degradation = build(settings(**{key: tuple(value) for key, value in record['settings'].items()}))
    assert len(record['images']) == 5
    for name, parameters in record['images'].items():
        photo = read_image(photos / parameters['photo'])
        assert np.array_equal(read_image(folder / 'target' / f'{name}.png'), photo)
        again = render(degradation, photo, parameters)
        assert np.array_equal(read_image(folder / 'input' / f'{name}.png'), again)
        assert not np.array_equal(again, photo)
    with (folder / 'parameters.csv').open() as file:
        rows = {row['name']: row for row in csv.DictReader(file)}
    first = next(iter(record['images']))
    assert int(rows[first]['pixel_seed']) == record['images'][first]['pixel_seed']
    column, value = {
        'rain': ('layers.0.angle', lambda images: images['layers'][0]['angle']),
        'noise': ('sigma', lambda images: images['sigma']),
        'blur': ('kernel.extent', lambda images: images['kernel']['extent']),
    }[kind]
    assert float(rows[first][column]) == value(record['images'][first])


def test_one_photo_more_changes_no_other_and_a_seed_changes_all(photos: Path, tmp_path: Path) -> None:
    few = tmp_path / 'few'
    few.mkdir()
    for path in sorted(photos.iterdir())[:3]:
        (few / path.name).symlink_to(path.resolve())
    first = contents(make(few, tmp_path / 'a', 'rain', '--workers', '1'))
    for path in sorted(photos.iterdir())[3:]:
        (few / path.name).symlink_to(path.resolve())
    grown = contents(make(few, tmp_path / 'a', 'rain', '--workers', '3'))
    assert len(first) == 6
    assert len(grown) == 10
    assert first == {name: grown[name] for name in first}
    assert grown == contents(make(photos, tmp_path / 'b', 'rain'))
    other = contents(make(photos, tmp_path / 'c', 'rain', '--seed', '1'))
    assert all((grown[name] == other[name]) == name.startswith('target') for name in grown)


def test_another_draw_of_a_photo_is_another_pair(photos: Path, tmp_path: Path) -> None:
    folder = make(photos, tmp_path, 'noise', '--set', 'sigma=5,60', '--draws', '2')
    record = json.loads((folder / 'parameters.json').read_text())['images']
    assert len(record) == 10
    sigmas = [parameters['sigma'] for parameters in record.values()]
    assert len(set(sigmas)) == 10
    assert 5 <= min(sigmas) < max(sigmas) <= 60
    assert (folder / 'target/b_d1.png').read_bytes() == (folder / 'target/b_d2.png').read_bytes()
    assert (folder / 'input/b_d1.png').read_bytes() != (folder / 'input/b_d2.png').read_bytes()


def test_other_settings_in_a_folder_begun_are_refused(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    make(photos, tmp_path, 'noise')
    command = ['--synthetic', 'noise', '--source', str(photos), '--output', str(tmp_path), '--name', 'made']
    assert prepare_dataset.main([*command, '--set', 'sigma=50']) == 2
    assert "settings: found {'sigma': [15, 15]}, expected {'sigma': [50.0, 50.0]}" in capsys.readouterr().err


def test_the_noise_has_its_sigma() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = Noise(NoiseSettings((25, 25))).render(grey, {'sigma': 25.0}, np.random.default_rng(0)).astype(float)
    # Of 120,000 samples: three standard errors.
    assert noisy.mean() == pytest.approx(128, abs=3 * 25 / np.sqrt(120_000))
    assert noisy.std() == pytest.approx(25, abs=3 * 25 / np.sqrt(240_000))


@pytest.mark.parametrize(
    ('preset', 'mean', 'spread', 'count'), [('light', 26.90, 3.86, 30), ('heavy', 13.56, None, 12)]
)
def test_rain_is_as_strong_as_rain100s(
    preset: str, mean: float, spread: float | None, count: int, calibration_data: Path
) -> None:
    """PSNR of the rainy images on Y, within three standard errors of Rain100L's (shared) and Rain100H's (published)."""
    rain, values = Rain(RAIN[preset]), []
    for path in sorted((calibration_data / 'rain100l/clean').glob('*.png'))[:count]:
        random, seed = streams(0, 'rain', path.stem, 0)
        clean = read_image(path)
        rainy = render(rain, clean, {**rain.draw(random), 'pixel_seed': seed})
        assert (rainy >= clean).all()
        values.append(protocol_psnr(rainy, clean, 'y'))
    assert np.mean(values) == pytest.approx(mean, abs=3 * np.std(values) / np.sqrt(count))
    if spread is not None:
        assert np.std(values) == pytest.approx(spread, abs=3 * spread / np.sqrt(2 * count))


def test_streaks_run_at_their_layers_angle() -> None:
    """The structure tensor's direction of the streaks, on black."""
    layer = {'spread': 0.0, 'density': 15.0, 'length': 40.0, 'width': 0.8, 'brightness': 80.0}
    rain = Rain(RAIN['light'])
    for angle in (-25.0, 0.0, 40.0):
        parameters = {'layers': [{**layer, 'angle': angle}]}
        streaks = rain.render(np.zeros((300, 300, 3), np.uint8), parameters, np.random.default_rng(0))[..., 0]
        dx, dy = (cv2.Sobel(streaks.astype(float), cv2.CV_64F, *order) for order in ((1, 0), (0, 1)))
        across = 0.5 * np.degrees(np.arctan2(2 * (dx * dy).mean(), (dx * dx - dy * dy).mean()))
        # The gradient is across a streak: positive angles lean to the right at the lower end.
        assert -across == pytest.approx(angle, abs=2)


def test_shake_kernels_are_kernels() -> None:
    blur = Blur(BLUR['shake'])
    random = np.random.default_rng(0)
    sizes = set()
    for _ in range(40):
        parameters = blur.draw(random)['kernel']
        kernel = shake_kernel(**parameters)
        sizes.add(parameters['size'])
        assert kernel.shape == (parameters['size'],) * 2
        assert kernel.min() >= 0
        assert kernel.sum() == pytest.approx(1)
        extent = max(np.ptp(np.nonzero(kernel)[axis]) + 1 for axis in (0, 1))
        assert 0.5 * parameters['size'] < extent <= parameters['size']
    assert min(sizes) >= 9
    assert max(sizes) <= 31
    assert len(sizes) > 6
    assert all(size % 2 for size in sizes)


@pytest.mark.parametrize('suffix', ['.png', '.jpg'])
def test_sub_images_of_turned_photos_hold_all_their_rows(suffix: str, tmp_path: Path) -> None:
    photo = photographs()['001'][:100, :150, ::-1]
    (tmp_path / 'photos').mkdir()
    for orientation in range(1, 9):
        for late in (False, True):
            data = turned(cv2.imencode(suffix, photo)[1].tobytes(), orientation, late)
            (tmp_path / 'photos' / f'{orientation}{"late" * late}{suffix}').write_bytes(data)
    folder = make(tmp_path / 'photos', tmp_path, 'noise', '--crop-size', '64', '--step', '64')
    lines = [line.split() for line in (folder / 'meta_info.txt').read_text().splitlines()]
    assert len(lines) == 16
    for name, shape in lines:
        whole = read_image(folder / 'target' / name)
        expected = (150, 100) if int(name[0]) >= 5 else (100, 150)
        assert whole.shape == (*expected, 3)
        assert shape == '({},{},3)'.format(*expected)
        rows, columns = ([0, 64, 86], [0, 36]) if expected == (150, 100) else ([0, 36], [0, 64, 86])
        parts = [read_image(path) for path in sorted((folder / 'target_sub').glob(f'{Path(name).stem}_s*'))]
        windows = [whole[top : top + 64, left : left + 64] for top in rows for left in columns]
        assert len(parts) == len(windows)
        assert all(np.array_equal(part, window) for part, window in zip(parts, windows))
    assert (folder / 'meta_info_sub.txt').read_text().count('(64,64,3)\n') == 16 * 6


def test_blur_takes_kernels_from_pictures_and_shifts_as_they_do(kernels: Path, photos: Path, tmp_path: Path) -> None:
    read = read_kernels(kernels)
    assert sorted(read) == [f'kernel{number}' for number in range(1, 9)]
    # A bright point becomes the kernel itself, not its mirror image.
    point, kernel = np.zeros((61, 61, 3), np.uint8), read['kernel4']
    point[30, 30] = 255
    blur = Blur(BLUR['shake'], read)
    spread = blur.render(point, {'kernel': 'kernel4', 'sigma': 0.0}, np.random.default_rng(0))[..., 0]
    reach = len(kernel) // 2
    found = spread[30 - reach : 31 + reach, 30 - reach : 31 + reach]
    assert np.array_equal(found, (255 * kernel).round())
    assert not np.array_equal(found, found[::-1, ::-1])
    folder = make(photos, tmp_path, 'blur', '--kernels', str(kernels), '--set', 'sigma=0')
    record = json.loads((folder / 'parameters.json').read_text())
    for name, parameters in record['images'].items():
        photo = read_image(photos / parameters['photo'])
        again = render(blur, photo, parameters)
        assert np.array_equal(read_image(folder / 'input' / f'{name}.png'), again)


def test_a_share_of_the_photos_takes_a_kernel(
    kernels: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = ['--kernels', str(kernels)]
    folder = make(photos, tmp_path / 'half', 'blur', *given, '--kernel-share', '0.5', '--seed', '1')
    record = json.loads((folder / 'parameters.json').read_text())
    assert record['kernel_share'] == 0.5
    kinds = {type(parameters['kernel']) for parameters in record['images'].values()}
    assert kinds == {str, dict}
    command = ['--synthetic', 'blur', '--source', str(photos), '--output', str(tmp_path / 'half'), '--name', 'made']
    assert prepare_dataset.main([*command, *given, '--seed', '1']) == 2
    assert 'kernel_share: found 0.5, expected 1' in capsys.readouterr().err
    assert prepare_dataset.main([*command, '--kernel-share', '0.5']) == 2
    assert '--kernel-share: expected with --kernels' in capsys.readouterr().err
    whole = json.loads((make(photos, tmp_path / 'whole', 'blur', *given) / 'parameters.json').read_text())
    assert 'kernel_share' not in whole


def test_where_all_take_a_kernel_the_draws_are_as_they_always_were(kernels: Path) -> None:
    """Recorded before there were shares."""
    blur = Blur(BLUR['shake'], read_kernels(kernels))
    drawn = [blur.draw(streams(0, 'blur', name, 0)[0]) for name in ('002', '100007', '100039', '100080')]
    assert [parameters['kernel'] for parameters in drawn] == ['kernel7', 'kernel7', 'kernel4', 'kernel8']

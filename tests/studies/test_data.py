"""The data of the study, made from a handful of photos: what is made, and that it is the same after an interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat
from skimage import data

from sapd_plugin.basicsr.dataset import PairedImageMaskDataset
from sapd_plugin.datasets.synthetic.blur import read_kernels
from sapd_plugin.datasets.synthetic.job import render
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlap import segmentation_covering
from sapd_plugin.priors.store import MaskStore
from studies.sam_priors import prepare_data
from studies.sam_priors.data.levin import align, find_shakes, overlap, study_kernels
from studies.sam_priors.data.sets import study_blur

SHIFT = (2, -3)
PARTS = (9, 3, 2)  # segments of three annotators' drawings; the second covers the others best
FOLDERS = {'--photos': 'train_photos', '--rain100l': 'rain100l', '--cbsd68': 'cbsd68', '--levin': 'levin_deblur'}


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


def walk(seed: int) -> np.ndarray:
    """Return a kernel without symmetry, (15,15) uint8."""
    random, kernel, place = np.random.default_rng(seed), np.zeros((15, 15)), np.array([2, 3])
    for _ in range(60):
        kernel[tuple(place)] += 1
        place = np.clip(place + random.choice([-1, 0, 1, 1], 2), 0, 14)
    return np.rint(255 * kernel / kernel.max()).astype(np.uint8)


@pytest.fixture(scope='module')
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six photos to train on, three rainy pairs of two scenes, two photos of CBSD68, two shakes, three segmentations."""
    folder, photo, grey = tmp_path_factory.mktemp('sources'), data.astronaut()[..., ::-1], data.camera()
    for number in range(6):
        write(folder / f'train_photos/{number}.jpg', photo[32 * number :][:72, 40:136])
    for name, left in (('001', 0), ('003', 120), ('004', 120)):
        clean = photo[120:192, left : left + 96]
        write(folder / f'rain100l/clean/{name}.png', clean)
        write(folder / f'rain100l/rainy/{name}.png', cv2.add(clean, np.full_like(clean, 9)))
    for name, left in (('101085', 0), ('101087', 256)):
        write(folder / f'cbsd68/{name}.png', photo[:256, left : left + 256])
    down, right = SHIFT
    write(folder / 'levin_deblur/sharp/im2.png', grey[100:300, 100:300])
    for number, rotated in ((4, False), (6, True)):
        kernel = walk(number)
        write(folder / f'levin_deblur/kernels/kernel{number}.png', np.rot90(kernel, 2) if rotated else kernel)
        middle = np.argwhere(kernel).mean(axis=0)  # only to know that the kernels are not centred
        assert abs(middle - 7).max() > 0.5
        blurred = cv2.filter2D(grey.astype(float), -1, kernel[::-1, ::-1] / kernel.sum())
        mass = [round(float(7 - (axis * kernel).sum() / kernel.sum())) for axis in np.indices(kernel.shape)]
        top, left = 100 - down - mass[0], 100 - right - mass[1]
        write(folder / f'levin_deblur/blurred/im2_kernel{number}.png', blurred[top : top + 200, left : left + 200])
    rows = [
        'set,image,bsds_id',
        'rain100l,001.png,7',
        'rain100l,003.png,8',
        'rain100l,004.png,8',
        'cbsd68,101085.png,9',
    ]
    (folder / 'segmentations').mkdir()
    (folder / 'segmentations/index.csv').write_text('\n'.join(rows) + '\n')
    for number, (height, width) in (('7', (72, 96)), ('8', (72, 96)), ('9', (256, 256))):
        drawn = np.empty((1, 3), dtype=object)
        for i, parts in enumerate(PARTS):
            drawn[0, i] = {'Segmentation': np.tile(np.arange(width) * parts // width, (height, 1)).astype(np.uint16)}
        savemat(folder / f'segmentations/{number}.mat', {'groundTruth': drawn})
    return folder


def prepare(sources: Path, output: Path, *more: str) -> int:
    places = [part for option, place in FOLDERS.items() for part in (option, str(sources / place))]
    return prepare_data.main([*places, '--output', str(output), '--workers', '1', '--any-count', *more])


@pytest.fixture(scope='module')
def made(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('made')
    assert prepare(sources, output, '--segmentations', str(sources / 'segmentations')) == 0
    return output


def names(folder: Path) -> list[str]:
    inputs = sorted(path.stem for path in (folder / 'input').iterdir())
    assert inputs == sorted(path.stem for path in (folder / 'target').iterdir())
    return inputs


def test_all_sets_are_made_and_each_photo_once(made, sources):
    for name in ('MiniRain', 'MiniNoise', 'MiniBlur'):
        assert names(made / name / 'val') == ['4']
        assert names(made / name / 'train') == ['0', '1', '2', '3', '5']
    for name in ('CBSD68_sigma25', 'CBSD68_sigma50', 'CBSD68_blur', 'CBSD68_rain'):
        assert names(made / name / 'test') == ['101085', '101087']
    assert names(made / 'Rain100L/test') == ['001', '003', '004']
    assert (made / 'Rain100L/test/input/001.png').resolve() == (sources / 'rain100l/rainy/001.png').resolve()
    assert names(made / 'MiniHuman/train') == ['7', '8', '9']  # 003 and 004 are one photo
    for sigma in (25, 50):
        noisy, clean = (
            read_image(made / f'CBSD68_sigma{sigma}/test/{side}/101085.png') for side in ('input', 'target')
        )
        inner = (clean > 100) & (clean < 156)
        assert (noisy.astype(float) - clean)[inner].std() == pytest.approx(sigma, rel=0.03)


def test_the_same_command_does_nothing_and_after_a_loss_the_same(made, sources, tmp_path, capsys):
    output = shutil.copytree(made, tmp_path / 'copy', symlinks=True)
    files = {path: path.read_bytes() for path in output.rglob('*.[pb][nm][gp]')}
    for folder in ('MiniBlur/train/input', 'Levin/test/target', 'kernels/Levin'):
        sorted((output / folder).glob('*.[pb][nm][gp]'))[0].unlink()
    assert prepare(sources, output, '--segmentations', str(sources / 'segmentations')) == 0
    assert {path: path.read_bytes() for path in output.rglob('*.[pb][nm][gp]')} == files
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith('to do')]
    todo = {line.split(':')[0]: line.rsplit(':', 1)[1].split()[0] for line in lines}
    assert todo == {'kernels/Levin': '1', 'MiniBlur/train': '1', 'Levin/test': '1', 'masks/MiniHuman_people': '0'}


def test_blurred_images_are_made_again_from_their_recorded_parameters(made):
    record = json.loads((made / 'MiniBlur/train/parameters.json').read_text())
    assert record['kernel_share'] == 0.5
    blur = study_blur(read_kernels(made / 'kernels/Levin'))
    for name, parameters in record['images'].items():
        target = read_image(made / f'MiniBlur/train/target/{name}.bmp')
        assert np.array_equal(render(blur, target, parameters), read_image(made / f'MiniBlur/train/input/{name}.bmp'))


def test_half_of_the_photos_take_a_kernel(made):
    blur = study_blur(read_kernels(made / 'kernels/Levin'))
    drawn = [blur.draw(np.random.default_rng(seed))['kernel'] for seed in range(400)]
    named = [kernel for kernel in drawn if isinstance(kernel, str)]
    assert len(named) == pytest.approx(200, abs=30)  # three standard errors
    assert set(named) == {'kernel4', 'kernel6'}
    sizes = {kernel['size'] for kernel in drawn if not isinstance(kernel, str)}
    assert (min(sizes), max(sizes)) == (9, 25)


def test_kernels_are_rotated_as_the_photos_require_and_photos_aligned(made, sources):
    folder = sources / 'levin_deblur'
    shakes, stored = find_shakes(folder, True), read_kernels(folder / 'kernels')
    kernels = study_kernels(folder, shakes)
    for name, kernel in kernels.items():
        wanted = stored[name] if name == 'kernel4' else stored[name][::-1, ::-1]
        assert cv2.matchTemplate(np.float32(kernel), np.float32(wanted), cv2.TM_CCOEFF_NORMED).max() > 0.999
        middle = (kernel.shape[0] - 1) / 2
        assert all(abs((axis * kernel).sum() - middle) <= 0.5 for axis in np.indices(kernel.shape))
    record = json.loads((made / 'Levin/test/parameters.json').read_text())['images']
    for name, shake in shakes.items():
        found = align(shake, kernels[shake.kernel])
        assert found.shift == tuple(record[name]['shift']) == SHIFT
        assert found.correlation > 0.999
        photo, sharp = overlap(shake, found.shift)
        assert photo.shape == sharp.shape == (198, 197, 3)
        blurred = cv2.filter2D(sharp.astype(float), -1, kernels[shake.kernel][::-1, ::-1])[20:-20, 20:-20]
        assert np.abs(photo[20:-20, 20:-20] - blurred).mean() < 1
        assert np.array_equal(read_image(made / f'Levin/test/target/{name}.png'), sharp)
        assert np.array_equal(read_image(made / f'Levin/test/input/{name}.png'), photo)


def test_the_real_kernels_are_rotated_but_for_two(calibration_data):
    folder = calibration_data / 'levin_deblur'
    shakes = find_shakes(folder, False)
    some = {name: shake for name, shake in shakes.items() if name in ('im1_kernel4', 'im1_kernel6')}
    stored = read_kernels(folder / 'kernels')
    for name, rotated in (('im1_kernel4', False), ('im1_kernel6', True)):
        kernel = stored[some[name].kernel]
        right, wrong = (kernel[::-1, ::-1], kernel) if rotated else (kernel, kernel[::-1, ::-1])
        assert align(some[name], right).correlation > 0.99 > 0.985 > align(some[name], wrong).correlation


def test_masks_are_the_segmentation_that_agrees_most(made):
    store = MaskStore(made / 'masks/MiniHuman_people')
    assert store.keys() == ['7', '8', '9']
    labels = store.record('9').labels()
    drawn = [np.tile(np.arange(256) * parts // 256, (256, 1)) + 1 for parts in PARTS]
    scores = [np.mean([segmentation_covering(own, other) for other in drawn if other is not own]) for own in drawn]
    assert np.argmax(scores) == 1
    chosen = drawn[1]
    assert segmentation_covering(labels, chosen) == segmentation_covering(chosen, labels) == 1
    assert (labels > 0).all()


def test_basicsr_trains_on_the_pairs_and_masks(made):
    folder, store = made / 'MiniHuman/train', made / 'masks/MiniHuman_people'
    options = {'phase': 'train', 'io_backend': {'type': 'disk'}, 'scale': 1, 'use_hflip': True, 'use_rot': True}
    options |= {'dataroot_gt': str(folder / 'target'), 'dataroot_lq': str(folder / 'input'), 'gt_size': 64}
    dataset = PairedImageMaskDataset({**options, 'mask_store': str(store)})
    sample = dataset[0]
    assert len(dataset) == 3
    assert sample['mask'].shape == (1, 64, 64)
    assert sample['mask'].min() >= 1
    assert (sample['lq'] >= sample['gt']).all()  # rain adds light


def test_mistakes_are_named_before_anything_is_made(sources, tmp_path, capsys):
    command = [part for option, place in FOLDERS.items() for part in (option, str(sources / place))]
    assert prepare_data.main([*command, '--output', str(tmp_path / 'out')]) == 2
    assert 'found 6 images in' in capsys.readouterr().err
    assert prepare(sources, tmp_path / 'out', '--segmentations', str(sources)) == 2
    assert '--segmentations: found no file' in capsys.readouterr().err
    assert prepare(sources, tmp_path / 'out', '--photos', str(sources / 'cbsd68')) == 2
    assert 'which is in --cbsd68, too' in capsys.readouterr().err
    (tmp_path / 'levin/blurred').mkdir(parents=True)
    with pytest.raises(SAPDError, match='found no file in'):
        find_shakes(tmp_path / 'levin', True)
    assert not (tmp_path / 'out').exists()


def test_without_segmentations_that_part_is_left_out(sources, tmp_path, capsys):
    assert prepare(sources, tmp_path) == 0
    assert 'MiniHuman: left out' in capsys.readouterr().out
    assert not (tmp_path / 'MiniHuman').exists()

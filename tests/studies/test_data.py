"""The data of the controlled study, made of a handful of real photos."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from sapd_plugin.datasets.synthetic.blur import read_kernels
from sapd_plugin.datasets.synthetic.job import render
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlap import segmentation_covering
from sapd_plugin.priors.store import MaskStore
from studies.sam_priors import prepare_data as prepare_study
from studies.sam_priors.data.levin import align, find_shakes, overlap, study_kernels
from studies.sam_priors.data.photos import list_photos, split_photos
from studies.sam_priors.data.sets import study_blur

pytestmark = pytest.mark.slow  # the sets are made twice


@pytest.fixture(scope='module')
def sources(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Links to some photos of each kind: six to train on, three rainy ones of two scenes, two of CBSD68."""
    folder = tmp_path_factory.mktemp('sources')
    chosen = [f'train_photos/{path.name}' for path in sorted((shared_data / 'train_photos').glob('*.jpg'))[:6]]
    chosen += [f'rain100l/{kind}/{name}.png' for kind in ('rainy', 'clean') for name in ('001', '003', '004')]
    chosen += ['cbsd68/101085.png', 'cbsd68/101087.png', 'levin_deblur/sharp/im2.png']
    chosen += [f'levin_deblur/blurred/im2_kernel{number}.png' for number in (4, 6)]
    chosen += [f'levin_deblur/kernels/kernel{number}.png' for number in (4, 6)]
    for name in chosen:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).symlink_to(shared_data / name)
    return folder


def prepare(sources: Path, output: Path, *more: str) -> int:
    places = {'--photos': 'train_photos', '--rain100l': 'rain100l', '--cbsd68': 'cbsd68', '--levin': 'levin_deblur'}
    command = [part for option, place in places.items() for part in (option, str(sources / place))]
    return prepare_study.main([*command, '--output', str(output), '--any-count', *more])


@pytest.fixture(scope='module')
def made(sources: Path, shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp('made')
    assert prepare(sources, output, '--segmentations', str(shared_data / 'segmentation_gt')) == 0
    return output


def names(folder: Path) -> list[str]:
    inputs = sorted(path.stem for path in (folder / 'input').iterdir())
    assert inputs == sorted(path.stem for path in (folder / 'target').iterdir())
    return inputs


def test_the_split_of_all_photos(shared_data: Path) -> None:
    photos = list_photos('--photos', shared_data / 'train_photos', 365)
    split = split_photos(photos)
    assert (len(split['train']), len(split['val'])) == (325, 40)
    assert not split['train'].keys() & split['val'].keys()
    order = list(photos)
    assert [order.index(name) for name in split['val']] == list(range(4, 364, 9))


def test_all_sets_are_made_and_each_photo_once(made: Path, sources: Path) -> None:
    photos = sorted(path.stem for path in (sources / 'train_photos').iterdir())
    for name in ('MiniRain', 'MiniNoise', 'MiniBlur'):
        assert names(made / name / 'val') == [photos[4]]
        assert names(made / name / 'train') == [*photos[:4], photos[5]]
    for name in ('CBSD68_sigma25', 'CBSD68_sigma50', 'CBSD68_blur', 'CBSD68_rain'):
        assert names(made / name / 'test') == ['101085', '101087']
    assert names(made / 'Rain100L/test') == ['001', '003', '004']
    assert (made / 'Rain100L/test/input/001.png').resolve() == (sources / 'rain100l/rainy/001.png').resolve()
    # 003 and 004 are one photo.
    assert names(made / 'MiniHuman/train') == ['100075', '101085', '101087', '182053']
    for sigma in (25, 50):
        noisy, clean = (
            read_image(made / f'CBSD68_sigma{sigma}/test/{side}/101085.png') for side in ('input', 'target')
        )
        inner = (clean > 100) & (clean < 156)
        assert (noisy.astype(float) - clean)[inner].std() == pytest.approx(sigma, rel=0.03)


def test_the_same_command_does_nothing_and_after_a_loss_the_same(
    made: Path, sources: Path, shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    output = shutil.copytree(made, tmp_path / 'copy', symlinks=True)
    files = {path: path.read_bytes() for path in output.rglob('*.[pb][nm][gp]')}
    lost = [output / 'MiniBlur/train/input', output / 'Levin/test/target']
    removed = [sorted(folder.iterdir())[0] for folder in lost]
    for path in removed:
        path.unlink()
    assert prepare(sources, output, '--segmentations', str(shared_data / 'segmentation_gt')) == 0
    assert {path: path.read_bytes() for path in output.rglob('*.[pb][nm][gp]')} == files
    lines = [line for line in capsys.readouterr().out.splitlines() if line.endswith('to do')]
    assert [line.split(':')[0] for line in lines] == ['MiniBlur/train', 'Levin/test', 'masks/MiniHuman_people']
    assert lines[-1].endswith('0 to do')


def test_blurred_images_are_made_again_from_what_is_on_record(made: Path) -> None:
    record = json.loads((made / 'MiniBlur/train/parameters.json').read_text())
    assert record['kernel_share'] == 0.5
    blur = study_blur(read_kernels(made / 'kernels/Levin'))
    for name, parameters in record['images'].items():
        target = read_image(made / f'MiniBlur/train/target/{name}.bmp')
        assert np.array_equal(render(blur, target, parameters), read_image(made / f'MiniBlur/train/input/{name}.bmp'))


def test_half_of_the_photos_take_a_kernel(shared_data: Path) -> None:
    blur = study_blur(read_kernels(shared_data / 'levin_deblur/kernels'))
    drawn = [blur.draw(np.random.default_rng(seed))['kernel'] for seed in range(400)]
    named = [kernel for kernel in drawn if isinstance(kernel, str)]
    # Three standard errors.
    assert len(named) == pytest.approx(200, abs=30)
    assert len(set(named)) == 8
    sizes = {kernel['size'] for kernel in drawn if not isinstance(kernel, str)}
    assert (min(sizes), max(sizes)) == (9, 25)


def test_real_photos_are_their_sharp_image_blurred_and_in_line(made: Path, shared_data: Path) -> None:
    folder = shared_data / 'levin_deblur'
    shakes = {name: shake for name, shake in find_shakes(folder, False).items() if name.endswith(('4', '6'))}
    kernels = study_kernels(folder, shakes)
    stored = read_kernels(folder / 'kernels')
    turned = {name: kernel[::-1, ::-1] for name, kernel in stored.items()}
    for name, right, wrong in (('kernel4', stored, turned), ('kernel6', turned, stored)):
        shake = shakes[f'im1_{name}']
        assert align(shake, right[name]).correlation > 0.99 > 0.985 > align(shake, wrong[name]).correlation
        middle = (kernels[name].shape[0] - 1) / 2
        assert all(abs((axis * kernels[name]).sum() - middle) <= 0.5 for axis in np.indices(kernels[name].shape))
    for name in ('im2_kernel4', 'im2_kernel6'):
        found = align(shakes[name], kernels[shakes[name].kernel])
        assert found.correlation > 0.999
        photo, sharp = overlap(shakes[name], found.shift)
        assert photo.shape == sharp.shape == (255 - abs(found.shift[0]), 255 - abs(found.shift[1]), 3)
        blurred = cv2.filter2D(sharp.astype(float), -1, kernels[shakes[name].kernel][::-1, ::-1])[30:-30, 30:-30]
        errors = {}
        for shift in [(0, 0), (1, 0), (0, 1), (-1, 0), (0, -1)]:
            errors[shift] = np.abs(np.roll(photo, shift, (0, 1))[30:-30, 30:-30] - blurred).mean()
        assert min(errors, key=errors.__getitem__) == (0, 0)
        record = json.loads((made / 'Levin/test/parameters.json').read_text())['images'][name]
        assert tuple(record['shift']) == found.shift
        assert np.array_equal(read_image(made / f'Levin/test/target/{name}.png'), sharp)


def test_masks_are_the_segmentation_that_agrees_most(made: Path, shared_data: Path) -> None:
    store = MaskStore(made / 'masks/MiniHuman_people')
    assert store.keys() == names(made / 'MiniHuman/train')
    truths = loadmat(shared_data / 'segmentation_gt/182053.mat')['groundTruth'][0]
    drawn = [truth['Segmentation'][0, 0].astype(int) for truth in truths]
    scores = [np.mean([segmentation_covering(a, b) for b in drawn if b is not a]) for a in drawn]
    labels, chosen = store.record('182053').labels(), drawn[int(np.argmax(scores))]
    assert segmentation_covering(labels, chosen) == segmentation_covering(chosen, labels) == 1
    areas = np.bincount(labels.reshape(-1))
    assert areas[0] == 0
    assert (np.diff(areas[1:]) <= 0).all()


def test_basicsr_trains_on_the_masks(made: Path) -> None:
    pytest.importorskip('basicsr')
    from sapd_plugin.basicsr.dataset import PairedImageMaskDataset

    folder = made / 'MiniHuman/train'
    options = {
        'phase': 'train',
        'io_backend': {'type': 'disk'},
        'dataroot_gt': str(folder / 'target'),
        'dataroot_lq': str(folder / 'input'),
        'gt_size': 64,
        'scale': 1,
        'use_hflip': True,
        'use_rot': True,
        'mask_store': str(made / 'masks/MiniHuman_people'),
    }
    dataset = PairedImageMaskDataset(options)
    sample = dataset[0]
    assert len(dataset) == 4
    assert sample['mask'].shape == (1, 64, 64)
    assert sample['mask'].min() >= 1
    assert (sample['lq'] >= sample['gt']).all()  # rain adds light


def test_without_segmentations_that_part_is_left_out(
    sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert prepare(sources, tmp_path) == 0
    assert 'MiniHuman: left out' in capsys.readouterr().out
    assert not (tmp_path / 'MiniHuman').exists()


def test_mistakes_are_named(sources: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ['--photos', 'train_photos', '--rain100l', 'rain100l', '--cbsd68', 'cbsd68', '--levin', 'levin_deblur']
    command = [part if part.startswith('--') else str(sources / part) for part in command]
    assert prepare_study.main([*command, '--output', str(tmp_path / 'out')]) == 2
    assert 'found 6 images in' in capsys.readouterr().err
    assert prepare(sources, tmp_path / 'out', '--segmentations', str(sources)) == 2
    assert 'index.csv, expected an index' in capsys.readouterr().err
    assert prepare(sources, tmp_path / 'out', '--photos', str(sources / 'cbsd68')) == 2
    assert 'which is in --cbsd68, too' in capsys.readouterr().err
    (tmp_path / 'levin/blurred').mkdir(parents=True)
    with pytest.raises(SAPDError, match='found no file in'):
        find_shakes(tmp_path / 'levin', True)
    assert not (tmp_path / 'out').exists()

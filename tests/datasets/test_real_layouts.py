"""Layouts written by hand, as the authors' downloads have them, with their full-size counts where these are small."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sapd_plugin.cli import prepare_dataset
from tests.datasets import stand_ins
from tests.datasets.stand_ins import write


def prepare(tmp_path: Path, *command: str) -> Path:
    arguments = [*command, '--source', str(tmp_path / 'source'), '--output', str(tmp_path / 'datasets')]
    assert prepare_dataset.main(arguments) == 0
    return tmp_path / 'datasets'


def test_gopro_as_nah_et_al_publish_it(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    for phase, scene in (('train', 'GOPR0372_07_00'), ('train', 'GOPR0374_11_01'), ('test', 'GOPR0384_11_00')):
        for frame in ('000047', '000048'):
            for kind in ('blur', 'blur_gamma', 'sharp'):
                write(source / phase / scene / kind / f'{frame}.png', (72, 128), f'{scene}{frame}{kind}')
    out = prepare(tmp_path, 'gopro', '--any-count', '--crop-size', '51', '--step', '26') / 'GoPro'
    names = [f'{scene}-{frame}' for scene in ('GOPR0372_07_00', 'GOPR0374_11_01') for frame in ('000047', '000048')]
    assert sorted(path.stem for path in (out / 'train/input').iterdir()) == names
    assert len(list((out / 'test/target').iterdir())) == 2
    blurred = cv2.imread(str(out / 'train/input/GOPR0374_11_01-000048.png'))
    assert np.array_equal(blurred, cv2.imread(str(source / 'train/GOPR0374_11_01/blur/000048.png')))
    # 72 rows: from 0 and 21. 128 columns: from 0, 26, 52 and 77. Row by row, as BasicSR counts them.
    parts = sorted(path.name for path in (out / 'train/input_sub').glob('GOPR0374_11_01-000048_*'))
    assert parts == [f'GOPR0374_11_01-000048_s00{number}.png' for number in range(1, 9)]
    corner = cv2.imread(str(out / 'train/input_sub' / parts[6]))
    assert np.array_equal(corner, blurred[21:72, 52:103])
    lines = (out / 'train/meta_info_sub.txt').read_text().splitlines()
    assert len(lines) == 32
    assert lines[0] == f'{names[0]}_s001.png (51,51,3)'
    assert not (out / 'test/input_sub').exists()
    assert (out / 'train/mask_images.txt').read_text().splitlines() == [line.split()[0] for line in lines]


def test_sidd_medium_and_its_validation_blocks(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    for number in ('0001', '0002'):
        scene = source / 'Data' / f'{number}_001_S6_00100_00060_3200_L'
        for shot in ('010', '011'):
            for kind in ('GT', 'NOISY'):
                write(scene / f'{number}_{kind}_SRGB_{shot}.PNG')
    arrays = stand_ins.make_blocks(
        source / 'ValidationNoisyBlocksSrgb.mat', source / 'ValidationGtBlocksSrgb.mat', scenes=3
    )
    out = prepare(tmp_path, 'sidd', '--any-count') / 'SIDD'
    names = ['0001-010.png', '0001-011.png', '0002-010.png', '0002-011.png']
    assert sorted(os.listdir(out / 'train/input')) == names == sorted(os.listdir(out / 'train/target'))
    noisy = cv2.imread(str(out / 'train/input/0002-011.png'))
    assert np.array_equal(noisy, stand_ins.picture('0002_NOISY_SRGB_011.PNG'))
    assert len(os.listdir(out / 'val/target')) == 6
    block = cv2.imread(str(out / 'val/input/02-01.png'))[..., ::-1]
    assert np.array_equal(block, arrays['ValidationNoisyBlocksSrgb'][2, 1])


def test_rain200h_as_yang_et_al_publish_it(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    for phase, count in (('train', 3), ('test', 2)):
        for number in range(1, count + 1):
            folder = source / f'rain_data_{phase}_Heavy'
            write(folder / 'norain' / f'norain-{number}.png', like=f'{number}')
            for scale in ('2', '3', '4'):
                write(folder / 'rain' / f'X{scale}' / f'norain-{number}x{scale}.png', like=f'{number}x{scale}')
    out = prepare(tmp_path, 'rain200h', '--any-count') / 'Rain200H'
    assert sorted(os.listdir(out / 'train/input')) == ['1.png', '2.png', '3.png']
    assert np.array_equal(cv2.imread(str(out / 'test/input/2.png')), stand_ins.picture('2x2'))
    assert np.array_equal(cv2.imread(str(out / 'test/target/2.png')), stand_ins.picture('2'))


def test_realblur_takes_what_the_list_names(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    folder = 'RealBlur-J_ECC_IMCORR_centroid_itensity_ref'
    for scene in ('scene001', 'scene230'):
        pairs = [f'{folder}/{scene}/gt/gt_{shot}.png {folder}/{scene}/blur/blur_{shot}.png' for shot in (1, 21)]
        for path in ' '.join(pairs).split():
            write(source / path)
    (source / 'RealBlur_J_test_list.txt').write_text(' \n'.join([*pairs, '']))
    out = prepare(tmp_path, 'realblur_j', '--any-count') / 'RealBlur_J/test'
    for side in ('input', 'target'):
        assert sorted(os.listdir(out / side)) == ['scene230-1.png', 'scene230-21.png']


def test_hide_leaves_the_training_sets_sharp_images_and_dots_in_names(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    for folder, name in (('test-close-ups', '10fromGOPR1096.MP4'), ('test-long-shot', '7fromGOPR1089.MP4')):
        write(source / 'test' / folder / f'{name}.png')
        write(source / 'GT' / f'{name}.png')
    write(source / 'GT' / '5fromGOPR0801.MP4.png')
    out = prepare(tmp_path, 'hide', '--any-count') / 'HIDE/test'
    assert sorted(os.listdir(out / 'target')) == ['10fromGOPR1096_MP4.png', '7fromGOPR1089_MP4.png']


def test_prenets_rain100l_with_its_full_count(tmp_path: Path) -> None:
    for number in range(1, 101):
        write(tmp_path / 'source' / 'rainy' / f'rain-{number:03d}.png', (4, 6))
        write(tmp_path / 'source' / f'norain-{number:03d}.png', (4, 6))
    out = prepare(tmp_path, 'rain100l', '--split', 'test') / 'Rain100L/test'
    assert sorted(os.listdir(out / 'input')) == [f'{number:03d}.png' for number in range(1, 101)]


def test_dfwb_mixes_suffixes_and_keeps_small_photos_uncut(tmp_path: Path) -> None:
    source = tmp_path / 'source'
    write(source / 'DIV2K' / '0001.png', (820, 900))
    write(source / 'Flickr2K' / '000001.png', (801, 801))
    write(source / 'WaterlooED' / '00001.bmp', (40, 900))
    write(source / 'BSD400' / '2092.jpg', (32, 48))
    out = prepare(tmp_path, 'dfwb', '--any-count') / 'DFWB/train'
    names = ['BSD400-2092.jpg', 'DIV2K-0001.png', 'Flickr2K-000001.png', 'WaterlooED-00001.bmp']
    assert sorted(os.listdir(out / 'target')) == names
    counts = Counter(path.name.partition('-')[0] for path in (out / 'target_sub').iterdir())
    assert counts == {'DIV2K': 4, 'Flickr2K': 4, 'WaterlooED': 1, 'BSD400': 1}
    assert cv2.imread(str(out / 'target_sub/WaterlooED-00001_s001.png')).shape == (40, 900, 3)


def test_a_pair_of_jpg_and_png_becomes_two_png(tmp_path: Path) -> None:
    write(tmp_path / 'source/input/a.jpg')
    write(tmp_path / 'source/target/a.PNG')
    out = prepare(tmp_path, 'hide', '--any-count') / 'HIDE/test'
    assert (out / 'target/a.png').is_symlink()
    assert Image.open(out / 'input/a.png').format == 'PNG'
    assert np.array_equal(cv2.imread(str(out / 'input/a.png')), cv2.imread(str(tmp_path / 'source/input/a.jpg')))


def test_the_shared_rain100l_is_prepared_and_verified(
    calibration_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ['rain100l', '--source', str(calibration_data / 'rain100l'), '--split', 'test', '--output', str(tmp_path)]
    assert prepare_dataset.main(command) == 0
    assert (tmp_path / 'Rain100L/test/input/001.png').resolve() == (
        calibration_data / 'rain100l/rainy/001.png'
    ).resolve()
    assert (tmp_path / 'Rain100L/test/meta_info.txt').read_text().splitlines()[0] == '001.png (321,481,3)'
    capsys.readouterr()
    assert prepare_dataset.main(command) == 0
    assert '200 files (symlink): done' in capsys.readouterr().out


def test_the_shared_cbsd68_is_prepared(calibration_data: Path, tmp_path: Path) -> None:
    command = ['cbsd68', '--source', str(calibration_data / 'cbsd68'), '--output', str(tmp_path), '--hardlink']
    links = [prepare_dataset.main(command), prepare_dataset.main([*command[:-1], '--copy'])]
    # Hard links need one file system; the message then says that --copy copies.
    assert links[-1] == 0
    assert len(os.listdir(tmp_path / 'CBSD68/test/target')) == 68


def test_a_dataset_that_was_unpacked_in_its_place_is_left_there(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for side in ('input', 'target'):
        for name in ('1.jpg', '2.jpg'):
            write(tmp_path / 'datasets/Rain13K/train' / side / name)
    command = ['rain13k', '--source', str(tmp_path / 'datasets'), '--output', str(tmp_path / 'datasets')]
    assert prepare_dataset.main([*command, '--split', 'train', '--any-count', '--lmdb']) == 0
    assert '4 files (symlink): done' in capsys.readouterr().out
    folder = tmp_path / 'datasets/Rain13K/train'
    assert not (folder / 'input/1.jpg').is_symlink()
    assert (folder / 'meta_info.txt').read_text() == '1.jpg (24,32,3)\n2.jpg (24,32,3)\n'
    assert (folder / 'input.lmdb/meta_info.txt').read_text() == '1.png (24,32,3) 3\n2.png (24,32,3) 3\n'


def test_the_list_shows_pages_and_counts(capsys: pytest.CaptureFixture) -> None:
    assert prepare_dataset.main(['--list']) == 0
    out = capsys.readouterr().out
    assert 'https://seungjunnah.github.io/Datasets/gopro.html\n    GoPro/train: 2103 pairs' in out
    assert 'DFWB/train: DIV2K-800 + Flickr2K-2650 + WaterlooED-4744 + BSD400-400 images' in out

"""What is missing or wrong is named, before anything is written."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from sapd_plugin.cli import prepare_dataset
from sapd_plugin.datasets.files import open_workshop
from sapd_plugin.datasets.manifest import load_manifest
from tests.datasets import stand_ins
from tests.datasets.stand_ins import write


@pytest.fixture
def mcmaster(tmp_path: Path) -> Path:
    """Eighteen images, the count of the whole dataset."""
    for number in range(1, 19):
        write(tmp_path / 'source' / 'McMaster' / f'{number}.png')
    return tmp_path / 'source'


@pytest.fixture
def gopro(tmp_path: Path) -> Path:
    """Three pairs for training and three for testing."""
    for split in load_manifest('gopro').splits.values():
        stand_ins.make_split(tmp_path / 'source', split, 2, 3)
    return tmp_path / 'source'


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    capsys.readouterr()
    assert prepare_dataset.main([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


def test_the_right_count_passes_and_another_is_refused(
    mcmaster: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ['mcmaster', '--source', str(mcmaster), '--output', str(tmp_path / 'out')]
    assert prepare_dataset.main([*command, '--verify']) == 0
    (mcmaster / 'McMaster/7.png').unlink()
    error = refused(capsys, *command[:-1], tmp_path / 'other')
    assert 'test: found 17 (in (McMaster|McM|mcmaster)/*: 17), expected 18; --any-count accepts them' in error
    assert 'https://www4.comp.polyu.edu.hk/~cslzhang/CDM_Dataset.htm' in error
    assert not (tmp_path / 'other').exists()


def test_an_empty_folder_is_told_what_is_looked_for(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'source/Test').mkdir(parents=True)
    error = refused(capsys, 'gopro', '--source', tmp_path / 'source', '--output', tmp_path / 'out')
    assert 'train: found no image, expected 2103 in one of: train/*/blur/* + train/*/sharp/*; ' in error
    assert 'holds Test/' in error
    assert 'test: found no image, expected 1111' in error


def test_one_split_alone_is_offered(gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for path in (gopro / 'train').rglob('*.png'):
        path.unlink()
    error = refused(capsys, 'gopro', '--source', gopro, '--output', tmp_path / 'out', '--any-count')
    assert '--split test prepares the complete ones' in error
    command = ['gopro', '--source', str(gopro), '--output', str(tmp_path / 'out'), '--any-count', '--split', 'test']
    assert prepare_dataset.main(command) == 0


def test_unpaired_files_are_named(gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (gopro / 'test/target/2.png').unlink()
    write(gopro / 'train/target/1(1).png')
    error = refused(capsys, 'gopro', '--source', gopro, '--output', tmp_path / 'out', '--any-count')
    assert 'test: without a counterpart: test/input/2.png' in error
    assert 'train: without a counterpart: train/target/1(1).png' in error


def test_two_files_for_one_image_are_named(gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(gopro / 'train/target/1.jpg')
    error = refused(capsys, 'gopro', '--source', gopro, '--output', tmp_path / 'out', '--any-count')
    assert f'two files for one image: 1: {gopro}/train/target/1.jpg and {gopro}/train/target/1.png' in error


def test_differing_sizes_and_unreadable_images_are_named(
    gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(gopro / 'train/target/1.png', (24, 30))
    (gopro / 'train/input/2.png').write_bytes(b'not an image')
    data = (gopro / 'test/input/3.png').read_bytes()
    (gopro / 'test/input/3.png').write_bytes(data[:-40])
    command = ['gopro', '--source', gopro, '--output', tmp_path / 'out', '--any-count']
    error = refused(capsys, *command)
    assert '1 (input 24x32, target 24x30)' in error
    assert f'unreadable: {gopro}/train/input/2.png' in error
    assert '3.png' not in error
    assert f'{gopro}/test/input/3.png: a truncated image' in refused(capsys, *command, '--verify')


def test_an_image_that_is_there_twice_is_mentioned(gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(gopro / 'test/input/2.png', like='1.png')
    command = ['gopro', '--source', str(gopro), '--output', str(tmp_path / 'out'), '--any-count', '--verify']
    assert prepare_dataset.main(command) == 0
    assert 'test: the same image under two names: 1 = 2.' in capsys.readouterr().out


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['gopr', '--source', '.'], "found 'gopr', expected one of .*Did you mean 'gopro'"),
        (['gopro'], '--source: expected the folder'),
        (['gopro', '--source', 'nowhere'], 'found no folder nowhere'),
        (['gopro', '--source', '.', '--split', 'tset'], "--split: found 'tset', expected one of train, test.*'test'"),
        (['gopro', '--source', '.', '--step', '9'], '--step: expected with --crop-size'),
        (['gopro', '--source', '.', '--crop-size', '9', '--step', '10'], '--step: found 10, expected 1 to'),
        ([], 'expected a dataset'),
        (['--synthetic', 'snow', '--source', '.'], "--synthetic: found 'snow', expected one of rain, noise, blur"),
        (['--synthetic', 'rain', '--source', '.', '--preset', 'haevy'], "--preset: found 'haevy'.*'heavy'"),
        (['--synthetic', 'rain', '--source', '.', '--set', 'angel=3'], "unknown key 'angel'.*Did you mean 'angle'"),
        (['--synthetic', 'rain', '--source', '.', '--set', 'angle=9,3'], "--set angle: found '9,3'"),
        (['--synthetic', 'rain', '--source', '.', '--set', 'angle=3,nan'], "--set angle: found '3,nan'"),
        (['--synthetic', 'rain', '--source', '.', '--set', 'angle'], "--set: found 'angle', expected key=value"),
        (['--synthetic', 'blur', '--source', '.', '--set', 'size=1,9'], '--set size: found 1,9, expected within 3,255'),
        (['--synthetic', 'rain', '--source', '.', '--kernels', '.'], '--kernels: found with --synthetic rain'),
        (['--synthetic', 'blur', '--source', '.', '--kernels', '.'], '--kernels: found no .png'),
    ],
)
def test_mistakes_in_the_command_are_named(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    error = refused(capsys, *arguments)
    assert re.search(message, error), error
    assert os.listdir(tmp_path) == []


def test_what_is_there_of_another_source_or_settings_is_refused(
    gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ['gopro', '--source', str(gopro), '--output', str(tmp_path / 'out'), '--any-count']
    assert prepare_dataset.main([*command, '--crop-size', '16']) == 0
    assert "found sub-images of {'size': 16" in refused(capsys, *command, '--crop-size', '8')
    (tmp_path / 'out/GoPro/train/input/9.png').write_bytes(b'')
    assert 'input: found 9.png, which this dataset' in refused(capsys, *command, '--crop-size', '16')
    (tmp_path / 'out/GoPro/train/input/9.png').unlink()
    link = tmp_path / 'out/GoPro/test/input/1.png'
    link.unlink()
    link.symlink_to(gopro / 'test/input/2.png')
    assert f'found a link to {gopro}/test/input/2.png, expected {gopro}/test/input/1.png' in refused(
        capsys, *command, '--crop-size', '16'
    )


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(
    gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    command = ['gopro', '--source', str(gopro), '--output', str(tmp_path / 'out'), '--any-count', '--crop-size', '16']
    assert prepare_dataset.main([*command, '--dry-run', '--lmdb']) == 0
    out = capsys.readouterr().out
    assert 'GoPro/train: 6 files (symlink): would make 6' in out
    assert 'GoPro/train: 24 sub-images of 16, step 16: would make 24' in out
    assert 'GoPro/train: target_sub.lmdb of 12 images: would make 12' in out
    assert f'--root {tmp_path}/out/GoPro/train/input_sub --output {tmp_path}/out/masks/GoPro_train' in out
    assert not (tmp_path / 'out').exists()


def test_two_at_a_time_are_refused(gopro: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ['gopro', '--source', gopro, '--output', tmp_path / 'out', '--any-count']
    with open_workshop(tmp_path / 'out/GoPro'):
        assert 'another process is preparing this dataset' in refused(capsys, *command)

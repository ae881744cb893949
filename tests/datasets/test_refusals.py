"""Missing and wrong files and options are named before anything is written."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sapd_plugin.cli import prepare_dataset
from sapd_plugin.datasets.files import open_workshop
from sapd_plugin.datasets.manifest import load_manifest
from tests.datasets import stand_ins
from tests.datasets.stand_ins import write

Refused = Callable[..., str]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """GoPro as three pairs for training and three for testing."""
    for split in load_manifest('gopro').splits.values():
        stand_ins.make_split(tmp_path / 'source', split, 2, 3)
    return tmp_path / 'source'


@pytest.fixture
def gopro(source: Path, tmp_path: Path) -> list[str]:
    """Command that prepares ``source``."""
    return ['gopro', '--source', str(source), '--output', str(tmp_path / 'out'), '--any-count']


@pytest.fixture
def refused(capsys: pytest.CaptureFixture) -> Refused:
    """Function that runs a command, expects a refusal and returns its message."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert prepare_dataset.main([str(argument) for argument in arguments]) == 2
        return capsys.readouterr().err

    return run


def test_the_right_count_passes_and_another_is_refused(tmp_path: Path, refused: Refused) -> None:
    for number in range(1, 19):
        write(tmp_path / 'source' / 'McMaster' / f'{number}.png')
    command = ['mcmaster', '--source', str(tmp_path / 'source'), '--output', str(tmp_path / 'out')]
    assert prepare_dataset.main([*command, '--verify']) == 0
    (tmp_path / 'source/McMaster/7.png').unlink()
    error = refused(*command[:-1], tmp_path / 'other')
    assert 'test: found 17 (in (McMaster|McM|mcmaster)/*: 17), expected 18; --any-count accepts them' in error
    assert 'https://www4.comp.polyu.edu.hk/~cslzhang/CDM_Dataset.htm' in error
    assert not (tmp_path / 'other').exists()


def test_an_empty_folder_is_refused_with_the_layouts_that_were_searched(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / 'source/Test').mkdir(parents=True)
    error = refused('gopro', '--source', tmp_path / 'source', '--output', tmp_path / 'out')
    assert 'train: found no image, expected 2103 in one of: train/*/blur/* + train/*/sharp/*; ' in error
    assert 'holds Test/' in error
    assert 'test: found no image, expected 1111' in error


@pytest.mark.parametrize(
    ('clean', 'rain', 'inside'), [('clean', 'rainy', '(input|lq|rainy|rain)/*'), ('', '', 'rain-*')]
)
def test_folders_that_do_not_name_their_split_are_told_so_and_which_flags_help(
    tmp_path: Path, refused: Refused, clean: str, rain: str, inside: str
) -> None:
    """Three of the 1254 or 1800 + 100 pairs, in a layout that both splits have."""
    for number in (1, 2, 3):
        for kind, folder in (('rain', rain), ('norain', clean)):
            write(tmp_path / 'source' / folder / (f'{number}.png' if folder else f'{kind}-{number}.png'))
    command = ['rain100h', '--source', tmp_path / 'source', '--output', tmp_path / 'out']
    for more in ([], ['--any-count']):
        error = refused(*command, *more)
        for split, counts in (('train', '1254 or 1800'), ('test', '100')):
            assert f'- {split}: found 3 pairs in {inside} + ' in error
            assert f'do not name the split: they are only used where the count is right, which is {counts}. ' in error
            assert f'If they are this split, add --split {split} --any-count.' in error
        assert 'found no image' not in error
    advised = [*map(str, command), '--split', 'test', '--any-count']
    assert prepare_dataset.main(advised) == 0
    assert len(list((tmp_path / 'out/Rain100H/test/input').iterdir())) == 3


def test_images_without_the_list_that_names_their_pairs_are_told_so(tmp_path: Path, refused: Refused) -> None:
    (part,) = load_manifest('realblur_j').splits['test']
    stand_ins.make_part(tmp_path / 'source', part.layouts[0], 2)
    (tmp_path / 'source/RealBlur_J_test_list.txt').unlink()
    error = refused('realblur_j', '--source', tmp_path / 'source', '--output', tmp_path / 'out', '--any-count')
    assert 'without the list RealBlur_J_test_list.txt, expected it: it names the pairs.' in error


def test_images_of_another_format_are_explained(tmp_path: Path, refused: Refused) -> None:
    write(tmp_path / 'source/McMaster/1.webp')
    error = refused('mcmaster', '--source', tmp_path / 'source', '--output', tmp_path / 'out', '--any-count')
    assert 'holds McMaster/. Images end with .png, .jpg, .jpeg, .bmp, .tif, .tiff.' in error


def test_one_split_alone_is_offered(source: Path, gopro: list[str], refused: Refused) -> None:
    for path in (source / 'train').rglob('*.png'):
        path.unlink()
    assert '--split test prepares the complete ones' in refused(*gopro)
    assert prepare_dataset.main([*gopro, '--split', 'test']) == 0


def test_unpaired_files_are_named(source: Path, gopro: list[str], refused: Refused) -> None:
    (source / 'test/target/2.png').unlink()
    write(source / 'train/target/1(1).png')
    error = refused(*gopro)
    assert 'test: without a counterpart: test/input/2.png' in error
    assert 'train: without a counterpart: train/target/1(1).png' in error


def test_two_files_for_one_image_are_named(source: Path, gopro: list[str], refused: Refused) -> None:
    write(source / 'train/target/1.jpg')
    found = f'two files for one image: 1: {source}/train/target/1.jpg and {source}/train/target/1.png'
    assert found in refused(*gopro)


def test_differing_sizes_and_unreadable_images_are_named(source: Path, gopro: list[str], refused: Refused) -> None:
    write(source / 'train/target/1.png', (24, 30))
    (source / 'train/input/2.png').write_bytes(b'not an image')
    data = (source / 'test/input/3.png').read_bytes()
    (source / 'test/input/3.png').write_bytes(data[:-40])
    error = refused(*gopro)
    assert '1 (input 24x32, target 24x30)' in error
    assert f'unreadable: {source}/train/input/2.png' in error
    assert '3.png' not in error
    assert f'{source}/test/input/3.png: a truncated image' in refused(*gopro, '--verify')


def test_a_pipe_is_named_and_a_strangers_folder_left_as_it_is(
    source: Path, gopro: list[str], tmp_path: Path, refused: Refused
) -> None:
    stranger = tmp_path / 'out' / 'GoPro' / 'train' / 'target' / 'letter.txt'
    stranger.parent.mkdir(parents=True)
    stranger.write_text('dear')
    assert 'found letter.txt, which this dataset does not contain' in refused(*gopro)
    assert sorted(path.name for path in (tmp_path / 'out').rglob('*')) == ['GoPro', 'letter.txt', 'target', 'train']
    photo = sorted((source / 'train').rglob('*.png'))[0]
    photo.unlink()
    os.mkfifo(photo)
    error = refused(*gopro)
    assert f'{photo}' in error
    assert 'a named pipe, expected a regular file' in error


def test_an_image_that_is_there_twice_is_mentioned(
    source: Path, gopro: list[str], capsys: pytest.CaptureFixture
) -> None:
    write(source / 'test/input/2.png', like='1.png')
    assert prepare_dataset.main([*gopro, '--verify']) == 0
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
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: Refused
) -> None:
    monkeypatch.chdir(tmp_path)
    assert re.search(message, refused(*arguments))
    assert os.listdir(tmp_path) == []


def test_files_of_another_source_or_settings_are_refused(
    source: Path, gopro: list[str], tmp_path: Path, refused: Refused
) -> None:
    command = [*gopro, '--crop-size', '16']
    assert prepare_dataset.main(command) == 0
    assert "found sub-images of {'size': 16" in refused(*gopro, '--crop-size', '8')
    (tmp_path / 'out/GoPro/train/input/9.png').write_bytes(b'')
    assert 'input: found 9.png, which this dataset' in refused(*command)
    (tmp_path / 'out/GoPro/train/input/9.png').unlink()
    link = tmp_path / 'out/GoPro/test/input/1.png'
    link.unlink()
    link.symlink_to(source / 'test/input/2.png')
    expected = f'found a link to {source}/test/input/2.png, expected {source}/test/input/1.png'
    assert expected in refused(*command)


def test_a_dry_run_prints_what_it_would_do_and_writes_nothing(
    gopro: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert prepare_dataset.main([*gopro, '--crop-size', '16', '--dry-run', '--lmdb']) == 0
    out = capsys.readouterr().out
    assert 'GoPro/train: 6 files (symlink): would make 6' in out
    assert 'GoPro/train: 24 sub-images of 16, step 16: would make 24' in out
    assert 'GoPro/train: target_sub.lmdb of 12 images: would make 12' in out
    assert f'--root {tmp_path}/out/GoPro/train/input_sub --output {tmp_path}/out/masks/GoPro_train' in out
    assert not (tmp_path / 'out').exists()


def test_two_at_a_time_are_refused(gopro: list[str], tmp_path: Path, refused: Refused) -> None:
    with open_workshop(tmp_path / 'out/GoPro'):
        assert 'another process is preparing this dataset' in refused(*gopro)

"""Pseudo-pairs: real pairs stay as they are, and the other photos get what the teacher makes of them."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from sapd_plugin.basicsr import train
from sapd_plugin.evaluation.teacher import Masks, Teacher, find_run
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.store import MaskStore
from studies.sam_priors import pseudo_pairs
from tests.adapters_basicsr.recipes import run_here, sapd_options
from tests.photos import make_pairs, make_store, segmented
from tests.recipes import DELETE


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A training of a few steps on three pairs, their masks, and a folder that holds the first pair alone."""
    folder = tmp_path_factory.mktemp('trained')
    pairs = make_pairs(folder / 'all', 3, (48, 64))
    for side, kind in (('input', 'rainy'), ('target', 'clean')):
        (pairs / kind).rename(pairs / side)
        (folder / 'few' / side).mkdir(parents=True)
        shutil.copy(pairs / side / '001.png', folder / 'few' / side)
    make_store(folder / 'masks', pairs / 'input', segmented)
    changes = {'dataroot_gt': f'{pairs}/target', 'dataroot_lq': f'{pairs}/input', 'gt_size': 32}
    changes = {f'datasets:train:{key}': value for key, value in changes.items()}
    changes |= {'datasets:val': DELETE, 'train:total_iter': 4, 'network_spf': {'type': 'SPF'}}
    run_here(train.main, sapd_options(pairs, folder / 'masks', **changes), folder)
    return folder


def run(place, output, *more):
    command = ['--run', 'experiments/sapd', '--pairs', 'few', '--photos', 'all/input', '--masks', 'masks']
    options = [str(place / each) if not each.startswith('--') else each for each in command]
    return pseudo_pairs.main([*options, '--output', str(output), *more])


@pytest.mark.parametrize('target', ['z', 'y'])
def test_photos_without_ground_truth_get_the_teachers_image(place, tmp_path, target):
    assert run(place, tmp_path / 'new', '--target', target) == 0
    for side in ('input', 'target'):
        assert sorted(path.stem for path in (tmp_path / 'new' / side).iterdir()) == ['001', '002', '003']
        assert np.array_equal(*(read_image(folder / side / '001.png') for folder in (tmp_path / 'new', place / 'few')))
    teacher = Teacher(*find_run(place / 'experiments/sapd', None))
    for key in ('002', '003'):
        image = read_image(place / f'all/input/{key}.png')
        masks = Masks(MaskStore(place / 'masks').record(key).labels())
        expected = (255 * teacher.restore(image, {'z': masks})[target]).round()
        assert np.array_equal(read_image(tmp_path / f'new/target/{key}.png'), expected)
        assert np.array_equal(read_image(tmp_path / f'new/input/{key}.png'), image)


def test_what_is_there_is_kept_and_other_options_are_refused(place, tmp_path, capsys):
    assert run(place, tmp_path / 'new') == 0
    kept = tmp_path / 'new/target/002.png'
    kept.write_bytes((tmp_path / 'new/target/003.png').read_bytes())
    (tmp_path / 'new/target/003.png').unlink()
    assert run(place, tmp_path / 'new') == 0
    assert kept.read_bytes() == (tmp_path / 'new/target/003.png').read_bytes()
    assert run(place, tmp_path / 'new', '--target', 'y') == 2
    assert 'was made with other options, networks or masks, see made_of.txt' in capsys.readouterr().err


def test_a_teacher_that_was_trained_again_needs_a_new_folder(place, tmp_path, capsys):
    shutil.copytree(place / 'experiments', tmp_path / 'experiments')
    again = ('--run', str(tmp_path / 'experiments/sapd'))
    assert run(place, tmp_path / 'new', *again) == 0
    weights = tmp_path / 'experiments/sapd/models/net_spf_latest.pth'
    state = torch.load(weights)
    state['params'] = {key: value + 0.01 for key, value in state['params'].items()}
    torch.save(state, weights)
    assert run(place, tmp_path / 'new', *again) == 2
    assert 'was made with other options, networks or masks' in capsys.readouterr().err


def test_folders_that_hold_something_else_are_left_alone(place, tmp_path, capsys):
    shutil.copytree(place / 'few', tmp_path / 'few')
    assert run(place, tmp_path / 'few') == 2
    assert f'--output: found files in {tmp_path}/few and no made_of.txt' in capsys.readouterr().err
    assert not (tmp_path / 'few/made_of.txt').exists()


def test_mistakes_are_named(place, tmp_path, capsys):
    assert run(place, tmp_path / 'new', '--photos', str(place / 'few/input')) == 2
    assert '--photos: found none in' in capsys.readouterr().err
    shutil.copytree(place / 'all/input', tmp_path / 'more')
    shutil.copy(place / 'all/input/001.png', tmp_path / 'more/004.png')
    assert run(place, tmp_path / 'new', '--photos', str(tmp_path / 'more')) == 2
    assert "has no masks for 1 photos, among them '004'" in capsys.readouterr().err
    (tmp_path / 'more/004.png').rename(tmp_path / 'more/004.jpg')
    assert run(place, tmp_path / 'new', '--photos', str(tmp_path / 'more')) == 2
    assert '004.jpg, expected .png or .bmp files' in capsys.readouterr().err
    shutil.copytree(place / 'all/input', tmp_path / 'sorted/1')
    assert run(place, tmp_path / 'new', '--photos', str(tmp_path / 'sorted')) == 2
    assert 'found 1/001 in a sub-folder' in capsys.readouterr().err
    shutil.copytree(place / 'all/input', tmp_path / 'swapped')
    shutil.copy(place / 'all/input/001.png', tmp_path / 'swapped/002.png')
    assert run(place, tmp_path / 'new', '--photos', str(tmp_path / 'swapped')) == 2
    assert '--masks: 1 of 2 compared masks' in capsys.readouterr().err
    assert not (tmp_path / 'new').exists()

"""Evaluation of the teacher: a real, short training, and scores that can be computed by hand."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from basicsr.archs import build_network

from sapd_plugin.basicsr import train
from sapd_plugin.cli import evaluate_teacher
from sapd_plugin.evaluation.teacher import Masks, Teacher, find_run
from sapd_plugin.evaluation.teacher_picture import CROP, Extremes
from sapd_plugin.evaluation.teacher_scores import KINDS, WHOLE, psnr, region_kinds, score, table
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.store import MaskStore
from tests.adapters_basicsr.recipes import STOCK, run_here, sapd_options
from tests.photos import ROOT, make_pairs, make_store, run, segmented
from tests.recipes import DELETE

NETWORK, BRANCH = STOCK['network_g'], {'type': 'SPF', 'fusion': 'image', 'mask_dropout': 0, 'planes': 4}


@pytest.fixture(scope='module')
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of a few steps, the pairs as input/ and target/, and masks of them."""
    folder = tmp_path_factory.mktemp('trained')
    pairs = make_pairs(folder / 'pairs', 3, (112, 128))
    for side, kind in (('input', 'rainy'), ('target', 'clean')):
        (pairs / kind).rename(pairs / side)
    make_store(folder / 'masks', pairs / 'target', segmented)
    changes = {'dataroot_gt': f'{pairs}/target', 'dataroot_lq': f'{pairs}/input', 'gt_size': 32}
    changes = {f'datasets:train:{key}': value for key, value in {**changes, 'dataset_enlarge_ratio': 8}.items()}
    changes |= {'datasets:val': DELETE, 'train:total_iter': 12, 'train:ema_decay': 0.5, 'network_spf': BRANCH}
    run_here(train.main, sapd_options(pairs, folder / 'masks', **changes), folder)
    return folder


def evaluate(folder: Path, output: Path, *more: str) -> int:
    command = ['--run', str(folder / 'experiments/sapd'), '--pairs', str(folder / 'pairs')]
    return evaluate_teacher.main([*command, '--masks', str(folder / 'masks'), '--output', str(output), *more])


@pytest.mark.slow
def test_a_training_as_a_user_looks_at_it(trained: Path, tmp_path: Path) -> None:
    student = trained / 'experiments/sapd/models/net_g_latest.pth'
    command = ['--run', 'experiments/sapd', '--pairs', 'pairs', '--masks', 'masks', '--output', str(tmp_path)]
    result = run([str(ROOT / 'tools/evaluate_teacher.py'), *command, '--reference', str(student)], trained)
    assert result.returncode == 0, result.stdout[-3000:]
    assert (tmp_path / 'table.md').read_text() in result.stdout
    rows = pd.read_csv(tmp_path / 'teacher.csv', dtype={'image': str}).set_index('kind')
    assert set(rows['image']) == {'001', '002', '003'}
    for name, mine in rows.groupby('image'):
        whole, parts = mine.loc[WHOLE], mine.drop(WHOLE)
        assert parts['pixels'].sum() == whole['pixels'] == 112 * 128
        for arm in ('input', 'y', 'z', 'z_shuffled', 'z_empty', 'z_one_region', 'z_felzenszwalb', 'stock'):
            assert np.average(parts[f'mse_{arm}'], weights=parts['pixels']) == pytest.approx(
                whole[f'mse_{arm}'], abs=1e-4
            )
        rainy, clean = (cv2.imread(str(trained / 'pairs' / side / f'{name}.png')) for side in ('input', 'target'))
        assert whole['psnr_input'] == pytest.approx(cv2.PSNR(rainy, clean), abs=1e-4)
        # The reference is the student itself here.
        assert whole['psnr_stock'] == whole['psnr_y']
        refined = ('y', 'z', 'z_shuffled', 'z_empty', 'z_one_region', 'z_felzenszwalb')
        assert len({whole[f'psnr_{arm}'] for arm in refined}) == len(refined)
    assert read_image(tmp_path / 'picture.png').shape[1] == 6 * 2 * CROP


def test_y_is_the_ema_student_and_z_is_spf_of_it(trained: Path) -> None:
    config, student, spf = find_run(trained / 'experiments/sapd', None)
    image, labels = read_image(trained / 'pairs/input/002.png'), MaskStore(trained / 'masks').record('002').labels()
    found = Teacher(config, student, spf).restore(image, {'z': Masks(labels)})
    saved = torch.load(student, weights_only=True)
    assert not all(torch.equal(saved['params'][key], saved['params_ema'][key]) for key in saved['params'])
    network = build_network(dict(NETWORK)).eval()
    network.load_state_dict(saved['params_ema'])
    branch = build_network({**BRANCH, 'network': dict(NETWORK)}).eval()
    branch.load_state_dict(torch.load(spf, weights_only=True)['params'])
    with torch.no_grad():
        y = network(torch.from_numpy(image.transpose(2, 0, 1).copy()).float()[None] / 255)
        z = branch(y, torch.from_numpy(labels.astype(np.int32))[None, None])
    for name, expected in (('y', y), ('z', z)):
        assert np.allclose(found[name], expected[0].clamp(0, 1).numpy().transpose(1, 2, 0), atol=1e-6)
    assert not np.allclose(found['y'], found['z'], atol=1e-4)


def test_tiles_are_restored_each_by_itself(trained: Path, tmp_path: Path) -> None:
    assert evaluate(trained, tmp_path, '--patch', '48', '--limit', '2') == 0
    rows = pd.read_csv(tmp_path / 'teacher.csv', dtype={'image': str})
    whole = rows[(rows['image'] == '002') & (rows['kind'] == WHOLE)].iloc[0]
    assert whole['pixels'] == 96 * 96  # of 112 x 128
    teacher = Teacher(*find_run(trained / 'experiments/sapd', None))
    image, target = (read_image(trained / 'pairs' / side / '002.png') for side in ('input', 'target'))
    labels, errors = MaskStore(trained / 'masks').record('002').labels(), []
    for top in (0, 48):
        for left in (0, 48):
            place = slice(top, top + 48), slice(left, left + 48)
            z = teacher.restore(image[place], {'z': Masks(labels[place])})['z']
            errors.append(np.square(255 * z - target[place]).mean())
    assert whole['mse_z'] == pytest.approx(np.mean(errors), abs=1e-4)
    assert evaluate(trained, tmp_path, '--patch', '120') == 2


def test_masks_of_other_photos_and_shared_names_are_refused(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    shutil.copytree(trained / 'experiments', tmp_path / 'experiments')
    shutil.copytree(trained / 'masks', tmp_path / 'masks')
    for side in ('input', 'target'):  # the photos in another order
        (tmp_path / 'pairs' / side).mkdir(parents=True)
        for name, other in (('001', '002'), ('002', '003'), ('003', '001')):
            shutil.copy(trained / 'pairs' / side / f'{other}.png', tmp_path / 'pairs' / side / f'{name}.png')
    assert evaluate(tmp_path, tmp_path / 'out') == 2
    error = capsys.readouterr().err
    assert f'error: --masks: 3 of 3 compared masks of {tmp_path / "masks"} are of different images' in error
    assert f"among them '001' ({tmp_path}/pairs/target/001.png or {tmp_path}/pairs/input/001.png)" in error
    shutil.copy(tmp_path / 'pairs/target/001.png', tmp_path / 'pairs/target/001.jpg')
    assert evaluate(tmp_path, tmp_path / 'out') == 2
    assert '--pairs: found 001.jpg and 001.png, expected one image per name' in capsys.readouterr().err


def test_kinds_of_places() -> None:
    labels = np.zeros((60, 100), np.uint8)
    labels[:, :50] = 1
    labels[20:27, 10:17] = 2  # 49 of 6000 pixels
    labels[40:48, 70:78] = 3  # 64: no longer small
    names = np.array(list(KINDS))[region_kinds(labels)]
    assert names[30, 30] == names[44, 74] == 'large'
    assert names[23, 13] == 'small'
    assert names[0, 99] == names[10, 52] == 'unmasked'
    assert list(names[10, 46:54]) == ['large'] * 2 + ['boundary'] * 4 + ['unmasked'] * 2
    assert list(names[23, 6:18]) == ['large'] * 2 + ['boundary'] * 4 + ['small'] * 3 + ['boundary'] * 3
    assert names[0, 0] == 'large'  # the image's border is no boundary


def test_scores_worked_out_by_hand() -> None:
    labels = np.ones((20, 40), np.uint8)
    labels[:, 20:] = 2
    target = np.full((20, 40, 3), 0.5)
    y = target.copy()
    y[:, 18:22] += 10 / 255
    z = target + 1 / 255
    scores = score('a', {'input': y, 'y': y, 'z': z}, target, labels)
    found = {s.kind: s for s in scores}
    assert list(found) == [WHOLE, 'boundary', 'large']
    assert found['boundary'].mse['y'] == pytest.approx(100)
    assert found['boundary'].to_teacher == pytest.approx(9)
    assert found['boundary'].to_target == pytest.approx(10)
    assert found['large'].mse['y'] == 0
    assert found[WHOLE].mse['y'] == pytest.approx(10)
    assert found[WHOLE].psnr('z') == pytest.approx(psnr(1))
    lines = table(scores).splitlines()
    assert lines[:8] == [
        '|  | whole | boundary | large |',
        '| --- | --- | --- | --- |',
        '| images | 1 | 1 | 1 |',
        '| PSNR input | 38.131 | 28.131 | 88.131 |',
        '| PSNR y | 38.131 | 28.131 | 88.131 |',
        '| PSNR z | 48.131 | 48.131 | 48.131 |',
        '| z - y | +10.000 | +20.000 | -40.000 |',
        '',
    ]
    # A tenth of the pixels has all of y's error.
    for line in (
        '% of pixels | 100.0 | 10.0 | 90.0',
        '% of error y | 100.0 | 100.0 | 0.0',
        'ratio | 0.949 | 0.900 | - |',
    ):
        assert any(each.startswith(f'| {line}') for each in lines), line


def test_a_gain_ends_where_no_psnr_is() -> None:
    target, labels = np.full((20, 40, 3), 0.5), np.ones((20, 40), np.uint8)
    scores = []
    for name, error in (('a', 1.0), ('b', 1 / 255)):
        y, z = target.copy(), target.copy()
        y[:, :20] += 0.5 * error
        z[0, 0, 0] += 1 / 255
        scores += score(name, {'input': y, 'y': y, 'z': z}, target, labels)
    (line,) = (each for each in table(scores).splitlines() if each.startswith('| z - y'))
    assert line.split('|')[2].strip() == '+48.837 [-88.131, +88.131]'


def test_the_picture_shows_where_z_gains_and_loses_most() -> None:
    target = np.full((150, 200, 3), 0.5)
    labels = np.ones((150, 200), np.uint8)
    extremes = Extremes()
    for name, place, arm in (('good', (10, 100), 'y'), ('bad', (130, 20), 'z'), ('dull', (0, 0), 'none')):
        images = {key: target.copy() for key in ('input', 'y', 'z', 'none')}
        images[arm][place] = 1.0
        extremes.look(name, images, target, labels)
    assert extremes.best is not None
    assert extremes.worst is not None
    assert extremes.best.title.startswith('good')
    assert extremes.worst.title.startswith('bad')
    assert (extremes.best.images['y'] == 255).sum() == 3
    assert (extremes.worst.images['z'] == 255).sum() == 3


def test_a_twin_differs_in_one_region_alone(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    twin = tmp_path / 'twin'
    shutil.copytree(trained / 'experiments/sapd', twin)
    (config,) = twin.glob('*.yml')
    text = config.read_text()
    fused = text.replace('fusion: image', 'fusion: image\n  one_region: true')
    assert fused != text
    config.write_text(fused)
    assert evaluate(trained, tmp_path / 'out', '--twin', str(twin), '--limit', '2') == 0
    rows = pd.read_csv(tmp_path / 'out/teacher.csv')
    whole = rows[rows['kind'] == WHOLE]
    # The same weights: its z is that without masks.
    assert (whole['psnr_y_twin'] - whole['psnr_y']).abs().max() == 0
    assert (whole['psnr_z_twin'] - whole['psnr_z_empty']).abs().max() < 1e-4
    config.write_text(fused.replace('ema_decay: 0.5', 'ema_decay: 0.9'))
    assert evaluate(trained, tmp_path / 'out', '--twin', str(twin), '--limit', '2') == 2
    assert 'differs from --run in train.ema_decay: found 0.9, expected 0.5' in capsys.readouterr().err


def test_mistakes_are_named(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    stock = tmp_path / 'stock.yml'
    stock.write_text('network_g: {type: SRVGGNetCompact}\n')
    cases = [
        (['--pairs', str(tmp_path)], 'expected input/ and target/'),
        (['--config', str(stock)], "found no 'network_spf'"),
        (['--run', str(tmp_path / 'absent')], 'found 0 YAMLs, expected one'),
        (['--reference', str(tmp_path / 'absent.pth')], '--reference: found no file'),
        (['--reference', str(trained / 'experiments/sapd/models/net_spf_latest.pth')], 'its weights are not of'),
        (['--mask-template', '{}_other'], "no masks for 3 of 3 images, among them '001_other'"),
        (['--limit', '1'], '--limit: found 1'),
        (['--twin', str(trained / 'experiments/sapd')], 'expected network_spf.one_region: true'),
        (['--patch', '4'], '--patch: found 4'),
    ]
    for more, message in cases:
        assert evaluate(trained, tmp_path / 'out', *more) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()

"""The ceiling: runs are kept, and all weights see the same patches and noise."""

from __future__ import annotations

import csv

import cv2
import pytest
import torch
from skimage import data

from sapd_plugin.archs import FFDNet, NAFNet
from studies.sam_priors import ceiling


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for left in (0, 200):
        cv2.imwrite(str(folder / f'{left}.png'), data.astronaut()[100:196, left : left + 96])
    return folder


def test_runs_are_kept_and_not_run_again(photos, tmp_path, capsys):
    torch.manual_seed(0)
    paths = {'--start': tmp_path / 'start.pth', '--teacher': tmp_path / 'teacher.pth', '--output': tmp_path / 'out.csv'}
    student = NAFNet(width=8, enc_blk_nums=[1, 1, 2], dec_blk_nums=[1, 1, 1]).state_dict()
    torch.save({'params': student, 'params_ema': student}, paths['--start'])
    torch.save(FFDNet(3, 3, 96, 12, sigma=25).state_dict(), paths['--teacher'])
    command = ['--photos', str(photos), '--validation', str(photos), '--iterations', '2', '--seeds', '0']
    command += [str(part) for pair in paths.items() for part in pair] + ['--weights']
    assert ceiling.main([*command, '0', '1']) == 0
    assert ceiling.main([*command, '0', 'alone']) == 0
    assert capsys.readouterr().out.count('weight 0, seed 0') == 1
    with paths['--output'].open() as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ceiling.COLUMNS
    assert [row['weight'] for row in rows] == ['0', '1', 'alone']
    assert len({row['psnr'] for row in rows}) == 3
    assert len({row['psnr_teacher'] for row in rows}) == 1
    assert ceiling.main([*command, '0', '--start', str(paths['--teacher'])]) == 2
    assert 'its weights are not of NAFNet' in capsys.readouterr().err
    assert ceiling.main([*command, 'much']) == 2
    assert "--weights: found 'much'" in capsys.readouterr().err


def test_all_weights_see_the_same_patches_and_noise(photos):
    images = ceiling.read_photos(photos)
    first, second = ceiling.patches(images, 3), ceiling.patches(images, 3)
    for _ in range(2):
        (noisy, clean), (again, _) = next(first), next(second)
        assert torch.equal(noisy, again)
    assert clean.shape == (ceiling.BATCH, 3, ceiling.PATCH, ceiling.PATCH)
    assert 255 * (noisy - clean).std() == pytest.approx(25, rel=0.05)
    assert not torch.equal(next(ceiling.patches(images, 4))[1], next(ceiling.patches(images, 3))[1])

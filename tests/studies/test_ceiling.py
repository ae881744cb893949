"""The ceiling on real photos with the published teacher, two iterations."""

from __future__ import annotations

import csv

import cv2
import pytest
import torch

from sapd_plugin.archs import NAFNet
from studies.sam_priors import ceiling as tool


@pytest.fixture
def photos(shared_data, tmp_path):
    folder = tmp_path / 'photos'
    folder.mkdir()
    for path in sorted((shared_data / 'cbsd68').glob('*.png'))[:2]:
        cv2.imwrite(str(folder / path.name), cv2.imread(str(path))[100:196, 100:196])
    return folder


def test_runs_are_kept_and_not_run_again(shared_data, photos, tmp_path, capsys):
    output = tmp_path / 'ceiling.csv'
    command = ['--photos', str(photos), '--validation', str(photos), '--output', str(output), '--iterations', '2']
    start, student = (
        tmp_path / 'start.pth',
        NAFNet(width=8, enc_blk_nums=[1, 1, 2], dec_blk_nums=[1, 1, 1]).state_dict(),
    )
    torch.save({'params': student, 'params_ema': student}, start)
    command += ['--start', str(start)]
    command += ['--teacher', str(shared_data / 'weights/ffdnet_color.pth'), '--seeds', '0', '--weights']
    assert tool.main([*command, '0', '1']) == 0
    assert tool.main([*command, '0', 'alone']) == 0
    assert capsys.readouterr().out.count('weight 0, seed 0') == 1
    rows = list(csv.DictReader(output.open()))
    assert [row['weight'] for row in rows] == ['0', '1', 'alone']
    assert len({row['psnr'] for row in rows}) == 3
    # The teacher removes noise of 20.2 dB; a student of two steps does not yet.
    assert float(rows[0]['psnr_teacher']) > 28 > 20 > float(rows[0]['psnr'])
    assert tool.main([*command, '0', '--start', str(shared_data / 'weights/ffdnet_color.pth')]) == 2
    assert 'does not fit' in capsys.readouterr().err
    assert tool.main([*command, 'much']) == 2
    assert "--weights: found 'much'" in capsys.readouterr().err


def test_all_weights_see_the_same_patches_and_noise(photos):
    images = tool.read_photos(photos)
    first, second = tool.patches(images, 3), tool.patches(images, 3)
    for _ in range(2):
        (noisy, clean), (again, _) = next(first), next(second)
        assert torch.equal(noisy, again)
    assert clean.shape == (tool.BATCH, 3, tool.PATCH, tool.PATCH)
    assert 255 * (noisy - clean).std() == pytest.approx(25, rel=0.05)
    assert not torch.equal(next(tool.patches(images, 4))[1], next(tool.patches(images, 3))[1])

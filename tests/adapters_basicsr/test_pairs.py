"""Pairs of images that would end a training or a validation are named before it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from basicsr.data.paired_image_dataset import PairedImageDataset

from sapd_plugin.basicsr.pairs import check_order, check_pairs, check_validation
from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import sapd_options, training_set

PSNR, SSIM = {'type': 'calculate_psnr', 'crop_border': 4}, {'type': 'calculate_ssim', 'crop_border': 4}


@pytest.fixture
def pair(tmp_path):
    """Write a pair of super-resolution by 2; return its paths."""

    def write(truth, degraded):
        for name, (height, width) in (('gt', truth), ('lq', degraded)):
            cv2.imwrite(str(tmp_path / f'{name}.png'), np.zeros((height, width, 3), np.uint8))
        return {'gt_path': str(tmp_path / 'gt.png'), 'lq_path': str(tmp_path / 'lq.png')}

    return write


def test_exchanged_folders_are_told_by_the_sizes(pair):
    check_order('datasets.train', {'scale': 2}, pair((24, 32), (12, 16)))
    check_order('datasets.train', {'scale': 1}, pair((24, 32), (24, 32)))
    check_order('datasets.train', {'scale': 2}, pair((24, 32), (23, 32)))  # another mistake, named elsewhere
    with pytest.raises(SAPDError, match=r'datasets.train: dataroot_gt and dataroot_lq are exchanged: .*24x32 .height'):
        check_order('datasets.train', {'scale': 2}, pair((12, 16), (24, 32)))


def test_exchanged_folders_are_named_before_the_masks(pairs, store, tmp_path):
    (tmp_path / 'small').mkdir()
    for path in (pairs / 'rainy').iterdir():
        cv2.imwrite(str(tmp_path / 'small' / path.name), cv2.resize(cv2.imread(str(path)), None, fx=0.5, fy=0.5))
    folders = {'dataroot_gt': str(tmp_path / 'small'), 'dataroot_lq': str(pairs / 'clean')}
    changes = {f'datasets:train:{key}': folder for key, folder in folders.items()}
    with pytest.raises(SAPDError, match='are exchanged'):
        training_set(sapd_options(pairs, store, scale=2, **changes), tmp_path)


@pytest.mark.parametrize(
    ('truth', 'metrics', 'message'),
    [
        ((24, 32), {'psnr': PSNR, 'ssim': SSIM}, ''),
        ((25, 33), {}, ''),  # BasicSR crops it
        (
            (23, 32),
            {},
            r'datasets.val.dataroot_gt: .*gt.png is 23x32 .* expected a ground truth of 2 times its size .scale., or',
        ),
        ((24, 31), {}, r'24x31'),
        ((48, 64), {}, r'gt.png is 48x64 .height x width. and .*lq.png 12x16 .* expected .* 2 times'),
        ((24, 32), {'a': {**PSNR, 'crop_border': 12}}, r'val.metrics.a.crop_border: found 12, .* Expected 11 at most'),
        ((24, 32), {'b': {**SSIM, 'crop_border': 7}}, r'calculate_ssim needs 11x11 pixels. Expected 6 at most'),
    ],
)
def test_a_validation_that_would_end_or_be_nan(pair, truth, metrics, message):
    pairs = [pair(truth, (12, 16))]
    if not message:
        check_validation('datasets.val', {'scale': 2}, pairs, metrics)
        return
    with pytest.raises(SAPDError, match=message):
        check_validation('datasets.val', {'scale': 2}, pairs, metrics)


def test_images_that_are_too_small_for_a_metric(pair):
    with pytest.raises(SAPDError, match=r'found 4, but .*Expected larger images'):
        check_validation('datasets.val', {'scale': 1}, [pair((8, 8), (8, 8))], {'ssim': SSIM})


def test_a_degraded_image_that_cannot_be_read_is_named(pair, tmp_path):
    broken = pair((24, 24), (24, 24))
    (tmp_path / 'lq.png').write_bytes(b'')
    with pytest.raises(SAPDError, match=r'datasets.train.dataroot_lq: .*lq.png cannot be read .*, expected an image'):
        check_pairs('datasets.train', {'gt_size': 8, 'scale': 1}, [(broken, (24, 24))], 'disk')
    opt = {'phase': 'val', 'scale': 1, 'io_backend': {'type': 'disk'}, 'dataroot_gt': tmp_path, 'dataroot_lq': tmp_path}
    dataset = PairedImageDataset(opt)
    dataset.paths = [broken]
    with pytest.raises(SAPDError, match=r'datasets.val: .*gt.png and .*lq.png cannot be loaded .*, expected whole'):
        dataset[0]

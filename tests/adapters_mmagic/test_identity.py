"""MMagic's data sets train with the masks of their own images, however these are stored, read and turned."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import cv2
import mmcv
import numpy as np
import pytest
from mmagic.registry import DATASETS
from mmengine.fileio import register_backend
from mmengine.fileio.backends import BaseStorageBackend

from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.reader import is_turned_alike
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.segmenters import build_segmenter
from tests.adapters_mmagic.test_dataset import CROP, build, config_of, in_lmdb, is_aligned, samples
from tests.oriented import Levels, with_orientation
from tests.photos import make_store

CHECKED = r'4 masks checked in [\d.]+ s; '


@pytest.fixture
def others(pairs: Path, tmp_path: Path) -> Path:
    """A store of other photos under the same names."""
    names = sorted(path.name for path in (pairs / 'clean').iterdir())
    (tmp_path / 'others').mkdir()
    for name, other in zip(names, [*names[1:], names[0]]):
        shutil.copy(pairs / 'clean' / other, tmp_path / 'others' / name)
    return make_store(tmp_path / 'masks of others', tmp_path / 'others')


@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_masks_of_other_photos_are_refused(pairs, others, tmp_path, backend):
    config = config_of(pairs, others, [CROP])
    config = config if backend == 'disk' else in_lmdb(config, pairs, tmp_path)
    message = (
        r'train_dataloader\.dataset\.mask_store: 4 of 4 compared masks .* among them .001. \(.*001\.png or .*001\.png\)'
    )
    with pytest.raises(SAPDError, match=message):
        DATASETS.build({**config})
    assert DATASETS.build({**config, 'mask_check': 0}).mask_note.endswith('(mask_check: 0).')


@pytest.mark.parametrize('kind', ['clean', 'rainy'])
@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_masks_of_either_image_of_a_pair_are_accepted(pairs, tmp_path, kind, backend):
    extract_masks(pairs / kind, tmp_path / 'masks', build_segmenter('felzenszwalb'), progress=False)
    config = config_of(pairs, tmp_path / 'masks', [CROP])
    dataset = DATASETS.build(config if backend == 'disk' else in_lmdb(config, pairs, tmp_path))
    assert re.fullmatch(
        CHECKED + r'4 images compared with the digests of their masks in [\d.]+ s: the same\.', dataset.mask_note
    )


def test_two_images_with_one_key_are_refused_and_a_repeated_line_is_not(pairs, grey_store, tmp_path):
    for kind in ('clean', 'rainy'):
        shutil.copytree(pairs / kind, tmp_path / kind)
        cv2.imwrite(str(tmp_path / kind / '001.jpg'), cv2.imread(str(tmp_path / kind / '002.png')))
    with pytest.raises(SAPDError) as caught:
        build(tmp_path, grey_store, [CROP])
    message = str(caught.value)
    assert all(str(tmp_path / 'clean' / name) in message for name in ('001.png', '001.jpg'))
    assert "have the same mask '001'" in message
    (tmp_path / 'names.txt').write_text('001.png (96,112,3)\n002.png (96,112,3)\n001.png (96,112,3)\n')
    assert len(build(tmp_path, grey_store, [CROP], ann_file=str(tmp_path / 'names.txt'))) == 3
    repeated = {'type': 'RepeatDataset', 'times': 2, 'dataset': config_of(pairs, grey_store, [CROP])}
    assert len(DATASETS.build(repeated)) == 8


# Which readers see a photo as its mask is: measured with OpenCV 4.11 and Pillow 10.4 and 11.3, see test_image_header.py.
MODES = ('color', 'unchanged', 'color_ignore_orientation', 'grayscale', 'grayscale_ignore_orientation')
TURNING = {('cv2', 'color'), ('cv2', 'grayscale'), ('pillow', 'color'), ('pillow', 'grayscale')}
READERS = [(backend, mode) for backend in ('cv2', 'pillow') for mode in MODES] + [('tifffile', 'color')]
ALIKE = {
    'png': TURNING,
    'jpg': TURNING,
    'webp': {reader for reader in READERS if reader not in {('pillow', 'color'), ('pillow', 'grayscale')}},
    'tiff': {reader for reader in READERS if reader[0] != 'tifffile'},
}


@pytest.mark.parametrize('suffix', ALIKE)
@pytest.mark.parametrize('orientation', [2, 6, 9])
@pytest.mark.usefixtures('without_ceremony')
def test_masks_follow_the_pipelines_reader_or_it_is_refused_by_name(pairs, tmp_path, suffix, orientation):
    for kind in ('clean', 'rainy'):
        (tmp_path / kind).mkdir()
        for path in sorted((pairs / kind).glob('*.png'))[:2]:
            data = with_orientation(cv2.imread(str(path)), suffix, orientation)
            (tmp_path / kind / f'{path.stem}.{suffix}').write_bytes(data)
    extract_masks(tmp_path / 'clean', tmp_path / 'masks', Levels(), progress=False)
    for backend, mode in READERS:
        if backend == 'tifffile' and suffix != 'tiff':
            continue
        config = config_of(pairs, tmp_path / 'masks', [CROP], data_root=str(tmp_path), img_suffix=f'.{suffix}')
        for loader in config['pipeline'][:2]:
            loader.update(color_type=mode, imdecode_backend=backend)
        if orientation == 9 or (backend, mode) in ALIKE[suffix]:
            dataset = DATASETS.build(config)
            if not mode.startswith('grayscale'):
                assert all(is_aligned(sample['data_samples']) for sample in samples(dataset, 2))
            continue
        found = rf"LoadImageFromFile\(key='gt', color_type='{mode}', imdecode_backend='{backend}'\) turns .*00[12]\.{suffix}"
        with pytest.raises(SAPDError, match=rf'train_dataloader\.dataset\.pipeline: {found} otherwise than its mask'):
            DATASETS.build(config)


def test_the_global_backend_of_mmcv_counts(pairs, grey_store, tmp_path, monkeypatch):
    for kind in ('clean', 'rainy'):
        (tmp_path / kind).mkdir()
        data = with_orientation(cv2.imread(str(pairs / kind / '001.png')), 'webp', 2)
        (tmp_path / kind / '001.webp').write_bytes(data)
    store = tmp_path / 'masks'
    extract_masks(tmp_path / 'clean', store, Levels(), progress=False)
    config = config_of(pairs, store, [CROP], data_root=str(tmp_path), img_suffix='.webp')
    for loader in config['pipeline'][:2]:
        loader['imdecode_backend'] = None
    DATASETS.build(config)
    mmcv.use_backend('pillow')
    try:
        with pytest.raises(SAPDError, match=r"color_type='color', imdecode_backend='pillow'\) turns"):
            DATASETS.build(config)
        config['pipeline'][1]['imdecode_backend'] = 'turbojpeg'
        with pytest.raises(SAPDError, match=r"imdecode_backend='turbojpeg'\) cannot read .*001\.webp"):
            DATASETS.build(config)
    finally:
        mmcv.use_backend('cv2')


def test_remote_images_are_compared_and_turned_ones_found(pairs, others, tmp_path):
    class Bucket(BaseStorageBackend):
        def get(self, filepath):
            return Path(filepath.replace('bucket://', '/', 1)).read_bytes()

        def get_text(self, filepath, encoding='utf-8'):
            raise NotImplementedError

    register_backend('bucket', Bucket, force=True)
    extract_masks(pairs / 'clean', tmp_path / 'masks', Levels(), progress=False)
    config = config_of(pairs, tmp_path / 'masks', [CROP])
    for loader in config['pipeline'][:2]:
        loader['backend_args'] = {'backend': 'bucket'}
    assert re.match(CHECKED + '4 images compared', DATASETS.build(config).mask_note)
    with pytest.raises(SAPDError, match='4 of 4 compared masks'):
        DATASETS.build({**config, 'mask_store': str(others)})
    for kind in ('clean', 'rainy'):
        (tmp_path / kind).mkdir()
        data = with_orientation(cv2.imread(str(pairs / kind / '001.png')), 'png', 2)
        (tmp_path / kind / '001.png').write_bytes(data)
    extract_masks(tmp_path / 'clean', tmp_path / 'turned', Levels(), progress=False)
    turned = {**config, 'data_root': str(tmp_path), 'mask_store': str(tmp_path / 'turned')}
    DATASETS.build(turned)
    config['pipeline'][1]['color_type'] = 'unchanged'
    with pytest.raises(SAPDError, match=r"color_type='unchanged', imdecode_backend='cv2'\) turns"):
        DATASETS.build(turned)


def test_turns_are_told_apart_whatever_the_values(pairs):
    photo = cv2.imread(str(pairs / 'clean/001.png'))[:90, :90]
    grey, deep = photo.mean(axis=2), photo.astype(np.uint16) * 257
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 20, photo.shape), 0, 255).astype(np.uint8)
    for other in (photo, grey, grey[..., None], deep, noisy, np.dstack([photo, photo[..., :1]])):
        assert is_turned_alike(other, photo)
        for turned in (
            other[::-1],
            other[:, ::-1],
            other[::-1, ::-1],
            other.swapaxes(0, 1),
            other[:, ::-1].swapaxes(0, 1),
        ):
            assert not is_turned_alike(turned, photo)
    assert not is_turned_alike(photo[:80], photo)
    assert is_turned_alike(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8))

"""BasicSR's data sets train with the masks of their own images, however these are stored and turned."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.segmenters import build_segmenter
from tests.adapters_basicsr.recipes import in_lmdb, sapd_options, seeded, training_set
from tests.adapters_basicsr.test_dataset import is_aligned
from tests.oriented import Levels, with_orientation
from tests.photos import make_store

CHECKED = r'4 masks checked in [\d.]+ s; '

NOISE = {'datasets:train:type': 'GaussianNoiseDataset', 'datasets:train:sigma': 9}


def build(pairs: Path, store: Path, **changes: Any) -> Any:
    return training_set(sapd_options(pairs, store, **changes), pairs.parent)


@pytest.fixture
def others(pairs: Path, tmp_path: Path) -> Path:
    """A store of other photos under the same names."""
    names = sorted(path.name for path in (pairs / 'clean').iterdir())
    (tmp_path / 'others').mkdir()
    for name, other in zip(names, [*names[1:], names[0]]):
        shutil.copy(pairs / 'clean' / other, tmp_path / 'others' / name)
    return make_store(tmp_path / 'masks of others', tmp_path / 'others')


@pytest.mark.parametrize('kind', ['disk', 'lmdb', 'noise'])
def test_masks_of_other_photos_are_refused(pairs, others, tmp_path, kind):
    changes = {'disk': {}, 'noise': NOISE}.get(kind) if kind != 'lmdb' else in_lmdb(pairs, tmp_path)
    with pytest.raises(
        SAPDError, match=r'datasets\.train\.mask_store: 4 of 4 compared masks .* among them .001'
    ) as caught:
        build(pairs, others, **changes)
    assert ('rainy' in str(caught.value)) == (kind != 'noise')
    assert build(pairs, others, **changes, **{'datasets:train:mask_check': 0}).mask_note.endswith('(mask_check: 0).')


@pytest.mark.parametrize('kind', ['clean', 'rainy'])
@pytest.mark.parametrize('backend', ['disk', 'lmdb'])
def test_masks_of_either_image_of_a_pair_are_accepted(pairs, tmp_path, kind, backend):
    changes = in_lmdb(pairs, tmp_path) if backend == 'lmdb' else {}
    extract_masks(pairs / kind, tmp_path / 'masks', build_segmenter('felzenszwalb'), progress=False)
    dataset = build(pairs, tmp_path / 'masks', **changes)
    assert re.fullmatch(
        CHECKED + r'4 images compared with the digests of their masks in [\d.]+ s: the same\.', dataset.mask_note
    )


def test_two_images_with_one_key_are_refused_and_a_repeated_line_is_not(pairs, grey_store, tmp_path):
    for kind in ('clean', 'rainy'):
        shutil.copytree(pairs / kind, tmp_path / kind)
        cv2.imwrite(str(tmp_path / kind / '001.jpg'), cv2.imread(str(tmp_path / kind / '002.png')))
    with pytest.raises(SAPDError) as caught:
        build(tmp_path, grey_store)
    message = str(caught.value)
    assert all(str(tmp_path / 'clean' / name) in message for name in ('001.png', '001.jpg'))
    assert "have the same mask '001'" in message
    (tmp_path / 'meta.txt').write_text('001.png (96,112,3)\n002.png (96,112,3)\n001.png (96,112,3)\n')
    assert len(build(tmp_path, grey_store, **{'datasets:train:meta_info_file': str(tmp_path / 'meta.txt')})) == 3


@pytest.mark.parametrize('suffix', ['png', 'jpg', 'webp', 'tiff'])
@pytest.mark.parametrize('orientation', [2, 6, 65535])
def test_masks_follow_photos_that_are_turned(pairs, tmp_path, suffix, orientation):
    for kind in ('clean', 'rainy'):
        (tmp_path / kind).mkdir()
        for path in sorted((pairs / kind).glob('*.png'))[:2]:
            data = with_orientation(cv2.imread(str(path)), suffix, orientation)
            (tmp_path / kind / f'{path.stem}.{suffix}').write_bytes(data)

    report = extract_masks(tmp_path / 'clean', tmp_path / 'masks', Levels(), progress=False)
    assert (report.written, report.failed) == (2, [])
    dataset = build(tmp_path, tmp_path / 'masks')
    tall = orientation == 6 and suffix != 'webp'  # which this OpenCV does not turn
    assert dataset.store.size('001') == ((112, 96) if tall else (96, 112))
    for trial in range(8):
        assert is_aligned(seeded(dataset, trial % 2, trial))

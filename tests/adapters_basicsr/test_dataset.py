from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np
import pytest
import torch
from basicsr.data import build_dataset

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.segmenters import build_segmenter
from tests.adapters_basicsr.recipes import in_lmdb, parsed, sapd_options, seeded, stock_options, training_set
from tests.photos import is_context_of, make_store, quantise, same_partition


def datasets(pairs: Path, store: Path, **changes: Any) -> tuple[Any, Any]:
    """The stock training set and the one with masks."""
    stock, sapd = stock_options(pairs, **changes), sapd_options(pairs, store, **changes)
    return training_set(stock, pairs.parent), training_set(sapd, pairs.parent)


def is_aligned(sample: dict[str, Any]) -> bool:
    """Whether a mask from ``grey_store`` is what the grey levels of its patch are."""
    bgr = (sample['gt'].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    return same_partition(quantise(bgr), sample['mask'][0].numpy())


@pytest.mark.parametrize('backend', ['disk', 'meta_info', 'lmdb'])
def test_same_patches_as_stock_and_masks_aligned(pairs, grey_store, tmp_path, backend):
    changes = in_lmdb(pairs, tmp_path) if backend == 'lmdb' else {}
    if backend == 'meta_info':
        lines = [f'{p.name} (96,112,3)\n' for p in sorted((pairs / 'clean').glob('*.png'))]
        (tmp_path / 'meta.txt').write_text(''.join(lines))
        changes['datasets:train:meta_info_file'] = str(tmp_path / 'meta.txt')
    stock, sapd = datasets(pairs, grey_store, **changes)
    kinds = set()
    for trial in range(40):
        expected, sample = (seeded(dataset, trial % 4, trial) for dataset in (stock, sapd))
        assert torch.equal(sample['lq'], expected['lq'])
        assert torch.equal(sample['gt'], expected['gt'])
        assert sample['mask'].dtype == torch.int32
        assert sample['mask'].shape == (1, 48, 48)
        assert is_aligned(sample)
        kinds.add(sample['mask'].numpy().tobytes())
    assert len(kinds) > 30


@pytest.mark.parametrize('kind', ['PairedImageMaskDataset', 'GaussianNoiseDataset'])
def test_context_is_that_of_the_whole_photo_after_crop_and_flips(pairs, grey_store, kind):
    changes = {'datasets:train:type': kind} | ({'datasets:train:sigma': 9} if kind == 'GaussianNoiseDataset' else {})
    plain, contextual = (
        training_set(sapd_options(pairs, grey_store, **changes, **context), pairs.parent)
        for context in ({}, {'datasets:train:mask_context': True})
    )
    for trial in range(12):
        without, sample = (seeded(dataset, trial % 4, trial) for dataset in (plain, contextual))
        assert 'mask_context' not in without
        assert sample['mask'].dtype == torch.int32
        assert sample['mask_context'].dtype == torch.float32
        assert sample['mask_context'].shape == (65, 7)
        assert torch.equal(sample['gt'], without['gt'])
        assert same_partition(sample['mask'].numpy(), without['mask'].numpy())
        patch = (sample['gt'].permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
        photo = cv2.imread(str(pairs / 'clean' / Path(sample['gt_path']).name))
        assert is_context_of(photo, patch, sample['mask'][0].numpy(), sample['mask_context'].numpy())


def test_context_of_shuffled_masks_is_that_of_the_masks_photo(pairs, grey_store):
    changes = {'datasets:train:mask_context': True, 'datasets:train:mask_shuffle': 1}
    sample = seeded(training_set(sapd_options(pairs, grey_store, **changes), pairs.parent), 0, 0)
    photos = [cv2.imread(str(path)) for path in sorted((pairs / 'clean').glob('*.png'))]
    row = sample['mask_context'][1].numpy()
    shares = [[(quantise(photo) == level).mean() for level in range(1, 9)] for photo in photos]
    found = [any(abs(share - row[6]) < 1e-6 for share in own) for own in shares]
    assert not found[0]
    assert sum(found) >= 1


def test_a_patch_too_small_for_masks_is_warned_of(pairs, grey_store):
    plain, small = (
        training_set(sapd_options(pairs, grey_store, **{'datasets:train:gt_size': side}), pairs.parent)
        for side in (48, 2)
    )
    assert plain.mask_warning == ''
    assert re.match(r'datasets\.train\.gt_size: in the median, a patch of 2x2 holds [12] regions', small.mask_warning)


def test_masks_cut_from_an_lmdb_are_found_by_the_lmdb_data_set(pairs, tmp_path):
    changes, store = in_lmdb(pairs, tmp_path), tmp_path / 'masks'
    report = extract_masks(tmp_path / 'clean.lmdb', store, build_segmenter('felzenszwalb'), progress=False)
    assert (report.written, report.failed) == (4, [])
    assert int(datasets(pairs, store, **changes)[1][0]['mask'].max()) >= 1


def test_an_lmdb_whose_lines_say_no_sizes_is_served_and_a_wrong_size_still_found(pairs, grey_store, tmp_path):
    changes = in_lmdb(pairs, tmp_path)
    meta = tmp_path / 'clean.lmdb' / 'meta_info.txt'
    lines = meta.read_text().splitlines()
    assert all(line.endswith(' (96,112,3) 1') for line in lines)
    for ending in ('', ' 1', ' (x)'):
        meta.write_text(''.join(line.split(' ')[0] + ending + '\n' for line in lines))
        assert is_aligned(datasets(pairs, grey_store, **changes)[1][0])
    small = cv2.imencode('.png', np.zeros((96, 100, 3), np.uint8))[1].tobytes()
    with lmdb.open(str(meta.parent), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        transaction.put(lines[2].split('.')[0].encode(), small)
    with pytest.raises(SAPDError, match='the mask of .* is 96x112, the image 96x100'):
        datasets(pairs, grey_store, **changes)


@pytest.mark.parametrize('side', ['clean', 'rainy'])
def test_a_damaged_lmdb_or_list_is_named_before_basicsr_opens_it(pairs, grey_store, tmp_path, side):
    changes = in_lmdb(pairs, tmp_path)
    options = sapd_options(pairs, grey_store, **changes)
    folder = tmp_path / f'{side}.lmdb'
    whole = (folder / 'data.mdb').read_bytes()
    (folder / 'data.mdb').write_bytes(whole[:8192] + bytes(4096) * (len(whole) // 4096 - 2))
    with pytest.raises(SAPDError, match=rf'images: the LMDB {folder} cannot be read \(page \d+ is not the one'):
        training_set(options, pairs.parent)
    (folder / 'data.mdb').write_bytes(whole)
    (folder / 'meta_info.txt').write_bytes(b'\xff.png (96,112,3) 1\n')
    with pytest.raises(SAPDError, match=rf'{folder}/meta_info.txt: is damaged, expected UTF-8 text'):
        training_set(options, pairs.parent)


def test_mask_is_cut_at_the_ground_truth_scale(pairs, grey_store, tmp_path):
    (tmp_path / 'rainy').mkdir()
    (tmp_path / 'clean').symlink_to(pairs / 'clean')
    for path in (pairs / 'rainy').glob('*.png'):
        cv2.imwrite(str(tmp_path / 'rainy' / path.name), cv2.resize(cv2.imread(str(path)), (56, 48)))
    stock, sapd = datasets(tmp_path, grey_store, scale=2)
    for trial in range(8):
        expected, sample = (seeded(dataset, 0, trial) for dataset in (stock, sapd))
        assert sample['lq'].shape[-1] == 24
        assert sample['mask'].shape == (1, 48, 48)
        assert torch.equal(sample['gt'], expected['gt'])
        assert is_aligned(sample)


def test_names_by_template_and_grey_and_normalised_images(pairs, tmp_path):
    renamed = tmp_path / 'restored'
    renamed.mkdir()
    for path in (pairs / 'clean').glob('*.png'):
        shutil.copy(path, renamed / f'{path.stem}_stock.png')
    changes = {'mask_filename_tmpl': '{}_stock', 'color': 'y', 'mean': [0.5], 'std': [0.25]}
    changes = {f'datasets:train:{key}': value for key, value in changes.items()}
    stock, sapd = datasets(pairs, make_store(tmp_path / 'masks', renamed), **changes)
    expected, sample = (seeded(dataset, 1, 5) for dataset in (stock, sapd))
    assert torch.equal(sample['lq'], expected['lq'])
    assert sample['lq'].shape == (1, 48, 48)


def test_validation_samples_are_the_stock_ones(pairs, store):
    opt = parsed(sapd_options(pairs, store), pairs.parent)['datasets']['val']
    sample, expected = (build_dataset({**opt, 'type': f'PairedImage{kind}Dataset'})[0] for kind in ('Mask', ''))
    assert sample.keys() == expected.keys()
    assert torch.equal(sample['gt'], expected['gt'])


def test_shuffled_masks_are_other_images_masks_at_the_same_places(pairs, grey_store):
    plain, shuffled = (
        training_set(sapd_options(pairs, grey_store, **changes), pairs.parent)
        for changes in ({}, {'datasets:train:mask_shuffle': 1})
    )
    for index in range(4):
        own, other = (seeded(dataset, index, index) for dataset in (plain, shuffled))
        assert torch.equal(own['lq'], other['lq'])
        assert own['mask'].shape == other['mask'].shape
        assert not torch.equal(own['mask'], other['mask'])

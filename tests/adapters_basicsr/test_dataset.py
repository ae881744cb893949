from __future__ import annotations

import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils.lmdb_util import make_lmdb_from_imgs

import sapd_plugin.basicsr  # noqa: F401
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.segmenters import build_segmenter
from tests.adapters_basicsr.recipes import parsed, sapd_options, stock_options
from tests.photos import make_store, quantise


def datasets(pairs: Path, store: Path, **changes):
    stock, sapd = stock_options(pairs, **changes), sapd_options(pairs, store, **changes)
    return [build_dataset(parsed(opt, pairs.parent)['datasets']['train']) for opt in (stock, sapd)]


def to_lmdb(pairs: Path, folder: Path) -> Path:
    for kind in ('clean', 'rainy'):
        names = sorted(p.name for p in (pairs / kind).glob('*.png'))
        make_lmdb_from_imgs(str(pairs / kind), str(folder / f'{kind}.lmdb'), names, [n[:-4] for n in names])
    return folder


def patch_mask(gt: torch.Tensor) -> np.ndarray:
    """What a crop, flip, rotation or transposition of the grey-level map has to be, computed from the patch."""
    bgr = (gt.permute(1, 2, 0).numpy()[..., ::-1] * 255).round().astype(np.uint8)
    return quantise(bgr)


@pytest.mark.parametrize('backend', ['disk', 'meta_info', 'lmdb'])
def test_same_patches_as_stock_and_masks_aligned(pairs, grey_store, tmp_path, backend):
    changes = {}
    if backend == 'meta_info':
        lines = [f'{p.name} (96,112,3)\n' for p in sorted((pairs / 'clean').glob('*.png'))]
        (tmp_path / 'meta.txt').write_text(''.join(lines))
        changes['datasets:train:meta_info_file'] = str(tmp_path / 'meta.txt')
    if backend == 'lmdb':
        folder = to_lmdb(pairs, tmp_path)
        changes |= {'datasets:train:io_backend': {'type': 'lmdb'}}
        changes |= {
            f'datasets:train:dataroot_{k}': str(folder / f'{v}.lmdb') for k, v in (('gt', 'clean'), ('lq', 'rainy'))
        }
    stock, sapd = datasets(pairs, grey_store, **changes)
    # The store's labels are ranks by area of the whole image; map them back through the grey levels they stand for.
    orders = {}
    for path in sorted((pairs / 'clean').glob('*.png')):
        levels, areas = np.unique(quantise(cv2.imread(str(path))), return_counts=True)
        orders[path.stem] = np.concatenate([[0], levels[np.lexsort((levels, -areas))]])
    kinds = set()
    for trial in range(40):
        index = trial % 4
        random.seed(trial)
        expected = stock[index]
        random.seed(trial)
        sample = sapd[index]
        assert torch.equal(sample['lq'], expected['lq'])
        assert torch.equal(sample['gt'], expected['gt'])
        assert sample['mask'].dtype == torch.int32
        assert sample['mask'].shape == (1, 48, 48)
        levels = orders[Path(sample['gt_path']).stem][sample['mask'][0].numpy()]
        assert np.array_equal(levels, patch_mask(sample['gt']))
        kinds.add(levels.tobytes())
    assert len(kinds) > 30


def test_masks_cut_from_an_lmdb_are_found_by_the_lmdb_data_set(pairs, tmp_path):
    folder = to_lmdb(pairs, tmp_path)
    store = tmp_path / 'masks'
    report = extract_masks(folder / 'clean.lmdb', store, build_segmenter('felzenszwalb'), progress=False)
    assert (report.written, report.failed) == (4, [])
    changes = {'datasets:train:io_backend': {'type': 'lmdb'}}
    roots = (('gt', 'clean'), ('lq', 'rainy'))
    changes |= {f'datasets:train:dataroot_{key}': str(folder / f'{kind}.lmdb') for key, kind in roots}
    sapd = datasets(pairs, store, **changes)[1]
    assert int(sapd[0]['mask'].max()) >= 1


def test_mask_is_cut_at_the_ground_truth_scale(pairs, grey_store, tmp_path):
    (tmp_path / 'rainy').mkdir()
    (tmp_path / 'clean').symlink_to(pairs / 'clean')
    for path in (pairs / 'rainy').glob('*.png'):
        cv2.imwrite(str(tmp_path / 'rainy' / path.name), cv2.resize(cv2.imread(str(path)), (56, 48)))
    stock, sapd = datasets(tmp_path, grey_store, scale=2)
    for trial in range(8):
        random.seed(trial)
        expected = stock[0]
        random.seed(trial)
        sample = sapd[0]
        assert sample['lq'].shape[-1] == 24
        assert sample['mask'].shape == (1, 48, 48)
        assert torch.equal(sample['gt'], expected['gt'])
        grey = patch_mask(sample['gt'])
        # One label for one grey level: equal partitions.
        joint = np.unique(np.stack([grey.ravel(), sample['mask'].numpy().ravel()]), axis=1)
        assert joint.shape[1] == len(np.unique(grey)) == len(np.unique(sample['mask']))


@pytest.mark.parametrize('workers', [0, 2])
def test_loader_gives_batches(pairs, store, workers):
    opt = parsed(sapd_options(pairs, store, **{'datasets:train:num_worker_per_gpu': workers}), pairs.parent)
    dataset_opt = opt['datasets']['train']
    loader = build_dataloader(build_dataset(dataset_opt), dataset_opt, num_gpu=0, seed=0)
    batches = list(loader)
    assert [tuple(b['mask'].shape) for b in batches] == [(2, 1, 48, 48)] * 2
    assert max(int(b['mask'].max()) for b in batches) > 1


def test_names_by_template_and_grey_and_normalised_images(pairs, tmp_path):
    import shutil

    renamed = tmp_path / 'restored'
    renamed.mkdir()
    for path in (pairs / 'clean').glob('*.png'):
        shutil.copy(path, renamed / f'{path.stem}_stock.png')
    store = make_store(tmp_path / 'masks', renamed)
    changes = {
        'datasets:train:mask_filename_tmpl': '{}_stock',
        'datasets:train:color': 'y',
        'datasets:train:mean': [0.5],
        'datasets:train:std': [0.25],
    }
    stock, sapd = datasets(pairs, store, **changes)
    random.seed(5)
    expected = stock[1]
    random.seed(5)
    sample = sapd[1]
    assert torch.equal(sample['lq'], expected['lq'])
    assert sample['lq'].shape == (1, 48, 48)


def test_validation_samples_are_the_stock_ones(pairs, store):
    opt = parsed(sapd_options(pairs, store), pairs.parent)['datasets']['val']
    opt['type'] = 'PairedImageMaskDataset'
    stock = build_dataset({**opt, 'type': 'PairedImageDataset'})
    sample, expected = build_dataset(opt)[0], stock[0]
    assert sample.keys() == expected.keys()
    assert torch.equal(sample['gt'], expected['gt'])


def test_shuffled_masks_are_other_images_masks_at_the_same_places(pairs, grey_store):
    plain, shuffled = (
        build_dataset(parsed(sapd_options(pairs, grey_store, **changes), pairs.parent)['datasets']['train'])
        for changes in ({}, {'datasets:train:mask_shuffle': 1})
    )
    changed = 0
    for index in range(4):
        samples = []
        for dataset in (plain, shuffled):
            random.seed(index)
            samples.append(dataset[index])
        assert torch.equal(samples[0]['lq'], samples[1]['lq'])
        assert samples[0]['mask'].shape == samples[1]['mask'].shape
        changed += not torch.equal(samples[0]['mask'], samples[1]['mask'])
    assert changed == 4

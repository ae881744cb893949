"""One LMDB and one meta file serve both frameworks."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from sapd_plugin.cli import prepare_dataset
from tests.datasets import stand_ins


@pytest.fixture(scope='module')
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """GoPro's training split of three pairs, cut into four sub-images each, as LMDBs."""
    folder = tmp_path_factory.mktemp('prepared')
    command = stand_ins.gopro(folder, 3)
    assert prepare_dataset.main([*command, '--crop-size', '16', '--step', '12', '--lmdb']) == 0
    return folder / 'out' / 'GoPro' / 'train'


def expected(prepared: Path, side: str) -> dict[str, np.ndarray]:
    return {path.stem: cv2.imread(str(path)) for path in sorted((prepared / f'{side}_sub').iterdir())}


def test_basicsr_reads_the_lmdb_and_the_meta_file(prepared: Path) -> None:
    from basicsr.data.paired_image_dataset import PairedImageDataset

    def dataset(suffix: str, **more: str) -> PairedImageDataset:
        roots = {'dataroot_gt': f'{prepared}/target_sub{suffix}', 'dataroot_lq': f'{prepared}/input_sub{suffix}'}
        backend = {'type': 'lmdb' if suffix else 'disk'}
        return PairedImageDataset({'scale': 1, 'phase': 'val', 'gt_size': 16, 'io_backend': backend, **roots, **more})

    lmdb, listed = dataset('.lmdb'), dataset('', meta_info_file=f'{prepared}/meta_info_sub.txt')
    images = {key: expected(prepared, side) for key, side in (('gt', 'target'), ('lq', 'input'))}
    assert len(lmdb) == len(listed) == len(images['gt']) == 18
    for sample in [*lmdb, *listed]:
        for key in ('gt', 'lq'):
            tensor = (sample[key].numpy().transpose(1, 2, 0)[..., ::-1] * 255).round()
            assert np.array_equal(tensor, images[key][Path(sample[f'{key}_path']).stem])


def test_mmagic_reads_the_lmdb_and_the_meta_file(prepared: Path) -> None:
    from mmagic.datasets import BasicImageDataset
    from mmagic.registry import TRANSFORMS
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    images = {key: expected(prepared, side) for key, side in (('gt', 'target'), ('img', 'input'))}
    loaders = [
        {
            'type': 'LoadImageFromFile',
            'key': key,
            'backend_args': {'backend': 'lmdb', 'db_path': str(prepared / f'{side}_sub.lmdb')},
        }
        for key, side in (('gt', 'target'), ('img', 'input'))
    ]
    dataset = BasicImageDataset(
        ann_file='meta_info_sub.txt',
        metainfo={'dataset_type': 'gopro', 'task_name': 'deblur'},
        data_root=str(prepared),
        data_prefix={'img': 'input_sub', 'gt': 'target_sub'},
        pipeline=[],
    )
    assert len(dataset) == 18
    transforms = [TRANSFORMS.build(loader) for loader in loaders]
    for index in range(len(dataset)):
        sample = dataset[index]
        for transform in transforms:
            sample = transform(sample)
        for key in ('gt', 'img'):
            assert np.array_equal(sample[key], images[key][Path(sample[f'{key}_path']).stem])


def test_the_masks_extraction_reads_the_printed_list(prepared: Path) -> None:
    from sapd_plugin.priors.extraction.sources import open_photos

    photos = open_photos(prepared / 'mask_images.txt', prepared / 'input_sub')
    assert photos.failed == []
    assert [key for key, _ in photos.named] == sorted(expected(prepared, 'input'))
    assert photos.read(photos.named[0][1]).shape == (16, 16, 3)


def test_an_lmdb_of_other_images_is_refused(prepared: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = [*stand_ins.gopro(tmp_path, 2), '--no-sub-images', '--lmdb']
    assert prepare_dataset.main(command) == 0
    database = tmp_path / 'out/GoPro/train/input.lmdb'
    meta = database / 'meta_info.txt'
    meta.write_text(meta.read_text().splitlines(keepends=True)[0])
    capsys.readouterr()
    assert prepare_dataset.main(command) == 2
    assert f'{database}: found 1 images, expected 2' in capsys.readouterr().err

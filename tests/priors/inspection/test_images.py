"""Inspection says whose masks a store holds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sapd_plugin.cli import inspect_masks
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from tests.oriented import Levels


class Darker:
    """A restorer."""

    def __init__(self) -> None:
        self.settings = {'network': 'darker'}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image // 2


def photo(path: Path, number: int) -> None:
    smooth = cv2.resize(np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8), (20, 16))
    cv2.imwrite(str(path), smooth)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Fifty small photos."""
    (tmp_path / 'photos').mkdir()
    for i in range(50):
        photo(tmp_path / 'photos' / f'{i:02}.png', i)
    return tmp_path / 'photos'


@pytest.fixture
def store(photos: Path, tmp_path: Path) -> Path:
    extract_masks(photos, tmp_path / 'store', Levels(), progress=False)
    return tmp_path / 'store'


def inspect(capsys: pytest.CaptureFixture, *arguments: object) -> tuple[int, str]:
    status = inspect_masks.main([str(argument) for argument in arguments])
    return status, capsys.readouterr().out


def test_images_of_the_store_are_the_same(store: Path, photos: Path, capsys: pytest.CaptureFixture) -> None:
    status, out = inspect(capsys, store, '--against', photos)
    assert status == 0
    assert 'image digests     in 50 of 50 masks' in out
    assert 'images  32 of 50 compared with the digests of their masks: the same' in out
    status, out = inspect(capsys, store, '--against', photos, '--all', '--json')
    assert status == 0
    assert json.loads(out)['with_digests'] == 50
    images: dict[str, Any] = json.loads(out)['images']
    assert images.pop('made') == f'made from {photos}'
    assert images == {
        'images': 50,
        'compared': 50,
        'unverified': 0,
        'different': [],
        'unreadable': [],
        'restored': False,
        'sound': True,
    }


def test_other_photos_with_the_same_names_are_found(
    store: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'others').mkdir()
    for i in range(50):
        photo(tmp_path / 'others' / f'{i:02}.png', i + 100)
    status, out = inspect(capsys, store, '--against', tmp_path / 'others')
    assert status == 1
    assert f'32 of 50 compared with the digests of their masks: 32 are of different images (made from {photos})' in out
    assert f'different image: 00: {tmp_path / "others/00.png"}' in out
    assert 'different image: and 22 more (--json lists all)' in out


def test_one_exchanged_photo_is_found_among_all(store: Path, photos: Path, capsys: pytest.CaptureFixture) -> None:
    photo(photos / '02.png', 100)  # which is not among the 32
    assert inspect(capsys, store, '--against', photos)[0] == 0
    status, out = inspect(capsys, store, '--against', photos, '--all')
    assert status == 1
    assert '50 of 50 compared with the digests of their masks: 1 are of different images' in out
    assert f'different image: 02: {photos / "02.png"}' in out
    (photos / '03.png').write_bytes(b'')
    status, out = inspect(capsys, store, '--against', photos, '--all')
    assert f'unreadable image: {photos / "03.png"}: an empty file.' in out
    assert inspect_masks.main([str(store), '--all']) == 2
    assert 'error: --all: found without --against' in capsys.readouterr().err


def test_masks_of_restored_images_are_compared_with_what_was_restored(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / 'targets').mkdir()
    for i in range(50):
        photo(tmp_path / 'targets' / f'{i:02}.png', i + 100)
    extract_masks(photos, tmp_path / 'store', Levels(), restorer=Darker(), progress=False)
    assert inspect(capsys, tmp_path / 'store', '--against', photos)[0] == 0
    status, out = inspect(capsys, tmp_path / 'store', '--against', tmp_path / 'targets')
    assert status == 0
    assert f'unverified, because the masks are of restored images (made from {photos})' in out
    # One that does match shows that these are the images.
    shutil.copy(photos / '00.png', tmp_path / 'targets/00.png')
    status, out = inspect(capsys, tmp_path / 'store', '--against', tmp_path / 'targets')
    assert status == 1
    assert '31 are of different images' in out


def test_masks_of_an_earlier_version_are_unverified(store: Path, photos: Path, capsys: pytest.CaptureFixture) -> None:
    with MaskStoreWriter(store, MaskStore(store).settings) as writer:
        writer.put('00', LabelMap.from_labels(np.ones((16, 20), int)))
    photo(photos / '00.png', 100)
    status, out = inspect(capsys, store, '--against', photos, '--all')
    assert status == 0
    assert 'image digests     in 49 of 50 masks' in out
    assert 'images  1 unverified: an earlier version made the masks' in out


def test_two_images_with_one_key_are_a_problem(store: Path, photos: Path, capsys: pytest.CaptureFixture) -> None:
    photo(photos / '00.jpg', 100)
    status, out = inspect(capsys, store, '--against', photos)
    assert status == 1
    for name, other in (('00.png', '00.jpg'), ('00.jpg', '00.png')):
        assert f"problem: image {photos / name}: has the same key '00' as {photos / other}" in out

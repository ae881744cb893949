"""Masks of other photos under the same names: found, never lost unasked, and made again on request."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapd_plugin.cli import extract_masks as command
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction import sources
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from sapd_plugin.priors.store.digests import ImageDigests, digest_file, digest_pixels
from tests.photos import crop, photographs


class Bright:
    """A segmenter whose masks tell the photo: bright and dark pixels."""

    def __init__(self) -> None:
        self.settings = {'segmenter': 'bright', 'parameters': {}}

    def __call__(self, image: np.ndarray) -> LabelMap:
        return LabelMap.from_labels(1 + (image.sum(axis=2) > 384))


class Darker:
    """A restorer."""

    def __init__(self) -> None:
        self.settings = {'network': 'darker'}

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return image // 2


def write_photos(folder: Path, which: list[int], size: tuple[int, int] = (40, 50)) -> Path:
    """Write photos as 0.png, 1.png, ..."""
    folder.mkdir(parents=True)
    photos = list(photographs().values())
    for i, number in enumerate(which):
        cv2.imwrite(str(folder / f'{i}.png'), crop(photos[number], size)[..., ::-1])
    return folder


def masks_of(photos: Path, store: Path) -> bool:
    """Whether a store is whole, and holds the masks of exactly these photos."""
    masks = MaskStore(store)
    files = {path.stem: path for path in photos.iterdir()}
    expected = {key: Bright()(read_image(path)).labels for key, path in files.items()}
    lines = sorted('{}.png ({},{},1) 9'.format(key, *labels.shape) for key, labels in expected.items())
    return (
        masks.keys() == sorted(files)
        and masks.verify() == []
        and all(np.array_equal(masks.record(key).labels(), labels) for key, labels in expected.items())
        and sorted((store / 'meta_info.txt').read_text().splitlines()) == lines
    )


def records(store: Path) -> dict[str, bytes]:
    return {key: record for key, _, record, _ in MaskStore(store).scan()}


def test_masks_hold_the_digests_of_their_photos(tmp_path: Path) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1]), tmp_path / 'store'
    extract_masks(photos, store, Bright(), restorer=Darker(), progress=False)
    for path in photos.iterdir():
        # Of what was restored, not of what the restorer made of it: that is not kept.
        expected = ImageDigests(digest_pixels(read_image(path)), digest_file(path.read_bytes()))
        assert MaskStore(store).record(path.stem).digests == expected


def test_another_folder_with_equal_names_is_refused_and_nothing_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    first, second = write_photos(tmp_path / 'a/gt', [0, 1, 2]), write_photos(tmp_path / 'b/gt', [3, 4, 5], (44, 48))
    arguments = ['--output', str(tmp_path / 'store'), '--segmenter', 'felzenszwalb']
    assert command.main(['--images', str(first), *arguments]) == 0
    before = records(tmp_path / 'store')
    capsys.readouterr()
    assert command.main(['--images', str(second), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert '3 of the 3 masks that' in error
    assert "are of other images with the same names, among them '0', '1', '2'" in error
    assert f'made from {first}; these are in {second}' in error
    assert 'add --replace' in error
    assert records(tmp_path / 'store') == before
    assert command.main(['--images', str(second), *arguments, '--replace']) == 0
    out = capsys.readouterr().out
    assert '3 masks written, 0 kept, 0 failed, 0 left' in out
    assert '3 masks of other images with the same names removed' in out
    store = MaskStore(tmp_path / 'store')
    assert [store.size(str(i)) for i in range(3)] == [(44, 48)] * 3
    assert '(44,48,1)' in (tmp_path / 'store/meta_info.txt').read_text()


def test_one_exchanged_photo_is_found_and_it_alone_is_made_again(tmp_path: Path) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1, 2, 3]), tmp_path / 'store'
    for i in range(3):
        extract_masks(photos, store, Bright(), rank=Rank(i, 3), progress=False)
    before = records(store)
    shutil.copy(write_photos(tmp_path / 'other', [4], (60, 30)) / '0.png', photos / '1.png')
    for ranks in (1, 3):  # the mask is in a shard of another rank, or of the same
        with pytest.raises(SAPDError, match=r"1 of the \d masks that .* among them '1'\."):
            for i in range(ranks):
                extract_masks(photos, store, Bright(), rank=Rank(i, ranks), progress=False)
    assert records(store) == before
    report = extract_masks(photos, store, Bright(), progress=False, replace=True)
    assert (report.written, report.kept, report.replaced, report.unverified) == (1, 3, 1, 0)
    assert masks_of(photos, store)
    after = records(store)
    assert {key for key in before if before[key] != after[key]} == {'1'}


@pytest.mark.parametrize('ranks', [1, 3])
def test_ranks_replace_their_own_masks(tmp_path: Path, ranks: int) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1, 2, 3]), tmp_path / 'store'
    for i in range(ranks):
        extract_masks(photos, store, Bright(), rank=Rank(i, ranks), progress=False)
    shutil.rmtree(photos)
    write_photos(photos, [5, 4, 2, 3], (30, 60))
    for i in range(3):
        extract_masks(photos, store, Bright(), rank=Rank(i, 3), progress=False, replace=True)
    assert masks_of(photos, store)


def test_a_copy_in_another_format_is_the_same_and_equal_files_are_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1]), tmp_path / 'store'
    extract_masks(photos, store, Bright(), progress=False)
    cv2.imwrite(str(photos / '0.bmp'), cv2.imread(str(photos / '0.png')))
    (photos / '0.png').unlink()
    report = extract_masks(photos, store, Bright(), progress=False)
    assert (report.written, report.kept, report.unverified) == (0, 2, 0)
    decoded = []
    monkeypatch.setattr(
        sources, 'decode_image', lambda content, name: decoded.append(name) or np.zeros((1, 1, 3), 'u1')
    )
    with pytest.raises(SAPDError, match="1 of the 2 masks .* among them '0'"):
        extract_masks(photos, store, Bright(), progress=False)
    assert decoded == [str(photos / '0.bmp')]


def test_masks_of_an_earlier_version_are_kept_and_reported(tmp_path: Path) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1, 2]), tmp_path / 'store'
    extract_masks(photos, store, Bright(), progress=False)
    with MaskStoreWriter(store, MaskStore(store).settings) as writer:
        for i, colors in (('0', True), ('1', False)):
            image = read_image(photos / f'{i}.png')
            writer.put(i, Bright()(image).with_colors(image) if colors else Bright()(image))
    report = extract_masks(photos, store, Bright(), progress=False)
    assert (report.written, report.kept, report.unverified) == (0, 3, 2)
    assert any('2 kept masks are unverified: an earlier version made them' in line for line in report.lines())


def test_masks_that_another_process_is_writing_are_unverified(tmp_path: Path) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1]), tmp_path / 'store'
    extract_masks(photos, store, Bright(), rank=Rank(1, 2), progress=False)
    with MaskStoreWriter(store, MaskStore(store).settings, 1):
        report = extract_masks(photos, store, Bright(), progress=False)
    assert (report.written, report.kept, report.unverified) == (1, 1, 1)
    assert masks_of(photos, store)
    with (
        MaskStoreWriter(store, MaskStore(store).settings, 1),
        pytest.raises(SAPDError, match=r"--replace: 1 masks.*'1'"),
    ):
        extract_masks(photos, store, Bright(), progress=False, replace=True)


def test_a_photo_that_cannot_be_read_any_more_is_listed_and_its_mask_kept(tmp_path: Path) -> None:
    photos, store = write_photos(tmp_path / 'photos', [0, 1]), tmp_path / 'store'
    extract_masks(photos, store, Bright(), progress=False)
    before = records(store)
    (photos / '0.png').write_bytes((photos / '0.png').read_bytes()[:100])
    report = extract_masks(photos, store, Bright(), progress=False, replace=True)
    assert report.failed == [(str(photos / '0.png'), 'a truncated image.')]
    assert (report.written, report.kept) == (0, 1)
    assert records(store) == before

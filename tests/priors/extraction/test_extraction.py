from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from sapd_plugin.cli.extract_masks import main
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import list_images, read_image
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore
from tests.photos import crop, photographs
from tests.priors.store.stores import small_files


class Quadrants:
    """A segmenter that is quick, and fails on demand."""

    def __init__(self) -> None:
        self.settings = {'segmenter': 'quadrants', 'parameters': {}}

    def __call__(self, image: np.ndarray) -> LabelMap:
        if image.max() == 0:
            raise RuntimeError('too dark')
        height, width = image.shape[:2]
        y, x = np.mgrid[:height, :width]
        return LabelMap.from_labels(1 + 2 * (y >= height // 2) + (x >= width // 2))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six small cut-outs of photos, in two folders."""
    folder = tmp_path / 'photos'
    for i, photo in enumerate(photographs().values()):
        target = folder / ('left' if i % 2 else 'right') / f'{i // 2}.v1.png'
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), crop(photo, (64, 80 + i))[..., ::-1])
    return folder


def tool(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_the_tool_extracts_lists_what_failed_and_resumes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (photos / 'notes.txt').write_text('no image')
    first = (photos / 'left' / '0.v1.png').read_bytes()
    (photos / 'cut.png').write_bytes(first[: len(first) // 2])
    arguments = ('--images', photos, '--output', tmp_path / 'store', '--segmenter', 'felzenszwalb', '--set', 'scale=99')
    assert tool(*arguments, '--overlays', 2) == 1
    out = capsys.readouterr().out
    assert 'segmenter: felzenszwalb' in out
    assert '6 masks written, 0 kept, 1 failed, 0 left' in out
    assert '100.0 % of the pixels covered' in out
    assert f'failed: {photos / "cut.png"}: a truncated image' in out
    assert f'1 files skipped that are not images: {photos / "notes.txt"}\n' in out
    assert len(list((tmp_path / 'store' / 'overlays').rglob('*.png'))) == 2
    store = MaskStore(tmp_path / 'store')
    assert store.keys() == [f'{side}/{i}.v1' for side in ('left', 'right') for i in range(3)]
    assert store.verify() == []
    assert store.settings['parameters']['scale'] == 99
    record, photo = store.record('left/0.v1'), read_image(photos / 'left' / '0.v1.png')
    expected = LabelMap.from_labels(record.labels()).with_colors(photo).colors
    np.testing.assert_array_equal(record.colors, expected)

    (photos / 'notes.txt').unlink()
    (photos / 'cut.png').unlink()
    assert tool(*arguments) == 0
    assert '0 masks written, 6 kept, 0 failed, 0 left' in capsys.readouterr().out

    assert tool(*arguments[:-1], 'scale=5') == 2
    error = capsys.readouterr().err
    assert 'error: mask store' in error
    assert 'parameters.scale: found 99.0, expected 5.0' in error


@pytest.mark.parametrize(
    ('segmenter', 'option', 'message'),
    [
        ('felzenszwalp', 'set=scale=1', "Did you mean 'felzenszwalb'?"),
        ('felzenszwalb', 'set=scale', "error: --set: found 'scale', expected KEY=VALUE.\n"),
        ('felzenszwalb', 'preset=x', "error: segmenter 'felzenszwalb': unknown key 'preset'. Valid keys:"),
        ('felzenszwalb', 'device=x', "error: segmenter 'felzenszwalb': unknown key 'device'. Valid keys:"),
    ],
)
def test_the_tool_names_mistakes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture, segmenter: str, option: str, message: str
) -> None:
    assert tool('--images', photos, '--output', tmp_path / 'store', '--segmenter', segmenter, f'--{option}') == 2
    out, error = capsys.readouterr()
    assert out == ''
    assert message in error
    assert not (tmp_path / 'store').exists()


def test_shards_share_the_list(photos: Path, tmp_path: Path) -> None:
    for i in (2, 0, 1, 3):
        report = extract_masks(photos, tmp_path / 'store', Quadrants(), rank=Rank(i, 4), progress=False)
        assert report.written == (2 if i < 2 else 1)
    whole = extract_masks(photos, tmp_path / 'store', Quadrants(), progress=False)
    assert (whole.written, whole.kept) == (0, 6)
    store = MaskStore(tmp_path / 'store')
    assert len(store) == len(store.keys()) == 6
    assert store.verify() == []


def test_a_list_of_images(photos: Path, tmp_path: Path) -> None:
    names = tmp_path / 'names.txt'
    # One file under two names is one image.
    names.write_text('left/1.v1.png\n\nright/0.v1.png\ngone.png\nleft/../left/1.v1.png\n', encoding='utf-8')
    report = extract_masks(names, tmp_path / 'store', Quadrants(), root=photos, progress=False)
    assert report.written == 2
    assert report.failed == [(str(photos / 'gone.png'), 'cannot be read (No such file or directory).')]
    assert report.exit_status == 1
    assert MaskStore(tmp_path / 'store').keys() == ['left/1.v1', 'right/0.v1']


def test_failures_of_the_segmenter_and_equal_keys_are_listed(photos: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(photos / 'dark.png'), np.zeros((9, 9, 3), np.uint8))
    cv2.imwrite(str(photos / 'left' / '0.v1.bmp'), np.ones((9, 9, 3), np.uint8))
    report = extract_masks(photos, tmp_path / 'store', Quadrants(), progress=False)
    assert report.written == 5
    reasons = {Path(path).name: reason for path, reason in report.failed}
    assert reasons['dark.png'] == 'the segmenter failed: RuntimeError: too dark'
    # Neither has a mask: training could not know whose it is.
    for name, other in (('0.v1.png', '0.v1.bmp'), ('0.v1.bmp', '0.v1.png')):
        other = photos / 'left' / other
        assert reasons[name] == f"has the same key 'left/0.v1' as {other}, expected one image per key: rename one."
    assert 'left/0.v1' not in MaskStore(tmp_path / 'store')


def test_a_full_disk_stops_the_tool_with_one_line(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ('--images', photos, '--output', tmp_path / 'store', '--segmenter', 'felzenszwalb')
    with small_files(40_000):
        assert tool(*arguments, '--set', 'min_size=1', '--set', 'scale=0') == 2
    *_, error = capsys.readouterr().err.splitlines()
    assert error.startswith('error: mask store')
    assert 'free space or fix the permissions, then rerun the same command to resume' in error


def test_a_restorer_that_fails_is_named(photos: Path, tmp_path: Path) -> None:
    class Restorer:
        settings: ClassVar = {'network': 'test'}

        def __call__(self, image: np.ndarray) -> np.ndarray:
            if image.shape[1] == 80:
                raise MemoryError('too large')
            return np.repeat(image, 2, axis=0)

    report = extract_masks(photos, tmp_path / 'store', Quadrants(), restorer=Restorer(), progress=False)
    assert report.written == 5
    assert [reason for _, reason in report.failed] == ['the restorer failed: MemoryError: too large']
    store = MaskStore(tmp_path / 'store')
    assert store.size('left/0.v1') == (128, 81)
    assert (store.settings['source'], store.settings['restored_by']) == ('restored', {'network': 'test'})


def test_nothing_to_do_is_a_mistake(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(SAPDError, match='found no .*gone, expected a folder'):
        list_images(tmp_path / 'gone')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty' / '.hidden.png').write_bytes(b'x')
    with pytest.raises(SAPDError, match='found no file in'):
        list_images(tmp_path / 'empty')
    with pytest.raises(SAPDError, match='--root: found .* with the folder'):
        list_images(photos, tmp_path)
    with pytest.raises(SAPDError, match='--output: found .* inside the image folder'):
        extract_masks(photos, photos / 'store', Quadrants(), progress=False)
    with pytest.raises(SAPDError, match='which is not UTF-8, expected a folder, or a text file with one path per line'):
        list_images(photos / 'left' / '0.v1.png')

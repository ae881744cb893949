from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction import job as extraction
from sapd_plugin.priors.extraction.images import ImageError, list_images, read_image
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStore
from tests.photos import crop, photographs

TOOL = Path(__file__).parents[3] / 'tools' / 'extract_masks.py'


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


def tool(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_tool_extracts_lists_what_failed_and_resumes(photos: Path, tmp_path: Path) -> None:
    (photos / 'notes.txt').write_text('no image')
    first = (photos / 'left' / '0.v1.png').read_bytes()
    (photos / 'cut.png').write_bytes(first[: len(first) // 2])
    arguments = ('--images', photos, '--output', tmp_path / 'store', '--segmenter', 'felzenszwalb', '--set', 'scale=99')
    done = tool(*arguments, '--overlays', 2)
    assert done.returncode == 1
    assert 'segmenter: felzenszwalb' in done.stdout
    assert '6 masks written, 0 kept, 2 failed, 0 left' in done.stdout
    assert '100.0 % of the pixels covered' in done.stdout
    assert f'failed: {photos / "cut.png"}: a truncated image' in done.stdout
    assert f'failed: {photos / "notes.txt"}: not an image' in done.stdout
    assert len(list((tmp_path / 'store' / 'overlays').rglob('*.png'))) == 2
    store = MaskStore(tmp_path / 'store')
    assert store.keys() == [f'{side}/{i}.v1' for side in ('left', 'right') for i in range(3)]
    assert store.verify() == []
    assert store.settings['parameters']['scale'] == 99

    (photos / 'notes.txt').unlink()
    (photos / 'cut.png').unlink()
    again = tool(*arguments)
    assert again.returncode == 0
    assert '0 masks written, 6 kept, 0 failed, 0 left' in again.stdout

    other = tool(*arguments[:-1], 'scale=5')
    assert other.returncode == 2
    assert 'error: mask store' in other.stderr
    assert 'parameters.scale: found 99.0, expected 5.0' in other.stderr
    assert 'Traceback' not in other.stderr


def test_the_tool_names_mistakes(photos: Path, tmp_path: Path) -> None:
    done = tool('--images', photos, '--output', tmp_path / 'store', '--segmenter', 'felzenszwalp')
    assert (done.returncode, done.stdout) == (2, '')
    assert "Did you mean 'felzenszwalb'?" in done.stderr
    done = tool('--images', photos, '--output', tmp_path / 's', '--segmenter', 'felzenszwalb', '--set', 'scale')
    assert (done.returncode, done.stderr) == (2, "error: --set: found 'scale', expected KEY=VALUE.\n")
    for option in ('preset', 'device'):
        done = tool('--images', photos, '--output', tmp_path / 's', '--segmenter', 'felzenszwalb', f'--{option}', 'x')
        assert done.returncode == 2
        assert f"error: segmenter 'felzenszwalb': unknown key '{option}'. Valid keys:" in done.stderr
    assert not (tmp_path / 's').exists()


def test_ctrl_c_stops_and_the_next_run_goes_on(photos: Path, tmp_path: Path) -> None:
    big = cv2.resize(cv2.imread(str(photos / 'left' / '0.v1.png')), (240, 160))
    for i in range(40):
        cv2.imwrite(str(photos / f'{i:03}.png'), np.roll(big, i, axis=1))
    store = tmp_path / 'store'
    command = [sys.executable, str(TOOL), '--images', str(photos), '--output', str(store)]
    command += ['--segmenter', 'felzenszwalb']
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    meta, deadline = store / 'shard-00000.lmdb' / 'meta_info.txt', time.monotonic() + 60
    while not (meta.exists() and meta.read_text().count('\n') >= 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert 'rerun the same command to resume' in err
    reached = len(MaskStore(store))
    assert 3 <= reached < 46
    assert f'{reached} masks written, 0 kept, 0 failed, {46 - reached} left' in out
    assert (store / 'meta_info.txt').read_text().count('\n') == reached
    report = extract_masks(photos, store, build_segmenter('felzenszwalb'), progress=False)
    assert (report.kept, report.written, report.exit_status) == (reached, 46 - reached, 0)


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
    names.write_text('left/1.v1.png\n\nright/0.v1.png\ngone.png\n', encoding='utf-8')
    report = extract_masks(names, tmp_path / 'store', Quadrants(), root=photos, progress=False)
    assert report.written == 2
    assert report.failed == [(str(photos / 'gone.png'), 'cannot be read (No such file or directory).')]
    assert report.exit_status == 1
    assert MaskStore(tmp_path / 'store').keys() == ['left/1.v1', 'right/0.v1']


def test_failures_of_the_segmenter_and_equal_keys_are_listed(photos: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(photos / 'dark.png'), np.zeros((9, 9, 3), np.uint8))
    cv2.imwrite(str(photos / 'left' / '0.v1.bmp'), np.ones((9, 9, 3), np.uint8))
    report = extract_masks(photos, tmp_path / 'store', Quadrants(), progress=False)
    assert report.written == 6
    reasons = {Path(path).name: reason for path, reason in report.failed}
    assert reasons['dark.png'] == 'the segmenter failed: RuntimeError: too dark'
    assert reasons['0.v1.png'].startswith("has the key 'left/0.v1' of")


def test_a_full_disk_stops_the_run(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SAPDError('mask store: cannot be written (No space left on device).')

    monkeypatch.setattr(extraction.MaskStoreWriter, 'put', full)
    with pytest.raises(SAPDError, match='No space left'):
        extract_masks(photos, tmp_path / 'store', Quadrants(), progress=False)


def test_a_full_disk_stops_the_tool_with_one_line(photos: Path, tmp_path: Path) -> None:
    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))

    command = [sys.executable, str(TOOL), '--images', str(photos), '--output', str(tmp_path / 'store')]
    command += ['--segmenter', 'felzenszwalb', '--set', 'min_size=1', '--set', 'scale=0']
    done = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=small_files)
    assert done.returncode == 2
    assert 'error: mask store' in done.stderr
    assert 'make room or repair the permissions, then rerun the same command to resume' in done.stderr
    assert 'Traceback' not in done.stderr


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


def test_images_are_read_as_the_training_reads_them(photos: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grey, colour = rng.integers(0, 256, (5, 7), np.uint8), rng.integers(0, 256, (5, 7, 4), np.uint8)
    for name, image in (('grey', grey), ('alpha', colour), ('deep', grey.astype(np.uint16) * 257)):
        path = tmp_path / f'{name}.png'
        cv2.imwrite(str(path), image)
        expected = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        found = read_image(path)
        np.testing.assert_array_equal(found, expected)
        assert (found.shape, found.dtype) == ((5, 7, 3), np.uint8)
        assert found.flags.c_contiguous


def test_exif_turns_the_photo(tmp_path: Path) -> None:
    path = tmp_path / 'turned.jpg'
    data = cv2.imencode('.jpg', np.zeros((8, 16, 3), np.uint8))[1].tobytes()
    tiff = b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    app1 = b'Exif\0\0' + tiff
    path.write_bytes(data[:2] + b'\xff\xe1' + (len(app1) + 2).to_bytes(2, 'big') + app1 + data[2:])
    assert read_image(path).shape == (16, 8, 3)


def test_truncated_jpegs_are_found(photos: Path, tmp_path: Path) -> None:
    data = cv2.imencode('.jpg', cv2.imread(str(photos / 'left' / '0.v1.png')))[1].tobytes()
    path = tmp_path / 'photo.jpg'
    path.write_bytes(data)
    assert read_image(path).shape[2] == 3
    for end in (len(data) - 2, len(data) // 2):
        path.write_bytes(data[:end])
        with pytest.raises(ImageError, match=r'photo.jpg: a truncated image'):
            read_image(path)
    path.write_bytes(b'')
    with pytest.raises(ImageError, match='an empty file'):
        read_image(path)


def test_nothing_to_do_is_a_mistake(tmp_path: Path, photos: Path) -> None:
    with pytest.raises(SAPDError, match='found no .*gone, expected a folder'):
        list_images(tmp_path / 'gone')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'empty' / '.hidden.png').write_bytes(b'x')
    with pytest.raises(SAPDError, match='found no file in'):
        list_images(tmp_path / 'empty')
    with pytest.raises(SAPDError, match='--root: found .* beside the folder'):
        list_images(photos, tmp_path)
    with pytest.raises(SAPDError, match='--output: found .* inside the image folder'):
        extract_masks(photos, photos / 'store', Quadrants(), progress=False)
    with pytest.raises(SAPDError, match='is not UTF-8 text'):
        list_images(photos / 'left' / '0.v1.png')


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, 'OMP_NUM_THREADS', '1')

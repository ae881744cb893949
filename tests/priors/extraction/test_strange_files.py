"""Files that are no photo: pipes, devices, system files, photos with something behind their end; lists without a root."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from sapd_plugin.cli import extract_masks, inspect_masks
from sapd_plugin.errors import SAPDError
from sapd_plugin.image_header import image_size
from sapd_plugin.priors.extraction.images import ImageError, decode_image, list_images
from sapd_plugin.priors.extraction.sources import open_photos
from sapd_plugin.priors.store import MaskStore
from tests.priors.extraction.test_inputs import encoded, make_lmdb, noise, write_photos


@pytest.fixture(autouse=True)
def limited() -> Iterator[None]:
    """End a test that waits for a pipe."""
    signal.alarm(100)
    yield
    signal.alarm(0)


def extract(images: Path, store: Path, *options: object) -> int:
    arguments = ['--images', images, '--output', store, '--segmenter', 'felzenszwalb', *options]
    return extract_masks.main([str(argument) for argument in arguments])


def test_what_is_not_a_regular_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos = write_photos(tmp_path / 'photos', ['good.png'])
    os.mkfifo(photos / 'pipe.png')
    os.mkfifo(photos / 'pipe')
    (photos / 'endless.png').symlink_to('/dev/zero')
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(photos / 'socket.jpg'))
        assert extract(photos, tmp_path / 'store') == 1
    out = capsys.readouterr().out
    assert '1 masks written, 0 kept, 3 failed, 0 left' in out
    for name, kind in (('pipe.png', 'named pipe'), ('endless.png', 'device'), ('socket.jpg', 'socket')):
        assert f'failed: {photos / name}: cannot be read (a {kind}, expected a regular file).' in out
        with pytest.raises(OSError, match=kind):
            image_size(photos / name)
    assert f'1 files skipped that are not images: {photos / "pipe"}\n' in out
    with pytest.raises(SAPDError, match='found a file that is neither, expected a folder'):
        open_photos(photos / 'pipe')


def test_files_of_the_system_are_skipped_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos = write_photos(tmp_path / 'photos', ['a.png', 'without suffix', 'sub/b.png'])
    for name in ('Thumbs.db', 'desktop.ini', 'sub/notes.txt', '._a.png', '.DS_Store', 'clip.mp4'):
        (photos / name).write_bytes(b'\0\5\x16\7' + bytes(100))
    assert extract(photos, tmp_path / 'store') == 0
    out = capsys.readouterr().out
    assert '3 masks written, 0 kept, 0 failed, 0 left' in out
    assert f'4 files skipped that are not images: {photos / "Thumbs.db"}, ' in out
    assert MaskStore(tmp_path / 'store').keys() == ['a', 'sub/b', 'without suffix']
    for path in photos.rglob('*.png'):
        path.unlink()
    (photos / 'without suffix').unlink()
    with pytest.raises(SAPDError, match='found no image among the 4 files'):
        list_images(photos)


VIDEO = b'\0\0\0\x18ftypmp42' + b'\xff\xda\0\x0c' * 50 + bytes(range(256)) * 9


def test_a_photo_with_something_behind_its_end_is_read() -> None:
    image = noise(40, 60, 3)
    progressive, restarts = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    kinds = [('.png', []), ('.jpg', []), ('.jpg', progressive), ('.jpg', restarts), ('.jpg', progressive + restarts)]
    for extension, settings in kinds:
        data = cv2.imencode(extension, image, settings)[1].tobytes()
        np.testing.assert_array_equal(decode_image(data + VIDEO, 'x'), decode_image(data, 'x'))
    # A thumbnail has an end of its own, which is not that of the photo.
    data, thumbnail = encoded('.jpg', image), encoded('.jpg', image[:8, :8])
    segment = b'\xff\xe1' + (len(thumbnail) + 2).to_bytes(2, 'big') + thumbnail
    data = data[:2] + segment + data[2:]
    decode_image(data + VIDEO, 'x')
    for end in (len(segment) + 2, len(segment) + 40, len(data) - 200, len(data) - 3, len(data) - 2):
        with pytest.raises(ImageError, match='a truncated image'):
            decode_image(data[:end], 'x')


@pytest.mark.parametrize('folder', ['lists', '.', 'photos'])
def test_absolute_paths_of_one_folder_need_no_root(tmp_path: Path, folder: str) -> None:
    photos = write_photos(tmp_path / 'photos', ['a.png', 'b.png'])
    names = tmp_path / folder / 'names.txt'
    names.parent.mkdir(exist_ok=True)
    names.write_text(f'{photos / "a.png"}\r\n{photos / "b.png"}\n', encoding='utf-8-sig')
    assert extract(names, tmp_path / 'store') == 0
    assert MaskStore(tmp_path / 'store').keys() == ['a', 'b']


def test_a_list_without_a_clear_root_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    photos = write_photos(tmp_path / 'photos', ['x/1.png', 'y/1.png'])
    names = tmp_path / 'lists' / 'names.txt'
    names.parent.mkdir()
    names.write_text(f'{photos / "x/1.png"}\n{photos / "y/1.png"}\n')
    assert extract(names, tmp_path / 'store') == 2
    assert f'error: --root: missing, and {names} lists {photos / "x/1.png"}' in (error := capsys.readouterr().err)
    assert f'Is it {photos}, which holds all of them?' in error
    assert extract(names, tmp_path / 'store', '--root', tmp_path / 'lists') == 2
    assert 'none of the 2 images of' in capsys.readouterr().err
    names.write_text('x/1.png (12,15,3)\ny/1.png (12,15,3)\n')
    assert extract(names, tmp_path / 'store', '--root', photos) == 2
    assert 'none of the 2 files that' in capsys.readouterr().err
    assert not (tmp_path / 'store').exists()
    names.write_text(f'{photos / "x/1.png"}\n{photos / "y/1.png"}\n')
    assert extract(names, tmp_path / 'store', '--root', photos) == 0
    assert MaskStore(tmp_path / 'store').keys() == ['x/1', 'y/1']


def test_a_store_without_a_mask_is_called_empty(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'text.png').write_text('not an image')
    assert extract(tmp_path / 'photos', tmp_path / 'store') == 1
    assert inspect_masks.main([str(tmp_path / 'store')]) == 1
    assert 'problem: the store is empty: it holds no mask.' in capsys.readouterr().out


def test_a_damaged_lmdb_of_images_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    values = {f'{i:04}'.encode(): encoded('.png', noise(20, 30, 3)) for i in range(300)}
    photos = make_lmdb(tmp_path / 'photos.lmdb', values, None)
    data = bytearray((photos / 'data.mdb').read_bytes())
    root = next(page for page in range(2, len(data) // 4096) if data[page * 4096 + 10] == 1)
    data[root * 4096 : root * 4096 + 4096] = np.random.default_rng(0).bytes(4096)
    (photos / 'data.mdb').write_bytes(data)
    assert extract(photos, tmp_path / 'store') == 2
    assert f'error: images: the LMDB {photos} cannot be read (page ' in capsys.readouterr().err
    assert not (tmp_path / 'store').exists()


def test_a_meta_info_of_images_that_is_not_utf8_is_named(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos = make_lmdb(tmp_path / 'photos.lmdb', {b'a': encoded('.png', noise(20, 30, 3))}, None)
    (photos / 'meta_info.txt').write_bytes(b'\xff\xfea.png (20,30,3) 1\n')
    assert extract(photos, tmp_path / 'store') == 2
    assert 'meta_info.txt: is damaged, expected UTF-8 text' in capsys.readouterr().err

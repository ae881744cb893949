"""Every kind of image and of name: a mask of the right size, or a line in the list of failures."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from sapd_plugin.cli.extract_masks import main
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import list_images, read_image
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.sources import open_photos
from sapd_plugin.priors.inspection.overlap import compare_maps
from sapd_plugin.priors.segmenters import Segmenter, build_segmenter
from sapd_plugin.priors.store import MaskStore

TOOL = Path(__file__).parents[3] / 'tools' / 'extract_masks.py'


@pytest.fixture(scope='module')
def segmenter() -> Segmenter:
    return build_segmenter('felzenszwalb')


def encoded(extension: str, image: np.ndarray) -> bytes:
    return cv2.imencode(extension, image)[1].tobytes()


def noise(*shape: int, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, shape, dtype)


def turned_jpeg(image: np.ndarray) -> bytes:
    """A JPEG whose EXIF entry says: turn by 90 degrees."""
    data = encoded('.jpg', image)
    tiff = b'MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0'
    app1 = b'Exif\0\0' + tiff
    return data[:2] + b'\xff\xe1' + (len(app1) + 2).to_bytes(2, 'big') + app1 + data[2:]


GOOD = {
    'grey.png': (encoded('.png', noise(20, 30)), (20, 30)),
    'alpha.png': (encoded('.png', noise(20, 30, 4)), (20, 30)),
    'deep.png': (encoded('.png', noise(20, 30, 3, dtype=np.uint16)), (20, 30)),
    'deep grey.tiff': (encoded('.tiff', noise(20, 30, dtype=np.uint16)), (20, 30)),
    'turned.jpg': (turned_jpeg(noise(20, 30, 3)), (30, 20)),
    'column.png': (encoded('.png', noise(50, 1, 3)), (50, 1)),
    'row.png': (encoded('.png', noise(1, 50, 3)), (1, 50)),
    'pixel.bmp': (encoded('.bmp', noise(1, 1, 3)), (1, 1)),
    'photo.webp': (encoded('.webp', noise(20, 30, 3)), (20, 30)),
    'whole.jpg': (encoded('.jpg', noise(20, 30, 3)), (20, 30)),
    # The extension is the user's word; the bytes decide, as in the frameworks.
    'misnamed.png.jpg': (encoded('.png', noise(20, 30, 3)), (20, 30)),
}
BAD = {
    'empty.png': (b'', 'an empty file.'),
    'text.png': (b'not an image at all', 'not an image that OpenCV can decode.'),
    'header.png': (encoded('.png', noise(20, 30, 3))[:20], 'a truncated image.'),
    'half.png': (encoded('.png', noise(20, 30, 3))[:900], 'a truncated image.'),
    'half jpg.jpg': (encoded('.jpg', noise(20, 30, 3))[:500], 'a truncated image.'),
    'endless.jpg': (encoded('.jpg', noise(20, 30, 3))[:-2], 'a truncated image.'),
    'half bmp.bmp': (encoded('.bmp', noise(20, 30, 3))[:500], 'not an image that OpenCV can decode.'),
    'half webp.webp': (encoded('.webp', noise(20, 30, 3))[:300], 'not an image that OpenCV can decode.'),
}


@pytest.mark.parametrize('name', GOOD)
def test_images_are_read_as_the_training_reads_them(tmp_path: Path, name: str) -> None:
    data, size = GOOD[name]
    (tmp_path / name).write_bytes(data)
    found = read_image(tmp_path / name)
    assert (found.shape, found.dtype) == ((*size, 3), np.uint8)
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1])


def test_every_kind_is_done_or_listed(tmp_path: Path, segmenter: Segmenter) -> None:
    photos = tmp_path / 'photos'
    photos.mkdir()
    for name, (data, _) in [*GOOD.items(), *BAD.items()]:
        (photos / name).write_bytes(data)
    (photos / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
    report = extract_masks(photos, tmp_path / 'store', segmenter, progress=False)
    reasons = {name: reason for name, (_, reason) in BAD.items()}
    reasons['gone.png'] = 'cannot be read (No such file or directory).'
    assert dict(report.failed) == {str(photos / name): reason for name, reason in reasons.items()}
    store = MaskStore(tmp_path / 'store')
    sizes = {name.rpartition('.')[0]: size for name, (_, size) in GOOD.items()}
    keys = store.keys()
    assert {key: store.size(key) for key in keys} == sizes
    assert store.verify() == []


@pytest.mark.slow
def test_an_8k_photo_is_segmented_in_bounded_memory(tmp_path: Path) -> None:
    photo = cv2.resize(noise(60, 80, 3), (7680, 4320), interpolation=cv2.INTER_CUBIC)
    (tmp_path / 'photos').mkdir()
    (tmp_path / 'photos' / 'large.jpg').write_bytes(encoded('.jpg', photo))
    arguments = ['--images', tmp_path / 'photos', '--output', tmp_path / 'store', '--segmenter', 'felzenszwalb']
    subprocess.run([sys.executable, str(TOOL), *map(str, arguments)], check=True, capture_output=True)
    store = MaskStore(tmp_path / 'store')
    assert store.size('large') == (4320, 7680)
    assert store.verify() == []
    # The largest of all child processes of this test run, hence an upper bound.
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4 * 2**20


def test_a_shrunk_image_gives_a_map_of_its_own_size() -> None:
    image = np.repeat(np.repeat(noise(3, 4, 3), 40, axis=0), 50, axis=1)
    whole = build_segmenter('felzenszwalb', min_size=400)(image)
    shrunk = build_segmenter('felzenszwalb', min_size=100, max_pixels=120 * 200 // 4)(image)
    assert shrunk.shape == whole.shape == (120, 200)
    assert compare_maps(shrunk.labels, whole.labels).matched_iou > 0.8


NAMES = ['a/1.png', 'b/1.png', 'x.y.z.png', 'ünï cødé/照片 1.png', 'no extension', 'q/{}.png']
KEYS = ['a/1', 'b/1', 'no extension', 'q/{}', 'x.y.z', 'ünï cødé/照片 1']


def write_photos(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded('.png', noise(12, 15, 3)))
    return folder


def test_every_name_is_kept_apart(tmp_path: Path, segmenter: Segmenter) -> None:
    photos = write_photos(tmp_path / 'photos', NAMES)
    report = extract_masks(photos, tmp_path / 'store', segmenter, progress=False)
    assert (report.failed, report.written) == ([], len(NAMES))
    store = MaskStore(tmp_path / 'store')
    assert store.keys() == KEYS
    lines = (tmp_path / 'store' / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
    assert sorted(line.rsplit('.png ', 1)[0] for line in lines) == store.keys()
    with pytest.raises(SAPDError, match="no mask for '1' among .* Nearest: 'a/1', 'b/1'"):
        store.record('1')


def test_names_that_are_no_text_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    photos = write_photos(tmp_path / 'photos', ['good.png', 'line\nbreak.png'])
    (photos / os.fsdecode(b'caf\xe9.png')).write_bytes(encoded('.png', noise(12, 15, 3)))
    assert main(['--images', str(photos), '--output', str(tmp_path / 'store'), '--segmenter', 'felzenszwalb']) == 1
    out = capsys.readouterr().out
    assert '1 masks written, 0 kept, 2 failed, 0 left' in out
    assert 'is not valid UTF-8' in out
    assert 'found a line break' in out


def test_folders_that_are_linked_in_a_ring_are_listed_once(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / 'photos', ['a/1.png', 'a/2.png'])
    (photos / 'a' / 'again').symlink_to(photos)
    files, *_ = list_images(photos)
    assert [file.name for file in files] == ['1.png', '2.png']


def make_lmdb(folder: Path, values: dict[bytes, bytes], meta: str | None) -> Path:
    with lmdb.open(str(folder), map_size=1 << 22) as env, env.begin(write=True) as transaction:
        for key, value in values.items():
            transaction.put(key, value)
    if meta is not None:
        (folder / 'meta_info.txt').write_text(meta)
    return folder


def test_an_lmdb_with_basicsr_s_meta_info_is_read(tmp_path: Path, segmenter: Segmenter) -> None:
    image = noise(20, 30, 3)
    values = {b'b/0_s001': encoded('.png', image), b'cut': encoded('.png', image)[:300]}
    meta = 'b/0_s001.png (20,30,3) 1\ncut.png (20,30,3) 1\ngone.png (20,30,3) 1\nb/0_s001.v2.png (20,30,3) 1\n'
    photos = make_lmdb(tmp_path / 'photos.lmdb', values, meta)
    report = extract_masks(photos, tmp_path / 'store', segmenter, progress=False)
    assert report.written == 1
    np.testing.assert_array_equal(
        MaskStore(tmp_path / 'store').record('b/0_s001').labels(), segmenter(image[:, :, ::-1]).labels
    )
    reasons = dict(report.failed)
    assert 'lists 2 images with this key, which ends at the first dot' in reasons['b/0_s001']
    assert 'a truncated image' in reasons['cut']
    assert 'not in the LMDB, although meta_info.txt lists it' in reasons['gone']


def test_an_lmdb_without_meta_info_gives_all_its_keys(tmp_path: Path) -> None:
    image = noise(20, 30, 3)
    values = {key: encoded('.png', image) for key in (b'a.b', b'\xff', 'ü'.encode())}
    photos = open_photos(make_lmdb(tmp_path / 'photos.lmdb', values, None))
    assert [key for key, _ in photos.named] == ['a.b', 'ü']
    assert 'is not valid UTF-8' in photos.failed[0][1]
    np.testing.assert_array_equal(photos.read('ü'), image[:, :, ::-1])


def test_broken_lmdbs_are_named(tmp_path: Path) -> None:
    (tmp_path / 'data.mdb').write_bytes(b'x' * 9000)
    with pytest.raises(SAPDError, match='images: the LMDB .* cannot be read .found other content, expected an LMDB'):
        open_photos(tmp_path)
    empty = make_lmdb(tmp_path / 'empty.lmdb', {}, None)
    with pytest.raises(SAPDError, match='found no image in the LMDB'):
        open_photos(empty)
    with pytest.raises(SAPDError, match='--root: found .* with the LMDB'):
        open_photos(empty, tmp_path)

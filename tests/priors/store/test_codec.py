from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.context import region_context
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store.codec import TILE, Record, RecordError, encode
from sapd_plugin.priors.store.digests import ImageDigests, digest_file, digest_pixels
from sapd_plugin.priors.store.tiles import deflate
from tests.fuzz.forging import Parts, damage, damage_parts, forge, read_all, take_apart

DIGESTS = ImageDigests(bytes(range(100, 116)), bytes(range(200, 216)))
FINGERPRINT = bytes(range(16))
# Of [[1, 1, 2], [1, 0, 2]], written by 0.1.0
OLD_RECORD = bytes.fromhex(
    '534150444d41534b01008000020000000300000002000000120000000a000000000102030405060708090a0b0c0d0e0f0a00000026dde6a163'
    '66628000180de3324369b8785d1d080300b53883fd63640002462646062600'
)


@st.composite
def label_maps(draw: st.DrawFn) -> LabelMap:
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    regions, patch = draw(st.sampled_from([0, 1, 5, 255, 256, 300, 70_000])), draw(st.integers(1, 40))
    coarse = rng.integers(0, regions + 1, (-(-height // patch), -(-width // patch)))
    labels = np.kron(coarse, np.ones((patch, patch), dtype=np.int64))[:height, :width]
    scores = rng.uniform(0, 1.2, (2, regions)) if draw(st.booleans()) else (None, None)
    label_map = LabelMap.from_labels(labels, *scores)
    if draw(st.booleans()):
        return label_map.with_colors(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
    return label_map


@given(label_maps())
@settings(max_examples=60, deadline=None)
def test_a_record_gives_back_the_map(label_map: LabelMap) -> None:
    record = Record(encode(label_map, FINGERPRINT))
    record.verify()
    assert record.shape[0:2] == label_map.shape
    assert record.fingerprint == FINGERPRINT
    np.testing.assert_array_equal(record.labels(), label_map.labels)
    assert record.regions.tobytes() == label_map.regions.tobytes()
    assert record.has_colors == (label_map.colors is not None)
    if label_map.colors is not None:
        assert record.colors.tobytes() == label_map.colors.tobytes()
        assert (
            record.context().tobytes()
            == region_context(label_map.regions, label_map.colors, label_map.labels.size).tobytes()
        )


@given(label_maps(), st.data())
@settings(max_examples=60, deadline=None)
def test_any_crop_is_a_slice_of_the_whole(label_map: LabelMap, data: st.DataObject) -> None:
    record = Record(encode(label_map, FINGERPRINT))
    bound = st.none() | st.integers(-320, 320)
    rows, columns = (slice(data.draw(bound), data.draw(bound)) for _ in range(2))
    crop = record[rows, columns, ...]
    np.testing.assert_array_equal(crop, label_map.labels[rows, columns, None])
    assert crop.flags.c_contiguous
    assert crop.flags.writeable


@pytest.mark.parametrize(('regions', 'dtype'), [(3, np.uint8), (255, np.uint8), (256, np.uint16), (65_536, np.int32)])
def test_crops_are_of_a_type_that_opencv_flips(regions: int, dtype: type) -> None:
    label_map = LabelMap.from_labels(np.arange(257 * 300).reshape(257, 300) % (regions + 1))
    crop = Record(encode(label_map, FINGERPRINT))[100:230, 120:250]
    assert crop.dtype == dtype
    expected = label_map.labels[100:230, 120:250][:, ::-1]
    flipped = cv2.flip(crop, 1, crop)
    np.testing.assert_array_equal(np.squeeze(flipped), expected)


@pytest.mark.parametrize(
    'index', [5, slice(0, 2), (1, 2), (slice(0, 4, 2), slice(None)), (slice(0, 4), slice(0, 4), 0), (..., slice(0, 4))]
)
def test_other_indices_are_refused(index: object) -> None:
    with pytest.raises(IndexError, match='mask record'):
        Record(encode(LabelMap.from_labels(np.ones((9, 9), int)), FINGERPRINT))[index]


def test_a_crop_reads_the_tiles_it_touches_and_no_other() -> None:
    rng = np.random.default_rng(0)
    label_map = LabelMap.from_labels(rng.integers(0, 9, (3 * TILE, 3 * TILE)))
    data = bytearray(encode(label_map, FINGERPRINT))
    data[-1] ^= 1
    record = Record(bytes(data))
    np.testing.assert_array_equal(record[: 2 * TILE, :][..., 0], label_map.labels[: 2 * TILE])
    for read in (record.check, record.verify, lambda: record[2 * TILE :, 2 * TILE :]):
        with pytest.raises(RecordError, match='tile 8 is damaged'):
            read()


@pytest.fixture(scope='module', params=[1, 2, 3], ids=['version 1', 'version 2', 'version 3'])
def sample(request: pytest.FixtureRequest) -> bytes:
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 300, (20, 30)), np.ones((10, 10), dtype=int))
    label_map = LabelMap.from_labels(labels, rng.random(300), rng.random(300))
    if request.param >= 2:
        label_map = label_map.with_colors(rng.integers(0, 256, (200, 300, 3), dtype=np.uint8))
    return encode(label_map, FINGERPRINT, DIGESTS if request.param == 3 else None)


def test_a_record_of_an_earlier_release_is_read() -> None:
    record = Record(OLD_RECORD)
    record.verify()
    assert record.labels().tolist() == [[1, 1, 2], [1, 0, 2]]
    assert record.regions['area'].tolist() == [3, 2]
    assert not record.has_colors
    with pytest.raises(RecordError, match='version 1, which lacks the colors'):
        record.context()
    assert take_apart(encode(LabelMap.from_labels(record.labels()), FINGERPRINT)) == take_apart(OLD_RECORD)


def test_digests_of_the_image_are_kept_and_records_without_them_say_so(sample: bytes) -> None:
    record = Record(sample)
    assert record.digests == (DIGESTS if record.has_digests else None)
    assert record.has_digests == (take_apart(sample).version == 3)
    record.verify()
    label_map = LabelMap.from_labels(np.array([[1, 2]]))
    with pytest.raises(SAPDError, match='and colors'):
        encode(label_map, FINGERPRINT, DIGESTS)
    with pytest.raises(SAPDError, match='expected 2 of 16 bytes'):
        encode(label_map.with_colors(np.zeros((1, 2, 3), np.uint8)), FINGERPRINT, ImageDigests(b'short'))


def test_digests_are_of_shape_and_pixels() -> None:
    image = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert digest_pixels(image).hex() == 'eb155d9e16f4c442128b788658b0144c'
    assert digest_pixels(np.asfortranarray(image)) == digest_pixels(image)
    assert digest_pixels(image.reshape(5, 4, 3)) != digest_pixels(image)
    assert digest_file(b'abc').hex() == 'cf4ab791c62b8d2b2109c90275287816'


def test_colors_of_another_map_are_refused() -> None:
    label_map = LabelMap.from_labels(np.array([[1, 2]]))
    colors = label_map.with_colors(np.zeros((1, 2, 3), np.uint8)).colors
    assert colors is not None
    with pytest.raises(SAPDError, match='found 2 rows of colors, expected 3'):
        encode(LabelMap(label_map.labels, label_map.regions, colors[1:]), FINGERPRINT)


@given(st.binary(max_size=400))
@example(b'')
@example(b'SAPDMASK')
@settings(max_examples=300, deadline=None)
def test_random_bytes_give_the_documented_error(data: bytes) -> None:
    assert not read_all(data)
    assert not read_all(b'SAPDMASK' + data)
    assert issubclass(RecordError, SAPDError)


def test_every_truncation_is_refused(sample: bytes) -> None:
    for end in range(0, len(sample), 7):
        with pytest.raises(RecordError):
            Record(sample[:end])
    with pytest.raises(RecordError, match=r'found \d+ bytes, expected \d+'):
        Record(sample + b'x')


@given(
    version=st.integers(0, 4),
    tile=st.integers(0, 2**16 - 1),
    sides=st.tuples(*[st.integers(0, 2**32 - 1) | st.integers(0, 300)] * 2),
    regions=st.integers(0, 2**32 - 1) | st.integers(0, 3),
    table=st.binary(max_size=40),
    pixels=st.binary(max_size=60),
)
@settings(max_examples=400, deadline=None)
def test_forged_headers_give_the_documented_error(
    version: int, tile: int, sides: tuple[int, int], regions: int, table: bytes, pixels: bytes
) -> None:
    for raw in (False, True):
        read_all(forge(Parts(version, tile, *sides, regions, FINGERPRINT, table, (pixels,)), raw=raw))


def test_a_record_is_forged_again_from_its_parts(sample: bytes) -> None:
    assert forge(take_apart(sample)) == sample


@given(
    damages=st.lists(
        st.tuples(st.integers(0, 255), st.integers(0, 2**24 - 1), st.integers(0, 2**32 - 1), st.integers(0, 255)),
        min_size=1,
        max_size=4,
    ),
    raw=st.booleans(),
    crop=st.tuples(*[st.integers(-20, 320)] * 4),
)
@settings(max_examples=500, deadline=None)
def test_damage_behind_right_checksums_gives_the_documented_error(
    sample: bytes, damages: list[tuple[int, int, int, int]], raw: bool, crop: tuple[int, int, int, int]
) -> None:
    parts = take_apart(sample)
    for numbers in damages:
        parts = damage_parts(parts, *numbers)
    forged = forge(parts, raw=raw)
    if read_all(forged, crop):
        # What passes all checks is a label map, though another one.
        record = Record(forged)
        again = encode(LabelMap.from_labels(record.labels()), record.fingerprint)
        np.testing.assert_array_equal(Record(again).labels(), record.labels())


@given(ends=st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 2000), min_size=6, max_size=6))
@settings(max_examples=200, deadline=None)
def test_tile_ends_behind_right_checksums_give_the_documented_error(sample: bytes, ends: list[int]) -> None:
    assert not read_all(forge(take_apart(sample), tuple(ends)))


@given(
    damages=st.lists(st.tuples(st.integers(0, 2**20), st.integers(0, 255), st.integers(0, 4)), min_size=1, max_size=6)
)
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_give_the_documented_error(sample: bytes, damages: list[tuple[int, int, int]]) -> None:
    data = sample
    for numbers in damages:
        data = damage(data, *numbers)
    assert read_all(data) == (data == sample)


def test_absurd_sizes_do_not_allocate() -> None:
    with pytest.raises(RecordError, match='impossible header: 4294967295x4294967295'):
        Record(forge(Parts(1, 128, 2**32 - 1, 2**32 - 1, 2**31 - 1, FINGERPRINT, b'', ()), raw=True))
    with pytest.raises(RecordError, match='impossible header: 32768x32768 pixels in 52 bytes'):
        Record(forge(Parts(1, 128, 2**15, 2**15, 2**29, FINGERPRINT, b'', ()), raw=True))
    # 106 kB of empty tiles, which claim 400 megapixels; and of tiles that no writer makes.
    for side in (128, 256):
        count = (20_000 // side + 1) ** 2
        with pytest.raises(RecordError, match='impossible header: 20000x20000'):
            Record(forge(Parts(1, side, 20_000, 20_000, 0, FINGERPRINT, b'', (b'',) * count), raw=True))


@pytest.mark.slow
def test_a_hundred_megapixels_of_one_region_are_read() -> None:
    record = Record(encode(LabelMap.from_labels(np.ones((10_000, 10_000), np.uint8)), FINGERPRINT))
    assert record.shape == (10_000, 10_000, 1)
    assert len(record._buffer) < 110_000
    assert record[9_000:9_256, 500:756].all()
    record.check()


def test_a_bomb_is_cut_off() -> None:
    bomb = deflate(bytes(50_000_000))
    record = Record(forge(Parts(1, 128, 10, 10, 0, FINGERPRINT, b'', (bomb,)), raw=True))
    with pytest.raises(RecordError, match='size of a tile differs'):
        record.labels()


def test_a_record_whose_pixels_and_table_differ_is_found() -> None:
    image = np.zeros((9, 9), np.uint8)
    image[:4], image[6:, 2:] = 1, 2
    good = LabelMap.from_labels(image)
    Record(encode(good, FINGERPRINT)).verify()
    swapped = LabelMap(np.array([0, 2, 1], np.uint8)[good.labels], good.regions)
    with pytest.raises(RecordError, match='not 1, 2, ... by descending area'):
        Record(encode(swapped, FINGERPRINT)).verify()
    table = good.regions.copy()
    table['box'][1, 0] += 1
    with pytest.raises(RecordError, match="region table's box does not match the pixels"):
        Record(encode(LabelMap(good.labels, table), FINGERPRINT)).verify()


def test_a_newer_version_is_named(sample: bytes) -> None:
    with pytest.raises(RecordError, match='found format version 4, expected 1 to 3'):
        Record(sample[:8] + struct.pack('<H', 4) + sample[10:])


def test_encoding_checks_its_input() -> None:
    label_map = LabelMap.from_labels(np.ones((3, 3), int))
    with pytest.raises(SAPDError, match='found 3 bytes, expected 16'):
        encode(label_map, b'abc')
    with pytest.raises(SAPDError, match='found label 1, expected at most 0'):
        encode(LabelMap(label_map.labels, label_map.regions[:0]), FINGERPRINT)


def test_the_same_map_gives_the_same_bytes() -> None:
    labels = np.arange(400).reshape(20, 20) // 30
    first, second = (encode(LabelMap.from_labels(image), FINGERPRINT) for image in (labels, np.asfortranarray(labels)))
    assert first == second


def test_real_records_are_half_of_a_png(calibration_data) -> None:
    files = sorted((calibration_data / 'masks').rglob('*.png'))[::20]
    records, pngs = 0, 0
    for file in files:
        label_map = LabelMap.from_labels(cv2.imread(str(file), cv2.IMREAD_UNCHANGED))
        scores = np.random.default_rng(0).uniform(0.8, 1.0, (2, len(label_map)))
        records += len(encode(LabelMap.from_labels(label_map.labels, *scores), FINGERPRINT))
        pngs += len(cv2.imencode('.png', label_map.labels.astype(np.uint16))[1])
    assert len(files) > 20
    assert records <= 0.5 * pngs

from __future__ import annotations

import json
from pathlib import Path

import cv2
import lmdb
import numpy as np
import pytest

from sapd_plugin.cli import inspect_masks
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.sources import open_photos
from sapd_plugin.priors.inspection.comparison import compare_stores
from sapd_plugin.priors.inspection.overlays import choose_keys, contact_sheet, write_overlays
from sapd_plugin.priors.inspection.pictures import region_colours
from sapd_plugin.priors.inspection.report import inspect_store
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from sapd_plugin.priors.store.keys import template_key

KEYS = ['a/1', 'a/2', 'ä', 'empty']


def labels(key: str) -> np.ndarray:
    image = np.zeros((40, 60), int)
    if key != 'empty':
        image[:20, :30], image[25:, 10:] = 1, 2
    return image


def fill(store: Path, keys: list[str], **settings: object) -> Path:
    with MaskStoreWriter(store, {'segmenter': 'test', **settings}) as writer:
        for key in keys:
            writer.put(key, LabelMap.from_labels(labels(key)))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path / 'store', KEYS)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    for key in [*KEYS, 'late']:
        path = tmp_path / 'photos' / f'{key}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((20, 30, 3), 80, np.uint8))
    return tmp_path / 'photos'


def test_a_sound_store_is_counted(store: Path) -> None:
    found = inspect_store(MaskStore(store))
    assert (found.masks, found.shards, found.problems, found.missing) == (4, {'shard-00000.lmdb': 4}, [], None)
    assert found.whole
    assert found.sizes == [((40, 60), 4)]
    assert found.without_regions == ['empty']
    covered = (20 * 30 + 15 * 50) / 2400
    assert found.coverage == (0, covered, pytest.approx(0.75 * covered), covered)
    assert found.regions == (0, 2, 1.5, 2)
    assert 0 < found.record_bytes < found.disk_bytes


def test_the_tool_tells_and_draws(store: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    sheet = tmp_path / 'sheet.png'
    arguments = [str(store), '--against', str(photos), '--overlays', '2', '--contact-sheet', str(sheet)]
    assert inspect_masks.main(arguments) == 1
    out = capsys.readouterr().out
    assert 'masks             4 in 1 shard' in out
    assert 'checked           every record, no problems' in out
    assert 'expected          1 missing, 0 extra' in out
    assert 'missing: late' in out
    assert len(list((store / 'overlays').rglob('*.png'))) == 2
    assert cv2.imread(str(sheet)).shape == (133 + 18, 400, 3)

    assert inspect_masks.main([str(store), '--json']) == 0
    values = json.loads(capsys.readouterr().out)
    assert values['settings'] == {'segmenter': 'test'}
    assert values['regions']['most'] == 2
    assert inspect_masks.main([str(tmp_path / 'gone')]) == 2
    assert 'error: mask store' in capsys.readouterr().err


def test_names_by_template_are_expected(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert [template_key(key, '{}_x4') for key in ('a/b.c', 'd')] == ['a/b.c_x4', 'd_x4']
    names = tmp_path / 'names.txt'
    names.write_text('a/1.png\n')
    fill(tmp_path / 'restored', ['a/1_r'])
    assert inspect_masks.main([str(tmp_path / 'restored'), '--against', str(names)]) == 1
    assert (
        inspect_masks.main([str(tmp_path / 'restored'), '--against', str(names), '--mask-filename-tmpl', '{}_r']) == 0
    )
    assert '0 missing, 0 extra' in capsys.readouterr().out


def test_what_is_wrong_is_listed(store: Path, capsys: pytest.CaptureFixture) -> None:
    with lmdb.open(str(store / 'shard-00000.lmdb')) as env, env.begin(write=True) as transaction:
        damaged = bytearray(transaction.get(b'a/1'))
        damaged[-1] ^= 1
        transaction.put(b'a/1', bytes(damaged))
        transaction.put(b'a/2', bytes(damaged[:30]))
    with MaskStoreWriter(store, {'segmenter': 'test'}, 1) as writer:
        writer.put('empty', LabelMap.from_labels(labels('empty')))
    (store / 'meta_info.txt').write_text('')
    assert inspect_masks.main([str(store)]) == 1
    out = capsys.readouterr().out
    assert "problem: key 'a/1' in shard-00000.lmdb: mask record: tile 0 is damaged" in out
    assert "problem: key 'a/2' in shard-00000.lmdb: mask record: 30 bytes that do not begin" in out
    assert "problem: key 'empty': in both shard-00000.lmdb and shard-00001.lmdb" in out
    assert 'problem: meta_info.txt: has 0 lines for 5 masks' in out
    assert 'checked           4 problems' in out


def test_an_empty_store_is_told(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    fill(tmp_path / 'none', [])
    assert inspect_masks.main([str(tmp_path / 'none'), '--json']) == 1
    found = json.loads(capsys.readouterr().out)
    assert found['regions'] is None
    assert found['problems'] == ['the store is empty: it holds no mask.']
    assert inspect_masks.main([str(tmp_path / 'none'), '--contact-sheet', str(tmp_path / 'x.png')]) == 2
    assert 'contact sheet: found no key' in capsys.readouterr().err


def test_pictures_of_chosen_and_random_masks(store: Path, photos: Path, tmp_path: Path) -> None:
    masks = MaskStore(store)
    assert choose_keys(masks, ['3'], seed=1) == choose_keys(masks, ['3'], seed=1)
    assert len({*choose_keys(masks, ['3'], seed=1)} & {*KEYS}) == 3
    assert choose_keys(masks, ['99']) == [*KEYS[:2], 'empty', 'ä']
    with pytest.raises(SAPDError, match=r"no mask for 'a/3', expected a key like \['a/[12]'"):
        choose_keys(masks, ['a/1', 'a/3'])
    written = write_overlays(masks, ['ä'], tmp_path / 'out')
    picture = cv2.imdecode(np.fromfile(written[0], np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
    np.testing.assert_array_equal(picture, region_colours(masks.record('ä').labels()))
    # The photo is a quarter of the mask: degraded, for super-resolution.
    over = contact_sheet(masks, ['empty'], open_photos(photos), side=60)
    assert (over[:40, :60] == 40).all(), 'darkened photo where no mask is'
    with pytest.raises(SAPDError, match="found no photo for 'a/1'"):
        write_overlays(masks, ['a/1'], tmp_path / 'out', open_photos(photos / 'a'))


def test_stores_are_compared(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    other = fill(tmp_path / 'other', ['a/1', 'empty', 'new'], source='clean')
    with MaskStoreWriter(other, {'segmenter': 'test', 'source': 'clean'}) as writer:
        writer.put('a/2', LabelMap.from_labels(np.ones((3, 3), int)))
    found = compare_stores(MaskStore(store), MaskStore(other))
    assert (found.common, found.missing, found.other_size) == (2, (['new'], ['ä']), ['a/2'])
    assert found.matched_iou == (1, 1, 1, 1)
    assert found.settings == ['source: found nothing, expected "clean"']
    assert inspect_masks.main([str(store), '--compare', str(other)]) == 1
    assert 'missing: first 1, second 1' in capsys.readouterr().out
    assert inspect_masks.main([str(store), '--compare', str(store), '--json']) == 0
    assert json.loads(capsys.readouterr().out)['comparison']['matched_iou']['least'] == 1

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import lmdb
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter, mask_key
from sapd_plugin.priors.store.codec import RecordError

SETTINGS = {'segmenter': 'test', 'parameters': {'scale': 3, 'sides': [1, 2]}, 'versions': {'library': '1'}}


def label_map(seed: int, shape: tuple[int, int] = (150, 200), regions: int = 50) -> LabelMap:
    return LabelMap.from_labels(np.random.default_rng(seed).integers(0, regions + 1, shape))


def fill(path: Path, keys: list[str], shard: int = 0) -> None:
    with MaskStoreWriter(path, SETTINGS, shard) as writer:
        for key in keys:
            writer.put(key, label_map(len(key)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    fill(tmp_path / 'store', ['a/x', 'a/x.y', 'b/x', 'übung 1'])
    return tmp_path / 'store'


def test_what_was_written_is_read(store: Path) -> None:
    masks = MaskStore(store)
    keys = masks.keys()
    assert keys == ['a/x', 'a/x.y', 'b/x', 'übung 1']
    assert len(masks) == 4
    assert 'a/x' in masks
    assert 'a' not in masks
    assert masks.size('a/x.y') == (150, 200)
    assert masks.settings == SETTINGS
    assert masks.verify() == []
    for key in keys:
        np.testing.assert_array_equal(masks.record(key).labels(), label_map(len(key)).labels)
        assert masks.record(key).fingerprint.hex() == masks.fingerprint


def test_meta_info_is_written_as_basicsr_writes_it(store: Path) -> None:
    lines = (store / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
    assert lines == [f'{key}.png (150,200,1) 9' for key in ('a/x', 'a/x.y', 'b/x', 'übung 1')]


@pytest.mark.parametrize(
    ('key', 'near'), [('a/x.png', 'a/x'), ('c/x', 'a/x'), ('ubung 1', 'übung 1'), ('data/b/x', 'b/x')]
)
def test_a_missing_key_is_named_with_the_nearest(store: Path, key: str, near: str) -> None:
    with pytest.raises(SAPDError) as caught:
        MaskStore(store).record(key)
    message = str(caught.value)
    assert f"no mask for '{key}' among 4" in message
    assert str(store) in message
    assert message.split('Nearest: ')[1].startswith(repr(near))


def test_a_store_is_resumed(store: Path) -> None:
    before = MaskStore(store).record('a/x').labels()
    with MaskStoreWriter(store, {**SETTINGS, 'versions': {'library': '2'}, 'note': 'a newer run'}) as writer:
        assert [writer.done(key) for key in ('a/x', 'new')] == [True, False]
        writer.put('new', label_map(9))
        assert len(writer) == 5
    masks = MaskStore(store)
    assert len(masks) == 5
    np.testing.assert_array_equal(masks.record('a/x').labels(), before)
    assert (store / 'meta_info.txt').read_text(encoding='utf-8').count('\n') == 5


def test_a_mask_can_be_replaced(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS) as writer:
        writer.put('a/x', label_map(77))
    masks = MaskStore(store)
    np.testing.assert_array_equal(masks.record('a/x').labels(), label_map(77).labels)
    assert (store / 'meta_info.txt').read_text(encoding='utf-8').count('\n') == len(masks) == 4


def test_other_settings_are_refused_by_name(store: Path) -> None:
    other = {**SETTINGS, 'parameters': {'scale': 4, 'sides': [1, 2]}, 'source': 'clean'}
    with pytest.raises(SAPDError) as caught:
        MaskStoreWriter(store, other)
    assert 'parameters.scale: found 3, expected 4' in str(caught.value)
    assert 'source: found nothing, expected "clean"' in str(caught.value)
    assert 'sides' not in str(caught.value)
    assert 'versions' not in str(caught.value)


def test_settings_that_json_cannot_hold_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SAPDError, match='expected what JSON can hold'):
        MaskStoreWriter(tmp_path / 'store', {'path': tmp_path})


def test_shards_lie_side_by_side(store: Path) -> None:
    fill(store, ['c/1', 'a/0'], shard=3)
    masks = MaskStore(store)
    assert masks.keys() == ['a/0', 'a/x', 'a/x.y', 'b/x', 'c/1', 'übung 1']
    assert masks.size('c/1') == (150, 200)
    assert (store / 'meta_info.txt').read_text(encoding='utf-8').count('\n') == 6
    with MaskStoreWriter(store, SETTINGS, shard=1) as writer:
        assert [writer.done(key) for key in ('a/x', 'c/1', 'zzz')] == [True, True, False]


def test_a_strange_shard_is_refused(store: Path, tmp_path: Path) -> None:
    with MaskStoreWriter(tmp_path / 'other', {**SETTINGS, 'segmenter': 'another'}, shard=1) as writer:
        writer.put('q', label_map(1))
    shutil.copytree(tmp_path / 'other' / 'shard-00001.lmdb', store / 'shard-00001.lmdb')
    with pytest.raises(SAPDError, match=r'shard-00001.lmdb: .* segmenter: found "another", expected "test"'):
        MaskStore(store)


def test_a_key_in_two_shards_is_reported(store: Path) -> None:
    fill(store, ['a/x'], shard=1)
    assert MaskStore(store).verify() == ["key 'a/x': in both shard-00000.lmdb and shard-00001.lmdb."]


def test_a_second_writer_of_a_shard_is_refused(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS):
        with pytest.raises(SAPDError, match=r'shard-00000.lmdb: another process is writing it'):
            MaskStoreWriter(store, SETTINGS)
        fill(store, ['d'], shard=1)
    assert 'd' in MaskStore(store)


def test_the_map_grows(tmp_path: Path) -> None:
    with MaskStoreWriter(tmp_path / 'store', SETTINGS, map_size=1 << 14) as writer:
        for i in range(30):
            writer.put(str(i), label_map(i))
    masks = MaskStore(tmp_path / 'store')
    assert len(masks) == 30
    assert masks.verify() == []
    assert (tmp_path / 'store' / 'shard-00000.lmdb' / 'data.mdb').stat().st_size > 1 << 14


def damage(store: Path, key: str, change: object) -> None:
    with lmdb.open(str(store / 'shard-00000.lmdb')) as env, env.begin(write=True) as transaction:
        data = bytearray(transaction.get(key.encode()))
        transaction.put(key.encode(), bytes(change(data)))


def flip_last(data: bytearray) -> bytearray:
    data[-1] ^= 255
    return data


def test_a_corrupt_record_is_named(store: Path) -> None:
    damage(store, 'b/x', flip_last)
    masks = MaskStore(store)
    assert len(masks.verify()) == 1
    assert masks.verify()[0].startswith("key 'b/x' in shard-00000.lmdb: mask record: tile 3 is damaged")
    with pytest.raises(RecordError, match='tile 3 is damaged'):
        masks.record('b/x').verify()
    damage(store, 'b/x', lambda data: data[:50])
    with pytest.raises(RecordError, match=r"store, key 'b/x': mask record: found 50 bytes"):
        MaskStore(store).record('b/x')


def test_a_record_of_other_settings_is_refused(store: Path, tmp_path: Path) -> None:
    with MaskStoreWriter(tmp_path / 'other', {**SETTINGS, 'segmenter': 'another'}) as writer:
        writer.put('q', label_map(1))
    with lmdb.open(str(tmp_path / 'other' / 'shard-00000.lmdb')) as env, env.begin() as transaction:
        stranger = transaction.get(b'q')
    damage(store, 'b/x', lambda data: stranger)
    with pytest.raises(RecordError, match="found the settings' fingerprint"):
        MaskStore(store).record('b/x')
    assert len(MaskStore(store).verify()) == 1


def test_a_truncated_shard_is_refused(store: Path) -> None:
    data = store / 'shard-00000.lmdb' / 'data.mdb'
    os.truncate(data, data.stat().st_size // 2)
    with pytest.raises(SAPDError, match='a truncated copy'):
        MaskStore(store)


def test_what_is_no_store_is_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(SAPDError, match=r'found no readable manifest.json'):
        MaskStore(tmp_path / 'nothing')
    (tmp_path / 'photo.png').write_bytes(b'x')
    with pytest.raises(SAPDError, match=r"found 'photo.png' and no manifest.json"):
        MaskStoreWriter(tmp_path, SETTINGS)
    (store / 'manifest.json').write_text(json.dumps({'format': 'sapd-mask-store', 'version': 9, 'settings': {}}))
    with pytest.raises(SAPDError, match='of version 9, expected'):
        MaskStore(store)
    (store / 'manifest.json').write_text('[]')
    with pytest.raises(SAPDError, match="expected a mask store's manifest"):
        MaskStore(store)
    fill(tmp_path / 'empty', [])
    shutil.rmtree(tmp_path / 'empty' / 'shard-00000.lmdb')
    with pytest.raises(SAPDError, match=r'found no shard-\*.lmdb'):
        MaskStore(tmp_path / 'empty')


def test_a_full_disk_stops_cleanly(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with MaskStoreWriter(store, SETTINGS) as writer:

        def full(*_: object) -> bool:
            raise lmdb.DiskError('mdb_txn_commit: No space left on device')

        with monkeypatch.context() as patch:
            patch.setattr(writer, '_write', full)
            with pytest.raises(SAPDError, match='No space left on device.* rerun the same command to resume'):
                writer.put('z', label_map(1))
    assert MaskStore(store).verify() == []


def test_a_read_only_store_is_read(store: Path) -> None:
    places = [store, *store.rglob('*')]
    for lock in store.rglob('lock.mdb'):
        lock.unlink()
    for place in places:
        if place.exists():
            place.chmod(0o555 if place.is_dir() else 0o444)
    try:
        assert MaskStore(store).verify() == []
        assert not list(store.rglob('lock.mdb'))
    finally:
        for place in places:
            if place.exists():
                place.chmod(0o755)


class Crops(Dataset):
    def __init__(self, store: MaskStore) -> None:
        self.store = store
        self.keys = store.keys()

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.from_numpy(self.store.record(self.keys[index % 4])[index : index + 64, 10:74].astype(np.int32))


@pytest.mark.parametrize('method', ['fork', pytest.param('spawn', marks=pytest.mark.slow)])
def test_workers_read_side_by_side(store: Path, method: str) -> None:
    crops = Crops(MaskStore(store))
    expected = torch.stack([crops[i] for i in range(len(crops))])  # opened in the parent before the fork
    context = multiprocessing.get_context(method)
    loader = DataLoader(crops, batch_size=4, num_workers=2, multiprocessing_context=context, persistent_workers=True)
    for _ in range(2):
        assert torch.equal(torch.cat(list(loader)), expected)
    assert torch.equal(crops[3], expected[3])


def test_a_store_can_be_pickled_and_closed(store: Path) -> None:
    masks = MaskStore(store)
    again = pickle.loads(pickle.dumps(masks))
    masks.close()
    assert again.keys() == masks.keys()


KILLED = """
import sys
import numpy as np
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter
with MaskStoreWriter(sys.argv[1], {'segmenter': 'test'}, map_size=1 << 14) as writer:
    for i in range(300):
        if not writer.done(str(i)):
            writer.put(str(i), LabelMap.from_labels(np.random.default_rng(i).integers(0, 9, (90, 90))))
print('complete')
"""


def test_a_kill_loses_nothing_that_was_written(tmp_path: Path) -> None:
    store, meta = tmp_path / 'store', tmp_path / 'store' / 'shard-00000.lmdb' / 'meta_info.txt'
    reached = 0
    for target in (1, 60, 150):
        process = subprocess.Popen([sys.executable, '-c', KILLED, str(store)])
        deadline = time.monotonic() + 60
        while not (meta.exists() and meta.read_text().count('\n') >= target) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.send_signal(signal.SIGKILL)
        process.wait()
        masks = MaskStore(store)
        assert len(masks) >= max(target, reached)
        assert masks.verify() == []
        reached = len(masks)
    done = subprocess.run([sys.executable, '-c', KILLED, str(store)], capture_output=True, text=True, check=True)
    assert done.stdout == 'complete\n'
    masks = MaskStore(store)
    assert masks.keys() == sorted(str(i) for i in range(300))
    assert masks.verify() == []
    assert (store / 'meta_info.txt').read_text().count('\n') == 300


def test_reading_needs_no_torch_and_no_segmenter(store: Path) -> None:
    code = (
        'import sys; from sapd_plugin.priors.store import MaskStore; '
        f'assert MaskStore({str(store)!r}).record("a/x")[0:9, 0:9].shape == (9, 9, 1); '
        'print(sorted({"torch", "cv2", "skimage", "segment_anything", "torchvision"} & set(sys.modules)))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == '[]\n'


@pytest.mark.parametrize(
    ('path', 'key'),
    [('a.png', 'a'), ('x/a.b.jpeg', 'x/a.b'), ('ünï/ä 1.PNG', 'ünï/ä 1'), ('noext', 'noext'), ('.hidden', '.hidden')],
)
def test_keys_are_paths_below_the_folder(tmp_path: Path, path: str, key: str) -> None:
    assert mask_key(tmp_path / path, tmp_path) == key
    assert mask_key(str(tmp_path / path), str(tmp_path) + '/') == key


def test_names_that_cannot_be_keys_are_refused(tmp_path: Path, store: Path) -> None:
    with pytest.raises(SAPDError, match='found an image outside its folder'):
        mask_key('/elsewhere/a.png', tmp_path)
    with pytest.raises(SAPDError, match='found 512 bytes, expected 1 to 511'):
        mask_key(tmp_path / ('ä' * 100 + '/') / ('b' * 110) / ('c' * 200 + '.png'), tmp_path)
    with pytest.raises(SAPDError, match='not valid UTF-8'):
        mask_key(tmp_path / os.fsdecode(b'\xff.png'), tmp_path)
    with pytest.raises(SAPDError, match='found 0 bytes'):
        assert '' in MaskStore(store)

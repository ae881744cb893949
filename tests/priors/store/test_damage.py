"""Damaged stores: named, or harmless; never a signal, a process that does not end, or a wrong mask."""

from __future__ import annotations

import errno
import json
import os
import pickle
import random
import signal
import struct
from collections.abc import Callable
from pathlib import Path

import lmdb
import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter, verification
from sapd_plugin.priors.store.pages import BRANCH, LEAF, DamagedError, check_pages
from tests.priors.store.stores import KEYS, SETTINGS, fill, label_map
from tests.stress import damage_store

PAGE = 4096


def write_database(folder: Path, entries: int, largest: int, replaced: float, each: int) -> dict[bytes, bytes]:
    """Write an LMDB with ``each`` entries per transaction, some of which are replaced or deleted; return its content."""
    rng = random.Random(entries + largest)
    content: dict[bytes, bytes] = {}
    with lmdb.open(str(folder), map_size=1 << 28, sync=False) as env:
        for begin in range(0, entries, each):
            with env.begin(write=True) as transaction:
                for number in range(begin, min(begin + each, entries)):
                    content[f'{rng.randrange(9)}/{number:06}'.encode()] = rng.randbytes(rng.randint(1, largest))
                for key in list(content):
                    transaction.put(key, content[key]) if key not in dict(transaction.cursor()) else None
                if rng.random() < replaced:
                    for key in rng.sample(sorted(content), min(3, len(content))):
                        transaction.delete(key)
                        del content[key]
    return content


@pytest.mark.parametrize(
    ('entries', 'largest', 'replaced', 'each'),
    [(0, 1, 0, 1), (1, 1, 0, 1), (40, 9000, 0.7, 1), (400, 30, 0.5, 20), (300, 6000, 0.3, 30)],
)
def test_what_lmdb_writes_is_sound(tmp_path: Path, entries: int, largest: int, replaced: float, each: int) -> None:
    content = write_database(tmp_path, entries, largest, replaced, each)
    for strict in (True, False):
        assert sorted(check_pages(tmp_path / 'data.mdb', strict)) == sorted(content)


def pages_of(data: bytes, kind: int) -> list[int]:
    return [page for page in range(2, len(data) // PAGE) if data[page * PAGE + 10] == kind]


def close_a_circle(data: bytearray) -> None:
    """Let every branch lead to itself."""
    for page in pages_of(data, BRANCH):
        for (offset,) in struct.iter_unpack('<H', data[page * PAGE + 16 : page * PAGE + 20]):
            struct.pack_into('<HH', data, page * PAGE + offset, page, 0)


def exchange_pages(data: bytearray) -> None:
    """Put one leaf in the place of another."""
    first, second = pages_of(data, LEAF)[:2]
    data[first * PAGE : first * PAGE + PAGE] = data[second * PAGE : second * PAGE + PAGE]


def forget_the_last_transaction(data: bytearray) -> None:
    """Make LMDB take the older meta page."""
    places = [page * PAGE + 16 + 24 + 96 + 8 for page in (0, 1)]
    newest = max(places, key=lambda place: struct.unpack_from('<Q', data, place))
    struct.pack_into('<Q', data, newest, 0)


def enlarge_a_value(data: bytearray) -> None:
    """Let a value reach beyond its page."""
    page = pages_of(data, LEAF)[0]
    (offset,) = struct.unpack_from('<H', data, page * PAGE + 16)
    struct.pack_into('<H', data, page * PAGE + offset, 60_000)


def rename_a_key(data: bytearray) -> None:
    """Change a key to the next one in order."""
    place = data.index(b'3/000')
    data[place + 4] ^= 1


@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (close_a_circle, 'page .* is in use twice'),
        (exchange_pages, 'is not the one that LMDB wrote'),
        (forget_the_last_transaction, 'its meta pages are of the transactions'),
        (enlarge_a_value, 'has a node at|nodes of page'),
        (lambda data: data.__delitem__(slice(-PAGE, None)), 'a truncated copy'),
        (bytearray.clear, 'found 0 bytes, expected more'),
        (lambda data: data.__setitem__(slice(16, 20), b'MDB!'), 'found other content, expected an LMDB'),
    ],
)
def test_what_lmdb_must_not_open_is_named(tmp_path: Path, damage: Callable[[bytearray], None], message: str) -> None:
    write_database(tmp_path, 400, 30, 0, 400)
    with lmdb.open(str(tmp_path)) as env, env.begin(write=True) as transaction:
        transaction.put(b'last', b'x')
    data = bytearray((tmp_path / 'data.mdb').read_bytes())
    damage(data)
    (tmp_path / 'data.mdb').write_bytes(data)
    with pytest.raises(DamagedError, match=message):
        check_pages(tmp_path / 'data.mdb')


@pytest.mark.parametrize(('old', 'new'), [(b'b/x', b'c/x'), (b'b/x', b'b/\xff'), (b'a/x', b'\0/x')])
def test_a_changed_key_is_named(store: Path, old: bytes, new: bytes) -> None:
    path = store / 'shard-00000.lmdb' / 'data.mdb'
    data = path.read_bytes()
    path.write_bytes(data.replace(b'\3\0' + old, b'\3\0' + new))
    for use in (lambda: MaskStore(store), lambda: MaskStoreWriter(store, SETTINGS)):
        with pytest.raises(SAPDError, match=r'shard-00000.lmdb: .*Delete the folder shard-00000.lmdb and run'):
            use()


def test_a_random_damage_is_named_or_harmless(tmp_path: Path) -> None:
    """The stress tool, at a size for every day."""
    assert damage_store.run(tmp_path, damages=30, images=6, seed=int.from_bytes(os.urandom(4), 'big')) == []


def test_a_store_is_verified_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, '_verified', {})
    masks = MaskStore(store)
    assert masks.seconds > 0
    assert MaskStore(store).seconds == 0
    pickled = pickle.dumps(masks)
    # As in a worker process that is not a fork.
    verification._verified.clear()
    assert pickle.loads(pickled).seconds == 0
    fill(store, ['e'])
    assert MaskStore(store).seconds > 0


@pytest.mark.parametrize('name', ['manifest.json', 'meta_info.txt', 'data.mdb'])
def test_pipes_in_a_store_do_not_stop_it(store: Path, name: str) -> None:
    path = next(store.rglob(name) if name == 'data.mdb' else iter([store / name]))
    path.unlink()
    os.mkfifo(path)
    signal.alarm(20)
    try:
        if name == 'meta_info.txt':  # of which the next writer makes a new one
            fill(store, ['e'])
            assert len(MaskStore(store)) == 6
        else:
            with pytest.raises(SAPDError, match='a named pipe, expected a regular file'):
                MaskStore(store)
    finally:
        signal.alarm(0)


@pytest.mark.parametrize('levels', [50, 5000, 100_000])
def test_a_deep_manifest_is_named(store: Path, levels: int) -> None:
    manifest = json.loads((store / 'manifest.json').read_text())
    manifest['settings']['deep'] = 'DEEP'
    deep = '{"a":' * levels + '1' + '}' * levels
    (store / 'manifest.json').write_text(json.dumps(manifest).replace('"DEEP"', deep))
    with pytest.raises(SAPDError, match=r'manifest.json: found (settings of more than 32 levels|other content)'):
        MaskStore(store)


def test_a_note_that_is_not_utf8_is_kept(tmp_path: Path) -> None:
    note = os.fsdecode(b'made from \xe9t\xe9')
    fill(tmp_path / 'store', KEYS[:1], note=note)
    assert MaskStore(tmp_path / 'store').settings['note'] == note


def test_meta_info_that_is_not_utf8_is_named(store: Path) -> None:
    meta = store / 'shard-00000.lmdb' / 'meta_info.txt'
    meta.write_bytes(meta.read_bytes().replace(b'b/x', b'b/\xff'))
    with pytest.raises(SAPDError, match=r'shard-00000.lmdb/meta_info.txt: is damaged, expected UTF-8 text'):
        MaskStore(store)


@pytest.mark.parametrize('number', [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_named_and_read(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr('fcntl.flock', refuse)
    with pytest.raises(SAPDError, match='has no file locks.*Write to a local folder and move it') as caught:
        fill(tmp_path / 'new', KEYS)
    assert 'free space' not in str(caught.value)
    assert not (tmp_path / 'new').exists()
    np.testing.assert_array_equal(MaskStore(store).record('a/x').labels(), label_map(3).labels)


def test_a_refused_folder_is_left_as_it_was(tmp_path: Path, store: Path) -> None:
    (tmp_path / 'home').mkdir()
    (tmp_path / 'home' / 'letter.txt').write_text('dear')
    for lock in store.glob('.*'):
        lock.unlink()
    before = sorted(tmp_path.rglob('*'))
    with pytest.raises(SAPDError, match=r"found 'letter.txt' and no manifest.json"):
        MaskStoreWriter(tmp_path / 'home', SETTINGS)
    with pytest.raises(SAPDError, match='different settings'):
        MaskStoreWriter(store, {'segmenter': 'another'})
    with pytest.raises(SAPDError, match='expected JSON values'):
        MaskStoreWriter(tmp_path / 'new', {'segmenter': object()})
    assert sorted(tmp_path.rglob('*')) == before

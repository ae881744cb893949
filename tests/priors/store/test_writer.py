"""One or several writers of a store: resuming, damaged shards, kills, and disks that are full or read-only."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from multiprocessing.synchronize import Event
from pathlib import Path

import lmdb
import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from sapd_plugin.priors.store.meta_info import read_keys
from tests.priors.store.stores import KEYS, SETTINGS, count_lines, fill, label_map, small_files

FORK = multiprocessing.get_context('fork')


def test_meta_info_is_written_as_basicsr_writes_it(store: Path) -> None:
    lines = (store / 'meta_info.txt').read_text(encoding='utf-8').splitlines()
    assert lines == [f'{key}.png (150,200,1) 9' for key in KEYS]


def test_a_store_is_resumed_and_a_mask_replaced(store: Path) -> None:
    with MaskStoreWriter(store, {**SETTINGS, 'versions': {'library': '2'}, 'note': 'a newer run'}) as writer:
        assert [writer.done(key) for key in ('a/x', 'new')] == [True, False]
        writer.put('new', label_map(9))
        writer.put('b/x', label_map(77))
        assert len(writer) == 6
    masks = MaskStore(store)
    for key, seed in (('a/x', 3), ('new', 9), ('b/x', 77)):
        np.testing.assert_array_equal(masks.record(key).labels(), label_map(seed).labels)
    assert count_lines(store) == len(masks) == 6


def test_a_store_that_another_process_begins_at_this_moment_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, listed = tmp_path / 'store', Path.glob

    def begun_meanwhile(self: Path, pattern: str) -> Iterator[Path]:
        monkeypatch.undo()
        with MaskStoreWriter(store, SETTINGS, shard=1) as other:
            other.put('other', label_map(1))
        return listed(self, pattern)

    monkeypatch.setattr(Path, 'glob', begun_meanwhile)
    with MaskStoreWriter(store, SETTINGS) as writer:
        writer.put('own', label_map(2))
    assert sorted(MaskStore(store).keys()) == ['other', 'own']


def test_other_settings_are_refused_by_name(store: Path) -> None:
    other = {**SETTINGS, 'parameters': {'scale': 4, 'sides': [1, 2]}, 'source': 'clean'}
    with pytest.raises(SAPDError) as caught:
        MaskStoreWriter(store, other)
    assert 'parameters.scale: found 3, expected 4' in str(caught.value)
    assert 'source: found nothing, expected "clean"' in str(caught.value)
    assert 'sides' not in str(caught.value)
    assert 'versions' not in str(caught.value)
    with pytest.raises(SAPDError, match='expected JSON values'):
        MaskStoreWriter(store, {'path': store})


def test_shards_lie_side_by_side(store: Path) -> None:
    fill(store, ['c/1', 'a/0'], shard=3)
    masks = MaskStore(store)
    assert masks.keys() == sorted([*KEYS, 'c/1', 'a/0'])
    assert masks.size('c/1') == (150, 200)
    assert count_lines(store) == 7
    with MaskStoreWriter(store, SETTINGS, shard=1) as writer:
        assert [writer.done(key) for key in ('a/x', 'c/1', 'zzz')] == [True, True, False]


def test_a_shard_has_one_writer_and_a_store_no_reader_meanwhile(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS):
        with pytest.raises(SAPDError, match=r'shard-00000.lmdb: another process is writing it'):
            MaskStoreWriter(store, SETTINGS)
        fill(store, ['d'], shard=1)
        with pytest.raises(SAPDError, match=r'shard-00000.lmdb is being written, expected a finished store'):
            MaskStore(store)
    assert 'd' in MaskStore(store)


@pytest.mark.parametrize('lock', ['.lock', '.shard-00000.lmdb.lock', '.ranks-1', '.ranks-7'])
def test_a_named_pipe_in_place_of_a_lock_is_named_and_does_not_hold_the_store(store: Path, lock: str) -> None:
    (store / lock).unlink(missing_ok=True)
    os.mkfifo(store / lock)
    assert len(MaskStore(store)) == len(KEYS)
    with pytest.raises(SAPDError, match=f'a named pipe, expected a regular file.*{lock}'):
        MaskStoreWriter(store, SETTINGS, ranks=1)


def truncate(shard: Path) -> None:
    os.truncate(shard / 'data.mdb', (shard / 'data.mdb').stat().st_size // 2)


def empty(shard: Path) -> None:
    os.truncate(shard / 'data.mdb', 0)


def remove(shard: Path) -> None:
    (shard / 'data.mdb').unlink()


def scramble(shard: Path) -> None:
    (shard / 'data.mdb').write_bytes(b'x' * 8192)


def exchange(shard: Path) -> None:
    with lmdb.open(str(shard)) as env, env.begin(write=True) as transaction:
        manifest = transaction.get(b'\0manifest').replace(b'"test"', b'"else"')
        transaction.put(b'\0manifest', manifest)


@pytest.mark.parametrize('shard', [0, 1])
@pytest.mark.parametrize(
    ('damage', 'message'),
    [
        (truncate, 'shard-00000.lmdb: .*a truncated copy'),
        (empty, 'shard-00000.lmdb: .*a truncated copy'),
        (remove, r'shard-00000.lmdb: data.mdb cannot be opened \(No such file or directory\)'),
        (scramble, r'shard-00000.lmdb: data.mdb is damaged: found other content, expected an LMDB'),
        (exchange, 'shard-00000.lmdb: .* segmenter: found "else", expected "test"'),
    ],
)
def test_a_damaged_shard_is_refused_by_every_writer(store: Path, shard: int, damage, message: str) -> None:
    damage(store / 'shard-00000.lmdb')
    before = {path: path.stat().st_size for path in store.rglob('data.mdb')}
    with pytest.raises(SAPDError, match=message):
        MaskStoreWriter(store, SETTINGS, shard)
    with pytest.raises(SAPDError, match=message):
        MaskStore(store)
    assert {path: path.stat().st_size for path in before} == before


@pytest.mark.parametrize('tail', [None, b'', b'a/x.png (150,200,1) 9\nd.png.png (15', b'a/x.png (150,200,1) 9\n'])
@pytest.mark.parametrize('shard', [0, 1])
def test_a_line_that_a_kill_cost_is_written_by_the_next_run(store: Path, shard: int, tail: bytes | None) -> None:
    meta = store / 'shard-00000.lmdb' / 'meta_info.txt'
    meta.unlink() if tail is None else meta.write_bytes(tail)
    with MaskStoreWriter(store, SETTINGS, shard, ranks=2) as writer:
        assert [writer.done(key) for key in (*KEYS, 'e')] == [True] * 5 + [False]
    assert list(read_keys(store)) == KEYS


def test_what_others_write_meanwhile_is_not_looked_at(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS, 1, ranks=2) as writer:
        fill(store, ['late'], shard=0, ranks=2)
        assert not writer.done('late')
    with MaskStoreWriter(store, SETTINGS, 1) as writer:
        assert writer.done('late')


def test_runs_over_other_numbers_of_ranks_do_not_mix(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS, 0, ranks=4):
        fill(store, ['e'], shard=1, ranks=4)
        with pytest.raises(SAPDError, match=r'shares the images among 4 ranks, found 2 for this one'):
            MaskStoreWriter(store, SETTINGS, 1, ranks=2)
    fill(store, ['f'], shard=1, ranks=2)
    assert not (store / '.ranks-4').exists()
    assert MaskStore(store).verify() == []


def hold(store: Path, held: Event) -> None:
    with MaskStoreWriter(store, SETTINGS, 0, ranks=4):
        held.set()
        time.sleep(60)


def test_a_killed_writer_holds_nothing(store: Path) -> None:
    held = FORK.Event()
    process = FORK.Process(target=hold, args=(store, held))
    process.start()
    assert held.wait(60)
    with pytest.raises(SAPDError, match='among 4 ranks, found 3'):
        MaskStoreWriter(store, SETTINGS, 1, ranks=3)
    with pytest.raises(SAPDError, match='another process is writing it'):
        MaskStoreWriter(store, SETTINGS, 0, ranks=4)
    process.kill()
    process.join()
    fill(store, ['e'], shard=0, ranks=3)
    assert 'e' in MaskStore(store)


def test_half_begun_stores_and_shards_are_begun_anew(store: Path, tmp_path: Path) -> None:
    begun = tmp_path / 'begun'
    begun.mkdir()
    (begun / '.lock').touch()
    (begun / '.manifest.json.draft').write_text('{"form')
    shutil.copytree(store / 'shard-00000.lmdb', begun / '.shard-00000.lmdb.draft')
    empty(begun / '.shard-00000.lmdb.draft')
    fill(begun, ['a'])
    assert MaskStore(begun).keys() == ['a']
    assert not list(begun.glob('.*draft'))


def write_100(store: Path) -> None:
    """Write or resume a store of 100 masks, 1.5 MB, from a small map that has to grow."""
    with MaskStoreWriter(store, {'segmenter': 'test'}, map_size=1 << 14) as writer:
        for i in range(100):
            if not writer.done(str(i)):
                writer.put(str(i), LabelMap.from_labels(np.random.default_rng(i).integers(0, 200, (120, 120))))


def check_completed(store: Path) -> None:
    write_100(store)
    masks = MaskStore(store)
    assert masks.keys() == sorted(str(i) for i in range(100))
    assert masks.verify() == []
    assert count_lines(store) == 100


def test_a_kill_loses_nothing_that_was_written(tmp_path: Path) -> None:
    store, meta = tmp_path / 'store', tmp_path / 'store' / 'shard-00000.lmdb' / 'meta_info.txt'
    reached = 0
    for target in (1, 30, 60):
        process = FORK.Process(target=write_100, args=(store,))
        process.start()
        deadline = time.monotonic() + 60
        while not (meta.exists() and meta.read_text().count('\n') >= target) and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        process.join()
        masks = MaskStore(store)
        assert len(masks) >= max(target, reached)
        assert masks.verify() == []
        reached = len(masks)
    assert reached < 100
    check_completed(store)


def test_a_file_that_may_not_grow_stops_the_run_cleanly(tmp_path: Path) -> None:
    store = tmp_path / 'store'
    with small_files(600_000), pytest.raises(SAPDError, match='cannot be written.*free space.* to resume'):
        write_100(store)
    masks = MaskStore(store)
    assert 5 < len(masks) < 100
    assert masks.verify() == []
    check_completed(store)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB; skips where the user may not mount."""
    place = tmp_path / 'mounted'
    place.mkdir()
    probe = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=700k', 'tmpfs', str(place)], capture_output=True)
    if probe.returncode:
        pytest.skip(f'this user may not mount: {probe.stderr.decode().strip()}')
    yield place
    subprocess.run(['umount', str(place)], check=True)


def test_a_full_disk_stops_the_run_cleanly_and_a_read_only_one_is_read(mounted: Path) -> None:
    store = mounted / 'store'
    with pytest.raises(SAPDError, match='No space left on device.*free space'):
        write_100(store)
    masks = MaskStore(store)
    assert 5 < len(masks) < 100
    assert masks.verify() == []
    masks.close()
    subprocess.run(['mount', '-o', 'remount,size=20m', str(mounted)], check=True)
    check_completed(store)

    for lock in store.rglob('lock.mdb'):
        lock.unlink()
    subprocess.run(['mount', '-o', 'remount,ro', str(mounted)], check=True)
    with pytest.raises(OSError, match='Read-only'):
        (mounted / 'new').touch()
    masks = MaskStore(store)
    assert masks.verify() == []
    assert masks.record('7')[10:20, 30:50].shape == (10, 20, 1)
    masks.close()


def write_until_full(store: Path) -> None:
    with pytest.raises(SAPDError, match=r'(No space left on device|Input/output error).* bytes are free.*free space'):
        write_100(store)
    os._exit(0)


@pytest.mark.parametrize('kilobytes', [4, 8, 12, 16, 20, 24, 28, 32, 48, 64, 200])
def test_a_disk_that_is_full_at_any_moment_ends_no_run_with_a_signal(mounted: Path, kilobytes: int) -> None:
    subprocess.run(['mount', '-o', f'remount,size={kilobytes}k', str(mounted)], check=True)
    process = FORK.Process(target=write_until_full, args=(mounted / 'store',))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    subprocess.run(['mount', '-o', 'remount,size=20m', str(mounted)], check=True)
    check_completed(mounted / 'store')

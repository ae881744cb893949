"""Several writers of one store, shards that are damaged, and what a kill leaves behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import lmdb
import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from sapd_plugin.priors.store.meta_info import read_keys

SETTINGS = {'segmenter': 'test'}


def write(store: Path, keys: list[str], shard: int = 0, ranks: int | None = None) -> None:
    with MaskStoreWriter(store, SETTINGS, shard, ranks) as writer:
        for key in keys:
            writer.put(key, LabelMap.from_labels(np.full((20, 30), len(key))))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write(tmp_path / 'store', ['a', 'b c', 'd.png'])
    return tmp_path / 'store'


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
        (empty, 'shard-00000.lmdb: (cannot be opened|found no manifest)'),
        (remove, r'shard-00000.lmdb: cannot be opened'),
        (scramble, r'shard-00000.lmdb: cannot be opened'),
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


@pytest.mark.parametrize('tail', [None, b'', b'a.png (20,30,1) 9\nb c.png (20,3', b'a.png (20,30,1) 9\n'])
@pytest.mark.parametrize('shard', [0, 1])
def test_a_line_that_a_kill_cost_is_written_by_the_next_run(store: Path, shard: int, tail: bytes | None) -> None:
    meta = store / 'shard-00000.lmdb' / 'meta_info.txt'
    meta.unlink() if tail is None else meta.write_bytes(tail)
    with MaskStoreWriter(store, SETTINGS, shard, ranks=2) as writer:
        assert [writer.done(key) for key in ('a', 'b c', 'd.png', 'e')] == [True, True, True, False]
    assert list(read_keys(store)) == ['a', 'b c', 'd.png']


def test_what_others_write_meanwhile_is_not_looked_at(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS, 1, ranks=2) as writer:
        write(store, ['late'], shard=0, ranks=2)
        assert not writer.done('late')
    with MaskStoreWriter(store, SETTINGS, 1) as writer:
        assert writer.done('late')


def test_runs_over_other_numbers_of_ranks_do_not_mix(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS, 0, ranks=4):
        write(store, ['e'], shard=1, ranks=4)
        with pytest.raises(SAPDError, match=r'shares the images among 4 ranks, found 2 for this one'):
            MaskStoreWriter(store, SETTINGS, 1, ranks=2)
    write(store, ['f'], shard=1, ranks=2)
    assert not (store / '.ranks-4').exists()
    assert MaskStore(store).verify() == []


HOLD = """
import sys, time
from sapd_plugin.priors.store import MaskStoreWriter
writer = MaskStoreWriter(sys.argv[1], {'segmenter': 'test'}, 0, 4)
print('open', flush=True)
time.sleep(60)
"""


def test_a_killed_writer_holds_nothing(store: Path) -> None:
    process = subprocess.Popen([sys.executable, '-c', HOLD, str(store)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b'open\n'
    with pytest.raises(SAPDError, match='among 4 ranks, found 3'):
        MaskStoreWriter(store, SETTINGS, 1, ranks=3)
    with pytest.raises(SAPDError, match='another process is writing it'):
        MaskStoreWriter(store, SETTINGS, 0, ranks=4)
    process.send_signal(signal.SIGKILL)
    process.wait()
    write(store, ['e'], shard=0, ranks=3)
    assert 'e' in MaskStore(store)


def test_half_begun_stores_and_shards_are_begun_anew(store: Path, tmp_path: Path) -> None:
    begun = tmp_path / 'begun'
    begun.mkdir()
    (begun / '.lock').touch()
    (begun / '.manifest.json.draft').write_text('{"form')
    shutil.copytree(store / 'shard-00000.lmdb', begun / '.shard-00000.lmdb.draft')
    empty(begun / '.shard-00000.lmdb.draft')
    write(begun, ['a'])
    assert MaskStore(begun).keys() == ['a']
    assert not list(begun.glob('.*draft'))


def test_names_with_line_breaks_are_refused(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS) as writer, pytest.raises(SAPDError, match=r"'x\\ny': found a line break"):
        writer.put('x\ny', LabelMap.from_labels(np.ones((3, 3), int)))


def test_a_store_is_not_read_while_it_is_written(store: Path) -> None:
    with MaskStoreWriter(store, SETTINGS) as writer:
        writer.put('e', LabelMap.from_labels(np.ones((9, 9), int)))
        with pytest.raises(SAPDError, match=r'shard-00000.lmdb is being written, expected a finished store'):
            MaskStore(store)
    assert 'e' in MaskStore(store)


def test_a_shard_has_one_writer(store: Path) -> None:
    with pytest.raises(SAPDError, match='another process is writing it'), MaskStoreWriter(store, SETTINGS):
        MaskStoreWriter(store, SETTINGS)

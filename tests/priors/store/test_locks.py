"""A disk that is full, and one that is read-only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter

SETTINGS = {'segmenter': 'test'}

FILL = """
import resource, sys
import numpy as np
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter
store, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    with MaskStoreWriter(store, {'segmenter': 'test'}, map_size=1 << 16) as writer:
        for i in range(100):
            if not writer.done(str(i)):
                writer.put(str(i), LabelMap.from_labels(np.random.default_rng(i).integers(0, 200, (120, 120))))
except SAPDError as error:
    sys.exit(f'error: {error}')
print('complete')
"""


def fill(store: Path, limit: int = 0) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, '-c', FILL, str(store), str(limit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def check_stopped_and_completed(store: Path, stopped: subprocess.CompletedProcess[str], completed) -> None:
    assert stopped.returncode == 1
    assert 'cannot be written' in stopped.stderr
    assert 'make room' in stopped.stderr
    assert 'Traceback' not in stopped.stderr
    masks = MaskStore(store)
    reached = len(masks)
    assert 5 < reached < 100
    assert masks.verify() == []
    assert completed().stdout == 'complete\n'
    masks = MaskStore(store)
    assert len(masks) == 100
    assert masks.verify() == []
    assert (store / 'meta_info.txt').read_text().count('\n') == 100


def test_a_file_that_may_not_grow_stops_the_run_cleanly(tmp_path: Path) -> None:
    store = tmp_path / 'store'
    check_stopped_and_completed(store, fill(store, limit=600_000), lambda: fill(store))


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[tuple[Path, list[str]]]:
    """A folder for a file system, and the arguments that `mount` is still to get; skips where it may not mount."""
    place = tmp_path / 'mounted'
    place.mkdir()
    probe = subprocess.run(['mount', '-t', 'tmpfs', '-o', 'size=700k', 'tmpfs', str(place)], capture_output=True)
    if probe.returncode:
        pytest.skip(f'this user may not mount: {probe.stderr.decode().strip()}')
    yield place, ['mount', '-o']
    subprocess.run(['umount', str(place)], check=True)


def test_a_full_disk_stops_the_run_cleanly(mounted: tuple[Path, list[str]]) -> None:
    place, mount = mounted
    stopped = fill(place / 'store')
    assert 'No space left on device' in stopped.stderr

    def with_room() -> subprocess.CompletedProcess[str]:
        subprocess.run([*mount, 'remount,size=20m', str(place)], check=True)
        return fill(place / 'store')

    check_stopped_and_completed(place / 'store', stopped, with_room)


def test_a_read_only_file_system_is_read(mounted: tuple[Path, list[str]]) -> None:
    place, mount = mounted
    with MaskStoreWriter(place / 'store', SETTINGS) as writer:
        writer.put('a', LabelMap.from_labels(np.ones((150, 150), int)))
    for lock in (place / 'store').rglob('lock.mdb'):
        lock.unlink()
    subprocess.run([*mount, 'remount,ro', str(place)], check=True)
    with pytest.raises(OSError, match='Read-only'):
        (place / 'new').touch()
    masks = MaskStore(place / 'store')
    assert masks.verify() == []
    assert masks.record('a')[10:20, 30:50].shape == (10, 20, 1)


WITHOUT_FCNTL = """
import sys
sys.modules['fcntl'] = None  # as on Windows
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors import MaskStore, MaskStoreWriter
print(MaskStore(sys.argv[1]).record('a')[10:20, 30:50].shape)
try:
    MaskStoreWriter(sys.argv[1], {'segmenter': 'test'})
except SAPDError as error:
    print(error)
"""


def test_a_store_is_read_where_there_is_no_fcntl_and_writing_says_what_is_missing(tmp_path: Path) -> None:
    with MaskStoreWriter(tmp_path / 'store', SETTINGS) as writer:
        writer.put('a', LabelMap.from_labels(np.ones((150, 150), int)))
    command = [sys.executable, '-c', WITHOUT_FCNTL, str(tmp_path / 'store')]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    shape, message = done.stdout.splitlines()
    assert shape == '(10, 20, 1)'
    assert 'lacks fcntl' in message

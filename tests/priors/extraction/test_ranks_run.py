"""Ranks at work: torchrun, its environment, SIGTERM, another number of ranks than before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sapd_plugin.priors.inspection.report import inspect_store
from sapd_plugin.priors.store import MaskStore
from tests.stress import kill_extraction

KEYS = {f'{i:04}' for i in range(12)}
TOOL = Path(__file__).parents[3] / 'tools' / 'extract_masks.py'


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return kill_extraction.make_photos(tmp_path / 'photos', 12, (150, 100))


def command(photos: Path, store: Path) -> list[str]:
    return [str(TOOL), '--images', str(photos), '--output', str(store), '--segmenter', 'felzenszwalb']


def begin(arguments: list[str], **environment: str) -> subprocess.Popen[str]:
    env = {**os.environ, 'OMP_NUM_THREADS': '1', **environment}
    return subprocess.Popen(
        [sys.executable, *arguments], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def check_complete(store: Path, masks: list[int] | None = None) -> None:
    """Check that there is a mask for each photo, and how many each shard has."""
    found = inspect_store(MaskStore(store), KEYS)
    assert (found.problems, found.missing, found.extra) == ([], [], [])
    if masks is not None:
        assert found.shards == {f'shard-{i:05}.lmdb': count for i, count in enumerate(masks)}


def test_ranks_by_environment_share_the_images(photos: Path, tmp_path: Path) -> None:
    store = tmp_path / 'store'
    ranks = [begin(command(photos, store), RANK=str(i), WORLD_SIZE='3', LOCAL_RANK=str(i)) for i in range(3)]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0, 0], outputs
    for i, (out, err) in enumerate(outputs):
        assert '4 masks written, 0 kept, 0 failed, 0 left' in out
        assert f'rank {i}/3: 100%' in err
        assert 'image/s' in err
    check_complete(store, [4, 4, 4])
    drawing = begin([*command(photos, store), '--overlays', '1'], RANK='0', WORLD_SIZE='3')
    assert '--overlays: found with rank 0/3' in drawing.communicate(timeout=120)[1]
    assert drawing.returncode == 2


@pytest.mark.slow
def test_torchrun_is_understood(photos: Path, tmp_path: Path) -> None:
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node', '2']
    run = begin([*launch, *command(photos, tmp_path / 'store')])
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, out + err
    check_complete(tmp_path / 'store', [6, 6])


@pytest.mark.parametrize('interrupt', [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_resumed_by_two_ranks(photos: Path, tmp_path: Path, interrupt: signal.Signals) -> None:
    store = tmp_path / 'store'
    meta, deadline = store / 'shard-00000.lmdb' / 'meta_info.txt', time.monotonic() + 120
    first = begin(command(photos, store))
    while not (meta.exists() and meta.read_text().count('\n') >= 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    first.send_signal(interrupt)
    out, err = first.communicate(timeout=120)
    assert first.returncode == 130, out + err
    assert 'rerun the same command to resume' in err
    reached = len(MaskStore(store))
    assert 2 <= reached < 12
    assert f'{reached} masks written, 0 kept, 0 failed, {12 - reached} left' in out
    assert (store / 'meta_info.txt').read_text().count('\n') == reached

    # As if the machine had been lost between the last mask and its line.
    meta.write_text(''.join(meta.read_text().splitlines(keepends=True)[:-1]))
    ranks = [begin([*command(photos, store), '--shard', f'{i}/2']) for i in (1, 0)]
    outputs = [rank.communicate(timeout=120) for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], outputs
    kept = sum(int(out.split(' masks written, ')[1].split(' kept')[0]) for out, _ in outputs)
    assert kept == reached
    check_complete(store)


@pytest.mark.slow
@pytest.mark.parametrize('replace', [False, True], ids=['new masks', 'masks of other photos'])
def test_kills_lose_nothing_and_double_nothing(tmp_path: Path, replace: bool) -> None:
    """The stress tool, at a size for every day."""
    ranks = [2] if replace else [1, 3, 2]
    assert kill_extraction.run(tmp_path, kills=9, images=40, ranks=ranks, seed=0, replace=replace) == []
    assert 'Traceback' not in (tmp_path / 'output.txt').read_text()

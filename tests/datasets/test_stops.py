"""Killed at any point, the same command resumes, and no incomplete file is used."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cv2
import lmdb
import pytest

from sapd_plugin.cli import prepare_dataset
from tests.datasets import stand_ins

KILLER = """
import os, signal, sys, threading
from sapd_plugin.cli import prepare_dataset
left, lock = int(sys.argv[1]), threading.Lock()

def killing(function):
    def wrapper(*arguments, **named):
        global left
        with lock:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)
    return wrapper

os.replace, os.symlink = killing(os.replace), killing(os.symlink)
if '--lmdb' in sys.argv:
    from sapd_plugin.datasets.databases import lmdb_maker
    lmdb_maker().put = killing(lmdb_maker().put)
sys.exit(prepare_dataset.main(sys.argv[2:]))
"""


def killed(after: int, *command: str) -> bool:
    """Run a command that dies by SIGKILL before its step of that number; tell whether it did."""
    done = subprocess.run(
        [sys.executable, '-c', KILLER, str(after), *command], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode != 0


def check_whole(folder: Path, lmdb_images: int = 0) -> None:
    """All images that a training would see decode, and an LMDB has all its records."""
    for path in folder.rglob('*.png'):
        if '.unfinished' not in path.parts:
            assert path.read_bytes().endswith(b'IEND\xaeB`\x82')
            assert cv2.imread(str(path)) is not None
    for database in folder.rglob('*.lmdb'):
        if '.unfinished' not in database.parts:
            with lmdb.open(str(database), readonly=True, lock=False) as environment:
                assert environment.stat()['entries'] == lmdb_images


# 8 links, a meta file, the settings, 48 sub-images, a meta file, an LMDB of 24 records.
@pytest.mark.parametrize(
    'steps', [[3, 20], [60, 12, 5]], ids=['while linking and cutting', 'while cutting and in an LMDB']
)
def test_a_killed_preparation_resumes(steps: list[int], tmp_path: Path) -> None:
    command = [*stand_ins.gopro(tmp_path, 4), '--crop-size', '16', '--step', '12', '--workers', '2']
    killed_with = command + (['--lmdb'] if len(steps) == 3 else [])
    for step in steps:
        assert killed(step, *killed_with)
        check_whole(tmp_path / 'out', 24)
    assert prepare_dataset.main(killed_with) == 0
    check_whole(tmp_path / 'out', 24)
    assert not (tmp_path / 'out/GoPro/.unfinished').exists()
    assert prepare_dataset.main([*command, '--output', str(tmp_path / 'once')]) == 0
    images = [stand_ins.tree(tmp_path / name / 'GoPro') for name in ('out', 'once')]
    assert {path: data for path, data in images[0].items() if '.lmdb' not in path} == images[1]


def test_a_killed_synthesis_resumes(tmp_path: Path) -> None:
    for number in range(4):
        stand_ins.write(tmp_path / 'photos' / f'{number}.png')
    command = ['--synthetic', 'rain', '--source', str(tmp_path / 'photos'), '--workers', '2', '--output']
    for after in (1, 3, 4):
        assert killed(after, *command, str(tmp_path / 'killed'))
        check_whole(tmp_path / 'killed')
    assert prepare_dataset.main([*command, str(tmp_path / 'killed')]) == 0
    assert prepare_dataset.main([*command, str(tmp_path / 'once')]) == 0
    assert stand_ins.tree(tmp_path / 'killed') == stand_ins.tree(tmp_path / 'once')

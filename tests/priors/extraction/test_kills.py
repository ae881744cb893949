"""The stress tools of tests/stress, at a size for every day."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / 'stress' / 'kill_extraction.py'


@pytest.mark.slow
@pytest.mark.parametrize('ranks', [['2'], ['1', '3', '2']])
def test_kills_lose_nothing_and_double_nothing(ranks: list[str], tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(TOOL),
        '--kills',
        '9',
        '--images',
        '40',
        '--folder',
        str(tmp_path),
        '--ranks',
        *ranks,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    log = tmp_path / 'output.txt'
    assert done.returncode == 0, done.stdout + done.stderr + (log.read_text() if log.exists() else '')
    assert f'9 kills of {", ".join(ranks)} ranks over 40 images' in done.stdout
    assert 'Traceback' not in log.read_text()

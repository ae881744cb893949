"""Atomic writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from sapd_plugin.files import digest, write_atomically


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / 'results.json'
    write_atomically(path, 'first')
    (tmp_path / '.results.json.draft').mkdir()
    with pytest.raises(OSError, match='draft'):
        write_atomically(path, 'second')
    assert path.read_text() == 'first'
    assert digest(path, 'md5') == '8b04d5e3775d298e78455efc5ca404d5'

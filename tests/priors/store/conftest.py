from __future__ import annotations

from pathlib import Path

import pytest

from tests.priors.store.stores import KEYS, fill


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return fill(tmp_path / 'store', KEYS)

"""What the tests on a GPU share. ``python -m pytest -m gpu`` runs them alone; without a GPU they are skipped."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training import Batch, patches


@pytest.fixture(scope='session')
def device() -> torch.device:
    """The GPU, or a skip where torch can use none."""
    if not torch.cuda.is_available():
        pytest.skip('needs a GPU that torch can use')
    return torch.device('cuda')


@pytest.fixture(scope='session')
def batch() -> Batch:
    """Two patches of 64x64 on the CPU."""
    return patches(2, 64)

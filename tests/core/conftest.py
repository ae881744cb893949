from __future__ import annotations

import pytest
import torch

from tests.photos import photographs


@pytest.fixture
def photo() -> torch.Tensor:
    """A photo as RGB (1,3,H,W) in [0, 1]."""
    return torch.from_numpy(photographs()['001']).permute(2, 0, 1)[None].float() / 255

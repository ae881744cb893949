from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch


@pytest.fixture
def photo(shared_data: Path) -> torch.Tensor:
    """A real photo as RGB (1,3,H,W) in [0, 1]."""
    image = cv2.imread(str(sorted((shared_data / 'cbsd68').glob('*.png'))[0]))
    return torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255

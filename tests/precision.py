"""The half precisions of autocast that a torch knows on the CPU: float16 came after torch 2.1."""

from __future__ import annotations

import pytest
import torch


def _float16_on_cpu() -> bool:
    try:
        with torch.autocast('cpu', dtype=torch.float16):
            return torch.mm(torch.ones(1, 1), torch.ones(1, 1)).dtype == torch.float16
    except RuntimeError:
        return False


needs_float16 = pytest.mark.skipif(not _float16_on_cpu(), reason="this torch's autocast has no float16 on the CPU")
HALF = [pytest.param(torch.float16, marks=needs_float16), torch.bfloat16]

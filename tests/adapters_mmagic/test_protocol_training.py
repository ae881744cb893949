"""Published training protocols by config alone: networks of several outputs and their losses."""

from __future__ import annotations

import pytest
import torch
from mmagic.models.losses import PSNRLoss
from mmagic.registry import MODELS

from sapd_plugin import losses
from sapd_plugin.errors import SAPDError
from tests.adapters_mmagic import recipes  # noqa: F401


@pytest.mark.parametrize('name', losses.LOSSES)
def test_losses_are_registered_where_the_name_is_free(name):
    assert MODELS.get(name) is (PSNRLoss if name == 'PSNRLoss' else losses.LOSSES[name])


def test_our_psnr_loss_is_mmagic_s():
    a, b = torch.rand(2, 2, 3, 16, 16)
    assert losses.PSNRLoss(0.5)(a, b).item() == pytest.approx(PSNRLoss(0.5)(a, b).item(), rel=1e-6)


def test_nested_criteria_are_checked():
    block = {'type': 'MultiOutputLoss', 'criteria': [{'type': 'EdgeLoss', 'weight': 1}]}
    with pytest.raises(SAPDError, match=r"MultiOutputLoss.criteria\[0\]: unknown key 'weight'"):
        MODELS.build(block)

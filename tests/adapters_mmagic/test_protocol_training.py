"""Published training protocols by config alone: networks of several outputs and their losses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmagic.models.losses import PSNRLoss
from mmagic.registry import MODELS

from sapd_plugin import losses
from sapd_plugin.errors import SAPDError
from tests.adapters_mmagic.recipes import sapd_config, stock_config
from tests.adapters_mmagic.test_model import ZERO, trained
from tests.networks import ScalesNet, assert_equal_states

MODELS.register_module(module=ScalesNet)

MIMO_LOSS = {
    'type': 'MultiOutputLoss',
    'criteria': [{'type': 'L1Loss'}, {'type': 'FrequencyLoss', 'loss_weight': 0.1}],
}
SCALES = {
    'model:generator': {'type': 'ScalesNet'},
    'model:pixel_loss': MIMO_LOSS,
    'optim_wrapper:clip_grad': {'max_norm': 0.01},
}


@pytest.mark.parametrize('name', losses.LOSSES)
def test_losses_are_registered_where_the_name_is_free(name):
    assert MODELS.get(name) is (PSNRLoss if name == 'PSNRLoss' else losses.LOSSES[name])


def test_our_psnr_loss_is_mmagic_s():
    a, b = torch.rand(2, 2, 3, 16, 16)
    assert losses.PSNRLoss(0.5)(a, b).item() == pytest.approx(PSNRLoss(0.5)(a, b).item(), rel=1e-6)


def test_nested_criteria_are_checked():
    with pytest.raises(
        SAPDError, match=r"MultiOutputLoss.criteria\[0\].type: found 'EdgeLos'.*Did you mean 'EdgeLoss'"
    ):
        MODELS.build({'type': 'MultiOutputLoss', 'criteria': {'type': 'EdgeLos'}})
    with pytest.raises(SAPDError, match=r"MultiOutputLoss.criteria\[0\]: unknown key 'weight'"):
        MODELS.build({'type': 'MultiOutputLoss', 'criteria': [{'type': 'EdgeLoss', 'weight': 1}]})


def test_a_multi_output_student_trains_stock_and_with_sapd(pairs, store, tmp_path):
    stock = trained(stock_config(pairs, custom_imports={'imports': ['sapd_plugin.mmagic']}, **SCALES), tmp_path / 'a')
    zero = trained(sapd_config(pairs, store, **SCALES, **ZERO), tmp_path / 'b')
    sapd = trained(sapd_config(pairs, store, **SCALES), tmp_path / 'c')
    assert_equal_states(stock.model.generator, zero.model.generator)
    assert sapd.model.spf.output_index == -1
    assert sapd.model.in_training.latest[1].restored.shape == (1, 3, 48, 48)
    assert not torch.equal(sapd.model.generator.fine.weight, zero.model.generator.fine.weight)
    # Validation, too, got one image from each of them.
    psnrs = [runner.message_hub.get_scalar('val/PSNR').current() for runner in (stock, zero, sapd)]
    assert psnrs[0] == psnrs[1]
    assert np.isfinite(psnrs).all()

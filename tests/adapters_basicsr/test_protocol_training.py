"""Published training protocols by config alone: networks of several outputs, their losses, optimizers, clipping."""

from __future__ import annotations

import pytest
import torch
from basicsr.losses import build_loss

from sapd_plugin import losses
from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import sapd_options, stock_options
from tests.adapters_basicsr.test_model import PROTOCOL, SCALES, session
from tests.networks import assert_equal_states


@pytest.mark.parametrize('name', losses.LOSSES)
def test_losses_are_registered(name):
    block = {'type': name, 'loss_weight': 0.5}
    a, b = torch.rand(2, 1, 3, 16, 16)
    assert torch.equal(build_loss(block)(a, b), losses.LOSSES[name](0.5)(a, b))


def test_nested_criteria_are_checked():
    with pytest.raises(SAPDError, match=r"criteria\[1\].type: found 'EdgeLos'.*Did you mean 'EdgeLoss'"):
        build_loss({'type': 'MultiOutputLoss', 'criteria': [{'type': 'L1Loss'}, {'type': 'EdgeLos'}]})
    with pytest.raises(SAPDError, match=r"MultiOutputLoss.criteria\[0\]: unknown key 'weight'"):
        build_loss({'type': 'MultiOutputLoss', 'criteria': {'type': 'EdgeLoss', 'weight': 1}})
    with pytest.raises(SAPDError, match=r"MultiOutputLoss.criteria: found 'L1Loss', expected one loss block"):
        build_loss({'type': 'MultiOutputLoss', 'criteria': 'L1Loss'})


def test_the_image_to_distil_is_the_class_s_own_choice(pairs, store, tmp_path):
    model = session(sapd_options(pairs, store, **PROTOCOL), tmp_path, 2)
    assert model.latest[1].restored.shape == model.gt[:1].shape
    assert model.net_spf.output_index == -1
    # SPD does not act on the coarse image: its head moves in the first step as it does without SPD.
    one, other = (
        session(sapd_options(pairs, store, **SCALES, **{'train:spd_opt:loss_weight': weight}), tmp_path, 1).net_g
        for weight in (0.5, 0)
    )
    assert_equal_states(one.coarse, other.coarse)
    assert not torch.equal(one.fine.weight, other.fine.weight)


def test_the_switch_overrules_the_class(pairs, store, tmp_path):
    for index, message in (
        (0, 'an image of 32x32 where the ground truth has 64x64'),
        (2, 'but network_g returns 2 im'),
    ):
        options = sapd_options(pairs, store, **PROTOCOL, **{'train:sapd_opt:output_index': index})
        options['network_spf']['output_index'] = -1
        with pytest.raises(SAPDError, match=f'output_index: found {index}, {message}'):
            session(options, tmp_path, 0)


def gradient(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def test_each_network_s_gradient_is_clipped_by_its_own_norm(pairs, store, tmp_path):
    sgd = {'type': 'SGD', 'lr': 1.0}
    free = session(sapd_options(pairs, store, **SCALES, **{'train:optim_g': sgd}), tmp_path, 1)
    clip = {'train:optim_g': {**sgd, 'clip_grad_norm': 0.01}}
    clipped = session(sapd_options(pairs, store, **SCALES, **clip), tmp_path, 1)
    for name in ('net_g', 'net_spf'):
        before, after = gradient(getattr(free, name)), gradient(getattr(clipped, name))
        assert before.norm() > 0.1
        assert after.norm().item() == pytest.approx(0.01, rel=1e-3)
        assert torch.allclose(after / after.norm(), before / before.norm(), atol=1e-5)
    loose = {**clip, 'train:optim_spf': {**sgd, 'clip_grad_norm': 1e6}}
    apart = session(sapd_options(pairs, store, **SCALES, **loose), tmp_path, 1)
    assert torch.equal(gradient(apart.net_g), gradient(clipped.net_g))
    assert torch.equal(gradient(apart.net_spf), gradient(free.net_spf))


def test_an_optimizer_block_names_torch_s_own(pairs, tmp_path):
    optimizer = session(stock_options(pairs, **PROTOCOL), tmp_path, 0).optimizer_g
    assert type(optimizer) is torch.optim.AdamW
    settings = optimizer.defaults
    assert (settings['lr'], [*settings['betas']], settings['weight_decay']) == (1e-3, [0.9, 0.9], 0.5)


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'type': 'AdmW', 'lr': 1e-3}, r"train.optim_\*.type: found 'AdmW', expected one of .*Did you mean 'AdamW'"),
        ({'type': 'LBFGS', 'lr': 1e-3}, r"train.optim_\*.type: found 'LBFGS'"),
        ({'type': 'Adam', 'lr': 1e-3, 'weigth_decay': 1}, r"unknown key 'weigth_decay'.*Did you mean 'weight_decay'"),
        ({'type': 'Adam'}, r'train.optim_\*.lr: missing'),
        (
            {'type': 'Adam', 'lr': 1e-3, 'clip_grad_norm': '1e-2'},
            r"clip_grad_norm: found '1e-2', expected a number > 0",
        ),
        ({'type': 'Adam', 'lr': 1e-3, 'clip_grad_norm': 0}, r'clip_grad_norm: found 0, expected a number > 0'),
    ],
)
def test_mistakes_in_an_optimizer_block_are_named(pairs, tmp_path, block, message):
    with pytest.raises(SAPDError, match=message):
        session(stock_options(pairs, **{'train:optim_g': block}), tmp_path, 0)

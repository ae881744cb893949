from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sapd_plugin.core import SPF, DistillationHook, Distiller, SGRLoss, SPDLoss, StepSettings, Supervision
from sapd_plugin.errors import SAPDError
from tests.networks import ScalesNet

EVERY = StepSettings(every=1)


def batch(n: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    gt = torch.rand(n, 3, 24, 20, generator=g)
    mask = torch.zeros(n, 1, 24, 20, dtype=torch.int32)
    mask[:, :, :12] = 2
    mask[:, :, 12:, 8:] = 1
    return gt + 0.1 * torch.randn(gt.shape, generator=g), gt, mask


def build(vgg_weights, detach: bool = True):
    torch.manual_seed(1)
    student = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3, 3, padding=1))
    spf = SPF(copy.deepcopy(student), fusion='image', mask_dropout=0, detach=detach)
    nn.init.normal_(spf.fuse[2].weight, std=0.01)
    distiller = Distiller(
        spf, F.l1_loss, SPDLoss(0.5, gate='none'), SGRLoss(0.3, weights=vgg_weights, every=1), settings=EVERY
    )
    return student, spf, distiller


@pytest.mark.parametrize('detach', [True, False])
def test_gradients_equal_the_explicit_sum(vgg_weights, detach):
    x, gt, mask = batch()
    student, spf, distiller = build(vgg_weights, detach)
    y = student(x)
    losses = distiller(y, Supervision(gt, mask), 1).losses
    (F.mse_loss(y, gt) + sum(losses.values())).backward()
    parameters = [*student.parameters(), *spf.parameters()]
    explicit = [p.grad.clone() for p in parameters]
    for p in parameters:
        p.grad = None

    with DistillationHook(student, distiller, 'network_g').attach(Supervision(gt, mask), 1) as recorder:
        F.mse_loss(student(x), gt).backward()
    for p, expected in zip(parameters, explicit):
        assert torch.allclose(p.grad, expected, atol=1e-7)
    record = recorder.value
    assert set(record.losses) == {'l_spf', 'l_spd', 'l_sgr'}
    assert record.refined.shape == gt.shape
    assert not any(image.requires_grad for image in (record.restored, record.refined))
    assert not any(loss.requires_grad for loss in record.losses.values())


def test_neither_network_leaks_into_the_other(vgg_weights):
    x, gt, mask = batch()
    student, spf, distiller = build(vgg_weights)
    y = student(x).detach().requires_grad_()
    losses = distiller(y, Supervision(gt, mask), 1).losses
    spf_parameters = list(spf.parameters())
    assert torch.autograd.grad(losses['l_spf'], y, allow_unused=True, retain_graph=True) == (None,)
    for name in ('l_spd', 'l_sgr'):
        gradients = torch.autograd.grad(losses[name], spf_parameters, allow_unused=True, retain_graph=True)
        assert all(gradient is None for gradient in gradients)
        assert torch.autograd.grad(losses[name], y, retain_graph=True)[0].abs().sum() > 0


def test_the_hook_acts_only_when_attached_and_with_gradients(vgg_weights):
    x, gt, mask = batch()
    student, spf, distiller = build(vgg_weights)
    hook = DistillationHook(student, distiller, 'network_g')
    student(x).sum().backward()
    assert all(p.grad is None for p in spf.parameters())
    with hook.attach(Supervision(gt, mask), 1):
        with torch.no_grad():
            student(x)
        assert all(p.grad is None for p in spf.parameters())
        student(x).sum().backward()
    assert all(p.grad is not None for p in spf.parameters())
    assert not student._forward_hooks


def test_wiring_mistakes_are_named(vgg_weights):
    x, gt, mask = batch()
    student, _, distiller = build(vgg_weights)
    hook = DistillationHook(student, distiller, 'network_g')
    with pytest.raises(SAPDError, match='never called network_g'), hook.attach(Supervision(gt, mask), 1):
        pass
    with pytest.raises(SAPDError, match='called network_g twice'), hook.attach(Supervision(gt, mask), 1):
        student(x)
        student(x)
    with pytest.raises(SAPDError, match='do not belong together'), hook.attach(Supervision(gt[..., 2:], mask), 1):
        student(x)

    several = ScalesNet()
    several.output_index = None
    hook = DistillationHook(several, distiller, 'network_g')
    with pytest.raises(SAPDError, match='output_index'), hook.attach(Supervision(gt, mask), 1):
        several(x)
    with DistillationHook(several, distiller, 'network_g', output_index=-1).attach(
        Supervision(gt, mask), 1
    ) as recorder:
        outputs = several(x)
    assert torch.equal(recorder.value.restored, outputs[-1])


def test_a_loss_without_weight_or_outside_its_schedule_is_zero_and_not_computed(vgg_weights, monkeypatch):
    x, gt, mask = batch()
    student, spf, _ = build(vgg_weights)
    distiller = Distiller(spf, F.l1_loss, SPDLoss(start=5), SGRLoss(0.0, weights=vgg_weights))
    monkeypatch.setattr(distiller.sgr, 'forward', lambda *a: pytest.fail('SGR ran without weight'))
    monkeypatch.setattr(distiller.spd, 'forward', lambda *a: torch.ones(()))
    losses = distiller(x, Supervision(gt, mask), 4).losses
    assert losses['l_spd'] == losses['l_sgr'] == 0
    assert distiller(x, Supervision(gt, mask), 5).losses['l_spd'] == 1

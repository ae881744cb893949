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


@pytest.mark.parametrize('chunks', [2, 3, 8])
def test_chunks_give_the_gradients_of_the_whole_batch(vgg_weights, chunks):
    x, gt, mask = batch(5)
    student, spf, whole = build(vgg_weights)
    parts = Distiller(spf, F.l1_loss, whole.spd, whole.sgr, settings=StepSettings(every=1, chunks=chunks))
    sizes = []
    spf.register_forward_pre_hook(lambda module, args: sizes.append(len(args[0])))
    results = []
    for distiller in (whole, parts):
        student.zero_grad()
        spf.zero_grad()
        with DistillationHook(student, distiller, 'network_g').attach(Supervision(gt, mask), 1) as recorder:
            F.mse_loss(student(x), gt).backward()
        gradients = [p.grad.clone() for p in (*student.parameters(), *spf.parameters())]
        results.append((gradients, recorder.value))
    assert sizes == {2: [5, 3, 2], 3: [5, 2, 2, 1], 8: [5, 1, 1, 1, 1, 1]}[chunks]
    (expected, one), (found, other) = results
    for a, b in zip(expected, found):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(one.refined, other.refined)
    for name, loss in one.losses.items():
        torch.testing.assert_close(loss, other.losses[name], rtol=1e-4, atol=1e-8)
    for name, share in one.shares.items():
        torch.testing.assert_close(share, other.shares[name], rtol=1e-4, atol=1e-8)


def test_parts_draw_different_numbers_and_steps_the_same_again():
    drawn = []

    def spf(restored, mask):
        drawn.append(torch.rand(()).item())
        return restored.detach()

    student = nn.Conv2d(3, 3, 1)
    distiller = Distiller(spf, F.l1_loss, SPDLoss(), settings=StepSettings(every=1, chunks=2))
    hook, (x, gt, mask) = DistillationHook(student, distiller, 'network_g'), batch()
    for iteration in (1, 2, 1):
        with hook.attach(Supervision(gt, mask), iteration):
            F.l1_loss(student(x), gt).backward()
    assert len(set(drawn)) == 4
    assert drawn[:2] == drawn[4:]


def test_the_branch_gets_what_it_names():
    seen = {}

    def spf(restored, mask, context=None, degraded=None):
        seen.update(context=context, degraded=degraded)
        return restored

    x, gt, mask = batch()
    context = torch.rand(2, 5, 6)
    Distiller(spf, F.l1_loss, SPDLoss())(gt, Supervision(gt, mask, x, context), 2)
    assert seen['degraded'] is x
    assert seen['context'] is context
    part = Supervision(gt, mask, x, None, 'bgr').part(slice(1, 2))
    assert part.context is None
    assert part.order == 'bgr'
    assert torch.equal(part.degraded, x[1:])


def test_a_base_loss_that_goes_around_the_image_is_named(vgg_weights):
    x, gt, mask = batch()
    _, _, distiller = build(vgg_weights)
    student = ScalesNet()
    hook = DistillationHook(student, distiller, 'network_g', output_index=-1)
    around = pytest.raises(SAPDError, match='network_g: was trained by a loss that does not use the image')
    with around, hook.attach(Supervision(gt, mask), 1):
        student(x)[0].mean().backward()
    with hook.attach(Supervision(gt, mask), 1) as recorder:
        student(x)  # as a GAN before its generator is trained
    assert recorder.value.shares['share_spd'] == 0


def test_the_mixed_target_is_there_while_the_students_losses_are_computed(vgg_weights):
    x, gt, mask = batch()
    student, spf, _ = build(vgg_weights)
    distiller = Distiller(spf, F.l1_loss, SPDLoss(target='mix', mix=0.25, gate='pixel'), settings=EVERY)
    targets = []
    with DistillationHook(student, distiller, 'network_g').attach(Supervision(gt, mask), 1, targets.append) as recorder:
        y = student(x)
        z = recorder.value.refined
        closer = (z - gt).abs().sum(1, keepdim=True) < (y - gt).abs().sum(1, keepdim=True)
        assert 0 < closer.float().mean() < 1
        torch.testing.assert_close(targets[-1], torch.where(closer, 0.25 * z + 0.75 * gt, gt))
        F.l1_loss(y, targets[-1]).backward()
        assert targets[-1] is gt  # as a discriminator sees it
    assert recorder.value.losses['l_spd'] == 0
    assert recorder.value.gt is gt
    targets.clear()
    with (
        pytest.raises(KeyError),
        DistillationHook(student, distiller, 'g').attach(Supervision(gt, mask), 1, targets.append),
    ):
        student(x)
        raise KeyError
    assert targets[-1] is gt


def test_the_branch_refines_what_the_student_restored_in_half_precision(vgg_weights):
    x, gt, mask = batch()
    student, spf, distiller = build(vgg_weights)
    seen = {}
    spf.network[0].register_forward_hook(lambda module, args, output: seen.update(h=output.dtype))
    distiller.sgr.analyser.register_forward_hook(lambda module, args, output: seen.update(vgg=output['relu3_1'].dtype))
    hook = DistillationHook(student, distiller, 'network_g')
    with torch.autocast('cpu', dtype=torch.bfloat16), hook.attach(Supervision(gt, mask), 1) as recorder:
        y = student(x)
        loss = F.l1_loss(y.float(), gt)
    loss.backward()
    assert y.dtype == seen['h'] == torch.bfloat16
    assert seen['vgg'] == recorder.value.restored.dtype == recorder.value.refined.dtype == torch.float32
    assert all(value.dtype == torch.float32 for value in recorder.value.losses.values())
    assert all(p.grad.isfinite().all() for p in (*student.parameters(), *spf.parameters()))

"""Hints between twins: the affinities of one layer, found and captured in any network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sapd_plugin.archs.dncnn import DnCNN
from sapd_plugin.archs.nafnet import NAFNet
from sapd_plugin.archs.prenet import PReNet
from sapd_plugin.core import SPF, DistillationHook, Distiller, SPDLoss, StepSettings, Supervision
from sapd_plugin.core.hints import affinity_loss, build_hint, captured_features, find_layer
from sapd_plugin.errors import SAPDError
from tests.precision import HALF


def nafnet() -> NAFNet:
    return NAFNet(width=8, middle_blk_num=2, enc_blk_nums=[1, 2], dec_blk_nums=[1, 1])


class Wrapped(nn.Module):
    """As distributed training wraps a network."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *args):
        return self.module(*args)


def test_the_loss_is_the_mean_difference_of_cosines():
    def two_cells(cosine):
        second = torch.tensor([cosine, (1 - cosine**2) ** 0.5])
        return torch.stack([torch.tensor([3.0, 0.0]), 5 * second], dim=1).view(1, 2, 1, 2)

    loss = affinity_loss(two_cells(0.8).requires_grad_(), two_cells(0.5))
    assert loss.item() == pytest.approx(2 * 0.3 / 4)  # the cells with themselves: 0
    assert affinity_loss(two_cells(0.8), 7 * two_cells(0.8)).item() == pytest.approx(0, abs=1e-6)


def test_large_maps_are_reduced_to_16_by_16_cells():
    features, target = torch.randn(2, 5, 64, 48), torch.randn(2, 5, 64, 48)
    small = [nn.functional.avg_pool2d(each, (4, 3)) for each in (features, target)]
    assert small[0].shape[2:] == (16, 16)
    assert torch.equal(affinity_loss(features, target), affinity_loss(*small))
    assert affinity_loss(torch.randn(1, 3, 33, 7), torch.randn(1, 3, 33, 7)) > 0


def test_tokens_are_the_cells_of_a_square_image():
    features, target = torch.randn(2, 5, 24, 24), torch.randn(2, 7, 24, 24)  # of different widths
    tokens = [each.flatten(2).transpose(1, 2) for each in (features, target)]
    torch.testing.assert_close(affinity_loss(*tokens), affinity_loss(features, target))


def test_tokens_are_the_cells_of_an_image_of_other_proportions():
    features, target = torch.randn(2, 5, 16, 32), torch.randn(2, 7, 16, 32)
    tokens = [each.flatten(2).transpose(1, 2) for each in (features, target)]
    expected = affinity_loss(features, target)
    torch.testing.assert_close(affinity_loss(*tokens, size=(64, 128)), expected)
    # 8 x 32 = 16 x 16, so that the number of tokens does not tell.
    assert affinity_loss(*(each[:, :256] for each in tokens), size=(32, 128)) != affinity_loss(
        *(each[:, :256] for each in tokens)
    )
    with pytest.raises(SAPDError, match=r'feature_layer: returns 512 tokens, .* proportions 1x1 of the image'):
        affinity_loss(*tokens)


def test_gradient_reaches_the_student_alone():
    torch.manual_seed(0)
    features, target = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda each: affinity_loss(each, target), (features,))
    affinity_loss(features, target).backward()
    assert features.grad.abs().sum() > 0
    assert target.grad is None


def test_mean_of_half_batches_is_the_whole():
    features, target = torch.randn(4, 3, 8, 8), torch.randn(4, 3, 8, 8)
    halves = [affinity_loss(features[part], target[part]) for part in (slice(2), slice(2, 4))]
    assert affinity_loss(features, target).item() == pytest.approx(sum(halves).item() / 2)


@pytest.mark.parametrize('dtype', HALF)
def test_half_precision_is_compared_in_float32(dtype):
    features, target = torch.randn(2, 3, 8, 8).to(dtype), torch.randn(2, 3, 8, 8).to(dtype)
    features.requires_grad_()
    with torch.autocast('cpu', dtype=dtype):
        loss = affinity_loss(features, target)
    assert torch.equal(loss, affinity_loss(features.float(), target.float()))
    loss.backward()
    assert features.grad.dtype == dtype


def test_outputs_that_cannot_be_compared_are_refused():
    with pytest.raises(SAPDError, match=r'features of \(1, 3, 8, 8\) in the student and \(1, 3, 8, 9\)'):
        affinity_loss(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 9))
    with pytest.raises(SAPDError, match='feature_layer: found list as its output'):
        affinity_loss(torch.rand(1, 3, 8, 8), [torch.rand(1, 3, 8, 8)])
    with pytest.raises(SAPDError, match=r'feature_layer: found \(1, 3\) as its output'):
        affinity_loss(torch.rand(1, 3), torch.rand(1, 3))


def test_the_layer_is_the_last_of_the_trunk_at_the_smallest_size():
    student = nafnet()
    spf = SPF(copy.deepcopy(student))
    layer = find_layer(student, spf)
    assert layer.startswith('middle_blks.')
    assert find_layer(Wrapped(student), Wrapped(spf)) == layer
    assert find_layer(student, spf, 'encoders.1.0') == 'encoders.1.0'


def test_layers_that_the_twins_do_not_share_are_refused():
    student, spf = nafnet(), SPF(nafnet())
    with pytest.raises(SAPDError, match=r"feature_layer: the student has no layer 'middle_blk.1'.*'middle_blks.1'"):
        find_layer(student, spf, 'middle_blk.1')
    with pytest.raises(SAPDError, match=r"feature_layer: the second network has no layer 'model.2'"):
        find_layer(DnCNN(3, 3, 8, 4), spf, 'model.2')
    with pytest.raises(SAPDError, match='feature_weight: .* no layer of the same name'):
        find_layer(DnCNN(3, 3, 8, 4), spf)
    with pytest.raises(SAPDError, match="feature_weight: needs SPF's second network, found the branch Sequential"):
        find_layer(student, nn.Sequential())


class Enlarging(nn.Module):
    """A student of any scale whose trunk works at the input's size, and whose last block at that of the output."""

    def __init__(self, scale: int = 1, deep: bool = False) -> None:
        super().__init__()
        block = [nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1)]
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.trunk = nn.Sequential(nn.Sequential(*block))
        self.enlarge = nn.Upsample(scale_factor=scale)
        self.late = nn.ModuleList([Residual() for _ in range(2)]) if deep else nn.ModuleList()
        self.last = nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = self.enlarge(self.trunk(self.first(image)))
        for block in self.late:
            features = block(features)
        return self.last(features)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features + self.b(self.a(features))


@pytest.mark.parametrize('scale', [2, 3, 4])
@pytest.mark.parametrize('known', [True, False])
def test_layers_of_other_sizes_are_refused_before_training(scale, known):
    student, spf = Enlarging(scale), SPF(Enlarging())
    given = scale if known else None
    with pytest.raises(SAPDError, match=r'feature_weight: no layer of the same name has features of the same size'):
        build_hint(SPDLoss(feature_weight=0.5), student, spf, scale=given)
    with pytest.raises(SAPDError, match=r"feature_layer: 'first' returns \(2, 8, .* expected .* the same size"):
        build_hint(SPDLoss(feature_weight=0.5, feature_layer='first'), student, spf, scale=given)
    with pytest.raises(SAPDError, match=r"feature_layer: 'trunk.0.3' was not run, or returned no tensor"):
        for network in (student, spf.network):
            network.trunk[0].append(nn.Identity())
            network.trunk[0].forward = lambda features: features
        find_layer(student, spf, 'trunk.0.3', scale=given)


@pytest.mark.parametrize('scale', [1, 2, None])
def test_the_layer_is_one_of_the_same_size_in_both_networks(scale):
    student, spf = Enlarging(scale or 2, deep=True), SPF(Enlarging(deep=True))
    layer = find_layer(student, spf, scale=scale)
    assert layer.startswith('late.')
    x, y = torch.rand(2, 3, 24, 24), torch.rand(2, 3, 24 * (scale or 2), 24 * (scale or 2))
    with captured_features(student, layer) as own, captured_features(spf.network, layer) as other:
        student(x)
        spf(y, torch.ones(2, 1, *y.shape[2:], dtype=torch.int32))
    assert affinity_loss(own[-1], other[-1]) > 0


def test_a_student_that_takes_no_image_alone_gets_no_hints():
    student = nafnet()
    student.forward = lambda image, level: image
    with pytest.raises(SAPDError, match=r'feature_weight: the student does not take an image of \(2, 3, 64, 64\)'):
        find_layer(student, SPF(nafnet()))


def test_captured_features_are_those_of_the_call_with_their_graph():
    student = nafnet()
    expected = student.encoders[0][0](student.intro(torch.ones(1, 3, 16, 16)))
    with captured_features(Wrapped(student), 'encoders.0.0') as captured:
        student(torch.ones(1, 3, 16, 16))
    assert torch.equal(captured[0], expected)
    assert captured[0].requires_grad
    student(torch.ones(1, 3, 16, 16))
    assert len(captured) == 1  # the hooks are gone
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())


def test_captured_features_hold_what_later_hooks_change():
    student = nafnet()
    with captured_features(student, 'middle_blks.0') as captured:
        handle = student.middle_blks[0].register_forward_hook(lambda module, args, output: output + 1)
        output = student(torch.ones(1, 3, 16, 16))
        handle.remove()
    with captured_features(student, 'middle_blks.0') as plain:
        student(torch.ones(1, 3, 16, 16))
    torch.testing.assert_close(captured[0], plain[0] + 1)
    assert output.shape == (1, 3, 16, 16)


def test_each_call_of_a_recurrent_layer_is_captured_and_an_error_leaves_no_hook():
    student = PReNet(recurrent_iter=3, width=8)
    layer = find_layer(student, SPF(copy.deepcopy(student)))
    with captured_features(student, layer) as captured:
        student(torch.rand(1, 3, 16, 16))
    assert len(captured) == 3
    with pytest.raises(RuntimeError), captured_features(student, layer):
        student(torch.rand(1, 5, 16, 16))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())


def test_the_hint_has_the_weight_balance_and_schedule_of_spd():
    torch.manual_seed(0)
    student = nafnet()
    spf = SPF(copy.deepcopy(student))
    assert build_hint(None, student, spf) is None
    assert build_hint(SPDLoss(), student, spf) is None
    spd = SPDLoss(0.0, target='mix', feature_weight=0.5, balance='gradient', start=3, ramp=2)
    hint = build_hint(spd, student, spf)
    assert hint.balance == 'gradient'
    assert [hint.factor(i) for i in (2, 3, 4)] == [0, 0.5, 1]
    x, y = torch.rand(2, 2, 3, 32, 32)
    with captured_features(student, hint.layer) as own, captured_features(spf.network, hint.layer) as other:
        student(x)
        spf(y, torch.ones(2, 1, 32, 32, dtype=torch.int32))
    loss = hint(own[-1], other[-1])
    assert loss.item() == pytest.approx(0.5 * affinity_loss(own[-1], other[-1]).item())
    loss.backward()
    assert student.intro.weight.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in spf.parameters())


def training(chunks: int = 1, **spd):
    """A student, its distiller, and a batch."""
    torch.manual_seed(0)
    student = nafnet()
    spf = SPF(copy.deepcopy(student))
    loss = SPDLoss(**{'loss_weight': 0.1, 'gate': 'none', 'feature_weight': 0.5, **spd})
    settings = StepSettings(every=1, chunks=chunks)
    distiller = Distiller(spf, F.l1_loss, loss, settings=settings, hint=build_hint(loss, student, spf))
    x, gt = torch.rand(2, 3, 3, 32, 32)
    mask = torch.randint(0, 4, (3, 1, 32, 32), dtype=torch.int32)
    return student, distiller, x, Supervision(gt, mask)


def graft(student, distiller, x, supervision, scale: float = 1.0, iteration: int = 1):
    """Run a step; return its record and the student's gradients."""
    student.zero_grad()
    with DistillationHook(student, distiller, 'network_g').attach(supervision, iteration) as recorder:
        (scale * F.l1_loss(student(x), supervision.gt)).backward()
    return recorder.value, [parameter.grad.clone() for parameter in student.parameters()]


@pytest.mark.parametrize('chunks', [1, 2, 3])
def test_the_gradient_of_a_step_is_that_of_the_sum_of_all_losses(chunks):
    student, distiller, x, supervision = training(chunks)
    record, found = graft(student, distiller, x, supervision)
    student.zero_grad()
    with distiller.watch(1, student) as features:
        y = student(x)
    losses = distiller(y, supervision, 1, features[-1]).losses
    assert losses['l_hint'] > 0
    (F.l1_loss(y, supervision.gt) + losses['l_spd'] + losses['l_hint']).backward()
    for gradient, parameter in zip(found, student.parameters()):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-7, rtol=1e-4)
    assert record.losses['l_hint'].item() == pytest.approx(losses['l_hint'].item(), rel=1e-5)


@pytest.mark.parametrize('scale', [1.0, 65536.0])
def test_the_share_of_a_balanced_hint_is_its_weight(scale):
    student, distiller, x, supervision = training(balance='gradient', loss_weight=0.0)
    arrived = []
    layer = student.get_submodule(distiller.hint.layer)
    handle = layer.register_full_backward_hook(lambda module, inputs, outputs: arrived.append(outputs[0].norm().item()))
    record, _ = graft(student, distiller, x, supervision, scale)
    student.zero_grad()
    (scale * F.l1_loss(student(x), supervision.gt)).backward()
    handle.remove()
    assert record.shares['share_hint'].item() == pytest.approx(0.5, rel=1e-4)
    assert 0.5 < arrived[0] / arrived[1] < 1.5  # the two gradients at the layer, in some direction


def test_a_hint_outside_of_its_schedule_is_zero_and_captures_nothing(monkeypatch):
    student, distiller, x, supervision = training(start=5)
    monkeypatch.setattr(distiller.hint, 'forward', lambda *features: pytest.fail('computed before its start'))
    record, gradients = graft(student, distiller, x, supervision)
    student.zero_grad()
    F.l1_loss(student(x), supervision.gt).backward()
    assert record.losses['l_hint'] == record.shares['share_hint'] == 0
    assert all(torch.equal(gradient, parameter.grad) for gradient, parameter in zip(gradients, student.parameters()))


def test_a_layer_that_the_step_does_not_run_is_named():
    student, distiller, x, supervision = training()
    distiller.hint.layer = 'idle'
    student.idle, distiller.spf.network.idle = nn.Identity(), nn.Identity()
    with pytest.raises(SAPDError, match=r"feature_layer: 'idle' was not run"):
        graft(student, distiller, x, supervision)

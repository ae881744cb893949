"""SPD, schedules, conversion to RGB, and the branch's random stream."""

from __future__ import annotations

import pytest
import torch

from sapd_plugin.core import BranchRNG, Schedule, SPDLoss, ToRGB, check_stage, spd_loss
from sapd_plugin.errors import SAPDError


@pytest.mark.parametrize('criterion', ['l1', 'charbonnier', 'l2'])
@pytest.mark.parametrize('gate', ['none', 'pixel'])
def test_spd_gradcheck_and_no_gradient_to_the_teacher(criterion, gate):
    torch.manual_seed(0)
    y, z, gt = (torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True) for _ in range(3))
    assert torch.autograd.gradcheck(lambda t: spd_loss(t, z, gt, criterion, gate), (y,))
    spd_loss(y, z, gt, criterion, gate).backward()
    assert z.grad is None
    assert gt.grad is None
    assert y.grad.shape == y.shape


def test_spd_pixel_gate_acts_only_where_the_teacher_is_better():
    gt = torch.zeros(1, 3, 1, 2)
    y = torch.tensor([1.0, 1.0]).expand(1, 3, 1, 2).clone().requires_grad_()
    z = torch.tensor([0.5, 2.0]).expand(1, 3, 1, 2)
    spd_loss(y, z, gt, gate='pixel').backward()
    assert y.grad[..., 0].ne(0).all()
    assert y.grad[..., 1].eq(0).all()


def test_spd_advantage_is_the_share_of_the_error_that_the_teacher_removed():
    gt = torch.zeros(3, 3, 4, 4)
    y = torch.full((3, 3, 4, 4), 1.0, requires_grad=True)
    z = torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1, 1).expand(3, 3, 4, 4)  # better, equal, worse
    loss = spd_loss(y, z, gt, gate='advantage')
    loss.backward()
    assert loss.item() == pytest.approx(0.75 * 0.5 / 3)
    assert y.grad[0].ne(0).all()
    assert y.grad[1:].eq(0).all()
    restored = gt.clone().requires_grad_()
    assert spd_loss(restored, gt + 0.1, gt, gate='advantage').item() == 0  # a perfect student has nothing to learn


@pytest.mark.parametrize('gate', ['none', 'pixel', 'advantage'])
def test_spd_mean_of_half_batches_is_the_whole(gate):
    torch.manual_seed(0)
    y, z, gt = (torch.randn(4, 3, 6, 6, dtype=torch.float64) for _ in range(3))
    loss = SPDLoss(0.3, gate=gate)
    assert loss(y, z, gt).item() == pytest.approx((loss(y[:2], z[:2], gt[:2]) + loss(y[2:], z[2:], gt[2:])).item() / 2)


def test_schedule():
    ramp = Schedule(start=5, ramp=2, stop=9)
    assert [ramp.factor(i) for i in range(4, 10)] == [0, 0.5, 1, 1, 1, 0]
    assert [Schedule(ramp=4).factor(i) for i in (1, 2, 4, 5)] == [0.25, 0.5, 1, 1]
    assert Schedule().factor(1) == 1
    with pytest.raises(SAPDError, match='stop: found 5'):
        Schedule(start=5, stop=5)
    with pytest.raises(SAPDError, match='ramp: found -1, expected an integer >= 0'):
        SPDLoss(ramp=-1)
    with pytest.raises(SAPDError, match=r"criterion: found 'l3', expected one of l1"):
        SPDLoss(criterion='l3')
    with pytest.raises(SAPDError, match=r"gate: found 'advantge', .*Did you mean 'advantage'"):
        SPDLoss(gate='advantge')


def test_two_stage_needs_a_trained_student():
    check_stage('joint', 'k', 'p', None)
    check_stage('two_stage', 'k', 'p', 'net.pth')
    with pytest.raises(SAPDError, match=r"train.sapd.stage: 'two_stage'.*path.pretrain_network_g is empty"):
        check_stage('two_stage', 'train.sapd.stage', 'path.pretrain_network_g', None)
    with pytest.raises(SAPDError, match=r"found 'twostage'.*Did you mean 'two_stage'"):
        check_stage('twostage', 'k', 'p', None)


def test_to_rgb_undoes_normalisation_and_order():
    rgb = torch.rand(2, 3, 4, 4)
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    normal = (rgb - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    assert torch.allclose(ToRGB(mean, std)(normal), rgb, atol=1e-6)
    assert torch.equal(ToRGB()(rgb.flip(1), 'bgr'), rgb)
    assert ToRGB()(rgb[:, :1]).shape == rgb.shape
    with pytest.raises(SAPDError, match="found 'gbr'"):
        ToRGB()(rgb, 'gbr')


def test_the_branch_does_not_change_the_framework_s_random_stream():
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    branch = BranchRNG(seed=1)
    draws = []
    for iteration in (1, 2):
        with branch.active(iteration):
            draws.append(torch.rand(3))
    assert torch.equal(torch.rand(3), expected)
    assert not torch.equal(*draws)
    with BranchRNG(seed=1).active(2):  # a resumed run
        assert torch.equal(torch.rand(3), draws[1])
    with BranchRNG(seed=2).active(2):  # another process
        assert not torch.equal(torch.rand(3), draws[1])

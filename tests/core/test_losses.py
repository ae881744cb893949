"""SPD, schedules, conversion to RGB, and the branch's random stream."""

from __future__ import annotations

import math

import pytest
import torch

from sapd_plugin.core import BranchRNG, Schedule, SPDLoss, ToRGB, build_typed_loss, check_stage, spd_loss
from sapd_plugin.core.spd import GATES, region_step
from sapd_plugin.errors import SAPDError, check_flag, check_integer, check_number


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


def test_spd_region_gate_is_the_least_squares_step_of_each_region():
    y = torch.zeros(1, 1, 1, 6, requires_grad=True)
    z = torch.tensor([[[[1.0, 1.0, 1.0, 1.0, 1.0, -1.0]]]])
    gt = torch.tensor([[[[1.0, 1.0, 1.0, -0.5, -1.0, 1.0]]]])
    mask = torch.tensor([[[[7, 7, 300, 300, 0, 0]]]])  # steps: 2/2, 0.5/2, max(0, -2/2)
    steps = torch.tensor([[[[1, 1, 0.25, 0.25, 0, 0]]]])
    assert torch.equal(region_step(y, z, gt, mask), steps)
    loss = spd_loss(y, z, gt, gate='region', mask=mask)
    loss.backward()
    assert loss.item() == pytest.approx(2.5 / 6)
    torch.testing.assert_close(y.grad, -(steps * z).abs().mul(z.sign()) / 6)
    assert spd_loss(y, y, gt, gate='region', mask=mask).item() == 0
    with pytest.raises(SAPDError, match="gate: 'region' needs the masks"):
        SPDLoss(gate='region')(y, z, gt)


def test_spd_region_gate_does_not_depend_on_the_labels():
    torch.manual_seed(0)
    y, z, gt = (torch.randn(2, 3, 12, 12) for _ in range(3))
    mask = torch.randint(0, 5, (2, 1, 12, 12))
    renamed = torch.tensor([0, 90, 4, 1000, 2])[mask]
    torch.testing.assert_close(region_step(y, z, gt, renamed), region_step(y, z, gt, mask))
    highest = torch.where(mask > 0, 251 + mask, 0).to(torch.uint8)
    torch.testing.assert_close(region_step(y, z, gt, highest), region_step(y, z, gt, mask))


@pytest.mark.parametrize('gate', ['none', 'pixel', 'advantage', 'region'])
def test_spd_mean_of_half_batches_is_the_whole(gate):
    torch.manual_seed(0)
    y, z, gt = (torch.randn(4, 3, 6, 6, dtype=torch.float64) for _ in range(3))
    mask = torch.randint(0, 4, (4, 1, 6, 6))
    loss = SPDLoss(0.3, gate=gate)
    halves = [loss(*(each[part] for each in (y, z, gt, mask))) for part in (slice(2), slice(2, 4))]
    assert loss(y, z, gt, mask).item() == pytest.approx(sum(halves).item() / 2)


@pytest.mark.parametrize('gate', ['none', 'pixel', 'advantage', 'region'])
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_spd_of_half_precision_is_computed_in_float32(gate, dtype):
    torch.manual_seed(0)
    y, z, gt = (torch.rand(2, 3, 64, 64).to(dtype) for _ in range(3))
    mask = torch.randint(0, 3, (2, 1, 64, 64))
    half = y.requires_grad_()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss = SPDLoss(1.0, gate=gate)(half, z, gt, mask)
    expected = SPDLoss(1.0, gate=gate)(y.float(), z.float(), gt.float(), mask)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, expected)
    (loss * 65536).backward()
    assert half.grad.dtype == dtype
    assert half.grad.isfinite().all()
    assert half.grad.abs().sum() > 0


def test_the_mixed_target_follows_the_schedule_and_replaces_the_loss():
    z, gt = torch.full((1, 3, 2, 2), 1.0, requires_grad=True), torch.zeros(1, 3, 2, 2)
    y = gt + 2
    loss = SPDLoss(target='mix', mix=0.8, start=3, stop=9, fall=4)
    shares = [loss.mixed_target(y, z, gt, iteration).mean().item() for iteration in (2, 3, 5, 6, 7, 8, 9)]
    assert shares == pytest.approx([0, 0.8, 0.8, 0.6, 0.4, 0.2, 0])
    assert not loss.mixed_target(y, z, gt, 3).requires_grad
    traced = gt.clone().requires_grad_()
    for iteration in (2, 3):
        assert not loss.mixed_target(y, z, traced, iteration).requires_grad
    assert loss.factor(3) == 0
    assert SPDLoss().factor(3) == 1
    assert SPDLoss(0.0).factor(3) == 0


@pytest.mark.parametrize(
    ('gate', 'taken'),
    [
        ('none', [[1, 1, 1, 1], [1, 1, 1, 1]]),
        ('pixel', [[1, 1, 0, 0], [0, 0, 1, 0]]),
        ('region', [[1, 1, 0, 0], [1, 1, 1, 1]]),
        ('advantage', [[0, 0, 0, 0], [1, 1, 1, 1]]),
    ],
)
def test_z_takes_part_in_the_mixed_target_where_it_is_closer_to_gt(gate, taken):
    gt, y = torch.zeros(2, 3, 1, 4), torch.full((2, 3, 1, 4), 4.0)
    z = torch.tensor([[1, 1, 9, 9], [4.5, 4, 1, 4.5]]).view(2, 1, 1, 4).expand(2, 3, 1, 4)
    mask = torch.tensor([[1, 1, 0, 0], [2, 2, 2, 2]]).view(2, 1, 1, 4)
    target = SPDLoss(target='mix', mix=0.5, gate=gate).mixed_target(y, z, gt, 1, mask)
    assert torch.equal(target, 0.5 * z * torch.tensor(taken).view(2, 1, 1, 4))


@pytest.mark.parametrize('bad', [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize('broken', ['y', 'z'])
@pytest.mark.parametrize('gate', GATES)
def test_an_image_that_is_not_finite_leaves_the_targets_of_the_others_as_they_are(gate, broken, bad):
    y, gt = torch.rand(2, 3, 3, 8, 8).unbind()
    mask = torch.randint(0, 4, (3, 1, 8, 8))
    loss, images = SPDLoss(target='mix', gate=gate), {'y': y, 'z': gt + 0.5 * (y - gt)}
    expected = loss.mixed_target(images['y'], images['z'], gt, 1, mask)
    assert not torch.equal(expected[1], gt[1])
    images[broken][1, 0, 2, 3] = bad
    if broken == 'z' or gate != 'none':  # an ungated mixture does not look at y
        expected[1] = gt[1]
    assert torch.equal(loss.mixed_target(images['y'], images['z'], gt, 1, mask), expected)


@pytest.mark.parametrize('gate', ['advantage', 'pixel', 'region'])
def test_a_z_that_is_worse_everywhere_leaves_the_ground_truth_as_it_is(gate):
    y, gt = torch.rand(2, 2, 3, 8, 8).unbind()
    mask = torch.randint(0, 4, (2, 1, 8, 8))
    target = SPDLoss(target='mix', gate=gate).mixed_target(y, y + 2 * (y - gt), gt, 1, mask)
    assert torch.equal(target, gt)


def test_schedule():
    ramp = Schedule(start=5, ramp=2, stop=9)
    assert [ramp.factor(i) for i in range(4, 10)] == [0, 0.5, 1, 1, 1, 0]
    assert [Schedule(ramp=4).factor(i) for i in (1, 2, 4, 5)] == [0.25, 0.5, 1, 1]
    assert Schedule().factor(1) == 1
    fall = Schedule(ramp=4, stop=7, fall=4)
    assert [fall.factor(i) for i in range(1, 8)] == [0.25, 0.5, 0.75, 0.75, 0.5, 0.25, 0]
    assert [Schedule(stop=4, fall=1).factor(i) for i in (2, 3, 4)] == [1, 1, 0]
    with pytest.raises(SAPDError, match='stop: found 5'):
        Schedule(start=5, stop=5)


MISTAKES = [
    ({'loss_weight': -0.1}, 'loss_weight: found -0.1, expected a number >= 0'),
    ({'loss_weight': '1e-1'}, "loss_weight: found '1e-1', expected a number >= 0. In YAML, write 0.1"),
    ({'loss_weight': float('nan')}, 'loss_weight: found nan'),
    ({'loss_weight': True}, 'loss_weight: found True'),
    ({'criterion': 'l3'}, "criterion: found 'l3', expected one of l1"),
    ({'gate': 'advantge'}, "gate: found 'advantge', .*Did you mean 'advantage'"),
    ({'balance': 'gradients'}, "balance: found 'gradients', .*Did you mean 'gradient'"),
    ({'target': 'mixed'}, "target: found 'mixed', .*Did you mean 'mix'"),
    ({'mix': 1.2}, r'mix: found 1.2, expected a number in \[0, 1\]'),
    ({'feature_weight': -1}, 'feature_weight: found -1, expected a number >= 0'),
    ({'mix': 0.5}, "mix: found 0.5, but only target 'mix' reads it, and target is 'refined'"),
    ({'feature_layer': 3}, 'feature_layer: found 3, expected text'),
    ({'feature_layer': '', 'feature_weight': 1}, "feature_layer: found '', expected text"),
    ({'feature_layer': 'body'}, "feature_layer: found 'body', but feature_weight, its weight, is 0"),
    ({'start': 1.5}, 'start: found 1.5, expected an integer >= 0'),
    ({'ramp': -1}, 'ramp: found -1, expected an integer >= 0'),
    ({'stop': 0}, 'stop: found 0, expected an integer >= 1'),
    ({'fall': 4}, 'fall: found 4 without stop'),
]


@pytest.mark.parametrize(('setting', 'message'), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_every_setting_of_spd_is_checked_and_named_by_its_key(setting, message):
    with pytest.raises(SAPDError, match=rf'^train.spd_opt.{message}'):
        build_typed_loss('train.spd_opt', SPDLoss, {'type': 'SPDLoss', **setting}, lambda block: SPDLoss(**setting))


def test_numbers_and_flags_are_checked():
    for value in (0, 1, 0.5):
        check_number('a', value, at_least=0, at_most=1)
    check_number('a', -3)
    check_flag('b', False)
    check_integer('c', -1)
    for value in (None, '1', float('inf'), True, 10**400):
        with pytest.raises(SAPDError, match='a: found .*, expected a number\\.'):
            check_number('a', value)
    for value in (0, 'false', None):
        with pytest.raises(SAPDError, match='b: found .*, expected true or false'):
            check_flag('b', value)
    for value in (1.0, '1', True):
        with pytest.raises(SAPDError, match='c: found .*, expected an integer'):
            check_integer('c', value)


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

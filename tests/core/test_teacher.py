from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional as F

from sapd_plugin.core import DistillationHook, Distiller, SGRLoss, SPDLoss, StepSettings, Supervision
from tests.networks import DropoutNet, assert_equal_states


class Branch(nn.Module):
    """SPF that a user has written, with dropout and batch normalisation."""

    def __init__(self) -> None:
        super().__init__()
        self.network = DropoutNet()

    def forward(self, restored, mask):
        return self.network(restored.detach())


def trained(settings: StepSettings, steps: int):
    """Train both networks; return them with the distiller, and each step's record."""
    torch.manual_seed(0)
    student, spf = nn.Conv2d(3, 3, 3, padding=1), Branch()
    distiller = Distiller(spf, F.l1_loss, SPDLoss(gate='none'), settings=settings)
    hook, optimizer = DistillationHook(student, distiller, 'network_g'), torch.optim.SGD(spf.parameters(), 0.1)
    x, gt, mask = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8), torch.ones(2, 1, 8, 8).int()
    states, records = [copy.deepcopy(spf.state_dict())], []
    for iteration in range(1, steps + 1):
        student.zero_grad()
        optimizer.zero_grad()
        with hook.attach(Supervision(gt, mask), iteration) as recorder:
            F.l1_loss(student(x), gt).backward()
        if distiller.trains(iteration):
            hook.scaler.step(optimizer)
            distiller.teacher.update(spf)
        states.append(copy.deepcopy(spf.state_dict()))
        records.append(recorder.value)
    return spf, distiller, states, records


def test_an_average_follows_slowly_and_teaches_without_dropout():
    spf, distiller, states, records = trained(StepSettings(every=1, teacher='ema', teacher_decay=0.75), 3)
    average = distiller.teacher.average
    name = 'network.body.0.weight'
    expected = states[0][name]
    for state in states[1:]:
        expected = 0.75 * expected + 0.25 * state[name]
    torch.testing.assert_close(average.state_dict()[name], expected)
    buffer = 'network.body.1.running_mean'
    assert torch.equal(average.state_dict()[buffer], spf.state_dict()[buffer])
    assert not any(parameter.requires_grad for parameter in average.parameters())
    with torch.no_grad():
        torch.testing.assert_close(records[0].refined, Branch.forward(_loaded(states[0]), records[0].restored, None))
    assert all(record.losses['l_spd'] > 0 for record in records)
    assert spf.training
    assert not average.training


def test_a_frozen_teacher_is_trained_alone_and_then_teaches_alone():
    spf, distiller, states, records = trained(StepSettings(every=1, teacher='frozen', freeze_after=2), 5)
    assert [record.losses['l_spd'].item() > 0 for record in records] == [False, False, True, True, True]
    assert [distiller.trains(iteration) for iteration in (1, 2, 3)] == [True, True, False]
    assert not torch.equal(states[1]['network.body.0.weight'], states[2]['network.body.0.weight'])
    for state in states[3:]:
        assert_equal_states(states[2], state)  # batch normalisation as well
    assert not spf.training
    assert all(record.losses['l_spf'] > 0 for record in records)  # still in the log


def test_the_log_says_what_trains_what_and_when(vgg_weights):
    losses = SPDLoss(0.2), SGRLoss(weights=vgg_weights, every=4)
    line = Distiller(Branch(), F.l1_loss, *losses, settings=StepSettings(every=3, teacher='ema')).formula()
    assert 'L(base) + 0.2*L_SPD + 0.1*L_SGR; L_recon2 trains SPF alone' in line
    assert line.endswith('SPF every 3 steps, SGR every 12 steps; teacher: ema, decay 0.999.')
    settings = StepSettings(every=1, teacher='frozen', freeze_after=40)
    spd = SPDLoss(target='mix', mix=0.75, gate='region')
    sgr = SGRLoss(weights=vgg_weights, balance='gradient', every=1)
    line = Distiller(Branch(), F.l1_loss, spd, sgr, settings=settings).formula()
    base = 'L(base, compared with 0.75*z + 0.25*gt in regions where z is closer to gt than y)'
    assert f'L(student) = {base} + 0.1*L_SGR (as a share of the gradient); ' in line
    assert line.endswith('SPF every step, SGR every step; teacher: frozen after iteration 40.')


def _loaded(state) -> Branch:
    branch = Branch().eval()
    branch.load_state_dict(state)
    return branch

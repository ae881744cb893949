"""Work before each step of an optimizer."""

from __future__ import annotations

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import StepLR

from sapd_plugin.core.stepping import before_each_step


class WithoutHooks(SGD):
    """An optimizer as torch 2.1 leaves it once ``torch._dynamo`` was used: its hooks never run."""

    def step(self, closure=None):
        return super().step(closure)

    step.hooked = True  # type: ignore[attr-defined]


@pytest.mark.parametrize('kind', [SGD, WithoutHooks])
def test_it_acts_before_each_step_and_a_scheduler_follows(kind):
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = kind([weight], lr=1.0)
    seen = []

    def halve():
        seen.append(weight.item())
        weight.grad.mul_(0.5)

    before_each_step(optimizer, halve)
    scheduler = StepLR(optimizer, 1, 0.1)
    for rate, expected in ((1.0, 0.5), (0.1, 0.45)):
        weight.grad = torch.tensor([1.0])
        assert optimizer.param_groups[0]['lr'] == pytest.approx(rate)
        optimizer.step()
        scheduler.step()
        assert weight.item() == pytest.approx(expected)
    assert seen == pytest.approx([1.0, 0.5])
    assert optimizer.step(lambda: torch.tensor(7.0)) == 7  # arguments and results pass

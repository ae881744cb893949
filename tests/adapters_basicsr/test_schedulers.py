"""Restormer's schedule in BasicSR."""

from __future__ import annotations

import math
import pickle

import pytest
import torch

from sapd_plugin.basicsr.schedulers import CosineAnnealingRestartCyclicLR
from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import stock_options
from tests.adapters_basicsr.test_model import session

RESTORMER = {
    'type': 'CosineAnnealingRestartCyclicLR',
    'periods': [3, 4],
    'restart_weights': [1, 1],
    'eta_mins': [1e-3, 1e-5],
}


def rates(scheduler: CosineAnnealingRestartCyclicLR, count: int) -> list[float]:
    found = []
    for _ in range(count):
        found.append(scheduler.get_last_lr()[0])
        scheduler.optimizer.step()
        scheduler.step()
    return found


def test_the_rate_is_held_and_then_falls_along_a_cosine():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], 3e-4)
    scheduler = CosineAnnealingRestartCyclicLR(optimizer, [92, 208], [1, 1], [3e-4, 1e-6])
    found = rates(scheduler, 320)
    assert found[:93] == pytest.approx([3e-4] * 93)
    expected = [1e-6 + 0.5 * (3e-4 - 1e-6) * (1 + math.cos(math.pi * i / 208)) for i in range(209)]
    assert found[92:301] == pytest.approx(expected)
    assert found[301:] == pytest.approx([1e-6] * 19)


def test_a_model_trains_with_it_and_goes_on_where_it_was(pairs, tmp_path):
    model = session(stock_options(pairs, **{'train:scheduler': RESTORMER}), tmp_path, 2)
    assert [type(s) for s in model.schedulers] == [CosineAnnealingRestartCyclicLR]
    state = pickle.loads(pickle.dumps(model.schedulers[0].state_dict()))
    again = session(stock_options(pairs, **{'train:scheduler': RESTORMER}), tmp_path, 0).schedulers[0]
    again.load_state_dict(state)
    assert rates(again, 5) == rates(model.schedulers[0], 5)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'eta_mins': [1e-6]}, 'found 2 periods, 2 restart_weights and 1 eta_mins, expected the same number of each'),
        ({'eta_min': 1e-6}, r"train.scheduler: unknown key 'eta_min'.*Did you mean 'eta_mins'"),
    ],
)
def test_mistakes_are_named(pairs, tmp_path, change, message):
    with pytest.raises(SAPDError, match=message):
        session(stock_options(pairs, **{'train:scheduler': {**RESTORMER, **change}}), tmp_path, 0)

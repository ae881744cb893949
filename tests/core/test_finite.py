from __future__ import annotations

import math

import pytest
import torch

from sapd_plugin.core import FiniteCheck, read_values
from sapd_plugin.core.finite import PATIENCE


def test_values_are_read_at_once():
    values = {'a': torch.tensor(1.5, dtype=torch.float64), 'b': torch.tensor([2.0, 4.0]), 'c': torch.tensor(torch.nan)}
    read = read_values({**values, 'd': torch.tensor(3.0, requires_grad=True)})
    assert list(read) == ['a', 'b', 'c', 'd']
    assert [read[name] for name in 'abd'] == [1.5, 3.0, 3.0]
    assert math.isnan(read['c'])


@pytest.mark.parametrize('value', [math.nan, math.inf, -math.inf])
def test_the_first_broken_loss_is_named(value):
    check = FiniteCheck()
    check({'l_spf': 1.0, 'l_spd': 0.0}, 3)
    with pytest.raises(FloatingPointError, match=f'l_spd is {value} at iteration 4'):
        check({'l_spf': 1.0, 'l_spd': value, 'l_sgr': value}, 4)


def test_float16_may_overflow_but_not_for_ever():
    check = FiniteCheck()
    for iteration in range(1, PATIENCE):
        check({'l_spf': math.inf}, iteration, float16=True)
    check({'l_spf': 1.0}, PATIENCE, float16=True)  # it recovers, and counting starts again
    for iteration in range(1, PATIENCE):
        check({'l_spf': math.inf}, iteration, float16=True)
    with pytest.raises(FloatingPointError, match='l_spf is inf at iteration 900, the 100th such step in a row'):
        check({'l_spf': math.inf}, 900, float16=True)

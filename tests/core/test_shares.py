from __future__ import annotations

import math

import pytest
import torch

from sapd_plugin.core import Distiller, ShareWatch, SPDLoss
from sapd_plugin.core.shares import WINDOW


def watch(**schedule):
    warnings = []
    distiller = Distiller(torch.nn.Identity(), torch.nn.L1Loss(), SPDLoss(**schedule))
    return ShareWatch(distiller, warnings.append), warnings


@pytest.mark.parametrize(('share', 'effect'), [(1e-5, 'too little to teach'), (3.0, "outweighs the base's own losses")])
def test_a_share_out_of_proportion_is_named_once(share, effect):
    noted, warnings = watch()
    for iteration in range(1, WINDOW):
        noted({'share_spd': share, 'l_spd': 7.0, 'share_spf': share}, iteration)
    assert warnings == []
    for iteration in range(WINDOW, 4 * WINDOW):
        noted({'share_spd': share}, iteration)
    (text,) = warnings
    assert text.startswith(f'share_spd: the gradient that reached the student was {share:.2g} of the base')
    assert effect in text
    assert f'up to iteration {WINDOW},' in text


def test_steps_without_a_gradient_and_ramps_do_not_count():
    noted, warnings = watch()
    for iteration in range(3 * WINDOW):  # closed gates, an overflow, and a good share
        noted({'share_spd': (0.0, math.nan, 0.1)[iteration % 3]}, iteration)
    assert warnings == []
    noted, warnings = watch(ramp=1000)
    for iteration in range(1, 3 * WINDOW):
        noted({'share_spd': 1e-5}, iteration)
    assert warnings == []

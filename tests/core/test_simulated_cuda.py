"""A step of the distiller on the simulated device: no operation mixes devices, and few wait for it."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sapd_plugin.archs import NETWORKS
from sapd_plugin.core import (
    SPF,
    BranchRNG,
    DistillationHook,
    Distiller,
    OnlineMasks,
    SGRLoss,
    SPDLoss,
    StepSettings,
    Supervision,
    ToRGB,
)
from sapd_plugin.core.fusion.image import ENCODINGS
from tests.simulated_cuda import SimulatedCuda, SimulatedTensor, needs_simulation, simulated_cuda

pytestmark = needs_simulation

# Of one step without its framework.
WAITS = 0


def step(vgg: Path, spf: dict[str, Any], spd: dict[str, Any], sgr: dict[str, Any], **parts: Any) -> SimulatedCuda:
    """Train for two steps; return the device with what the second one cost."""
    torch.manual_seed(0)
    degraded, gt = torch.rand(2, 3, 48, 48), torch.rand(2, 3, 48, 48)
    mask = torch.randint(0, 9, (2, 1, 6, 6), dtype=torch.int32).repeat_interleave(8, 2).repeat_interleave(8, 3)
    network = NETWORKS['NAFNet'](width=4, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1])
    with simulated_cuda() as device:
        student, branch = copy.deepcopy(network).to('cuda'), SPF(network, **spf).to('cuda')
        losses = SPDLoss(**spd), SGRLoss(weights=vgg, every=1, **sgr)
        distiller = Distiller(
            branch,
            F.l1_loss,
            *losses,
            ToRGB([0.5], [0.5]),
            BranchRNG(0, 'cuda'),
            settings=StepSettings(every=1),
            **parts,
        )
        hook = DistillationHook(student, distiller.to('cuda'), 'network_g', device='cuda')
        optimizers = [torch.optim.AdamW(net.parameters()) for net in (student, branch)]
        degraded, gt, mask = degraded.to('cuda'), gt.to('cuda'), mask.to('cuda')
        for iteration in (1, 2):
            device.reset()
            for optimizer in optimizers:
                optimizer.zero_grad()
            with hook.attach(Supervision(gt, mask), iteration) as recorder:
                F.l1_loss(student(degraded), gt).backward()
            for optimizer in optimizers:
                optimizer.step()
            recorder.value.psnrs()
        trained = [*student.parameters(), *branch.parameters()]
        assert all(isinstance(parameter.grad, SimulatedTensor) for parameter in trained)
    return device


FUSIONS: dict[str, dict[str, Any]] = {
    'modulate': {},
    'all in features': {'fusion': ['modulate', 'map', 'attend']},
    'none': {'fusion': 'none'},
    **{f'image, {name}': {'fusion': 'image', 'encoding': name} for name in ENCODINGS},
}


@pytest.mark.parametrize('fusion', FUSIONS)
def test_spf(vgg_weights: Path, fusion: str) -> None:
    device = step(vgg_weights, FUSIONS[fusion], {}, {})
    assert sum(device.waits.values()) <= WAITS, device.listing()


@pytest.mark.parametrize('gate', ['none', 'pixel', 'advantage', 'region'])
def test_spd_and_all_terms_of_sgr(vgg_weights: Path, gate: str) -> None:
    device = step(vgg_weights, {}, {'gate': gate}, {'node_weight': 0.1, 'pixel_weight': 0.1})
    assert sum(device.waits.values()) <= WAITS, device.listing()


def test_online_masks_cost_one_copy_each_way(vgg_weights: Path) -> None:
    stored = step(vgg_weights, {}, {}, {})
    online = step(vgg_weights, {}, {}, {}, online=OnlineMasks(lambda photo: photo[..., 0] // 64, every=2))
    assert sum((online.waits - stored.waits).values()) == 2, online.listing()


def test_a_part_that_stays_on_the_cpu_is_found(vgg_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Distiller, 'to', lambda self, device: self)  # the losses' own modules are left behind
    with pytest.raises(RuntimeError, match=r'same device, but found cuda:0 and cpu .* at core/(color|perceptual)\.py'):
        step(vgg_weights, {}, {}, {})


def test_a_wait_that_creeps_in_is_counted(vgg_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = step(vgg_weights, {}, {}, {})
    forward = SPDLoss.forward

    def checking(self: nn.Module, *images: torch.Tensor) -> torch.Tensor:
        assert (images[0] > -100).all()
        return forward(self, *images)

    monkeypatch.setattr(SPDLoss, 'forward', checking)
    assert sum((step(vgg_weights, {}, {}, {}).waits - usual.waits).values()) == 1

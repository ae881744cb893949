"""A training step of the core on a GPU: the CPU's gradients, half precision, determinism, and few waits."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from benchmarks.device import parity, precision
from benchmarks.training import TINY, Batch, Setting, Training, builder
from sapd_plugin.core.regions import region_order

pytestmark = pytest.mark.gpu

STUDENT = builder(*TINY['NAFNet-w4'])


@contextmanager
def without_tf32() -> Iterator[None]:
    backends = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in backends]
    for backend in backends:
        backend.allow_tf32 = False
    try:
        yield
    finally:
        for backend, value in zip(backends, before):
            backend.allow_tf32 = value


@pytest.mark.parametrize('fusion', parity.FUSIONS)
def test_gradients_are_those_of_the_cpu(device: torch.device, batch: Batch, vgg_weights: Path, fusion: str) -> None:
    with without_tf32():
        expected, found = (
            parity.gradients(each, parity.FUSIONS[fusion], vgg_weights) for each in (batch, batch.to(device))
        )
    for name, gradient in expected.items():
        assert parity.difference(found[name], gradient) < 1e-3, name


def test_regions_have_the_same_order(device: torch.device, batch: Batch) -> None:
    for found, expected in zip(region_order(batch.mask.to(device), 16), region_order(batch.mask, 16)):
        assert torch.equal(found.cpu(), expected)


@pytest.mark.parametrize('case', precision.CASES, ids=precision.name_of)
def test_the_configured_share_of_spd_arrives(
    device: torch.device, batch: Batch, vgg_weights: Path, case: precision.Case
) -> None:
    share = precision.arrived(batch.to(device), case, vgg_weights)
    assert share == pytest.approx(precision.SHARE, rel=0.1)


def test_steps_are_deterministic_if_asked_for(
    device: torch.device, batch: Batch, vgg_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = (trained(batch.to(device), vgg_weights) for _ in range(2))
    finally:
        torch.use_deterministic_algorithms(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def trained(batch: Batch, vgg: Path) -> list[torch.Tensor]:
    training = Training(STUDENT, batch, Setting(**parity.LOSSES), vgg)
    for iteration in (1, 2):
        training(iteration)
    return [*training.student.state_dict().values(), *training.branch.state_dict().values()]


def test_a_step_waits_for_the_device_no_more_than_the_stock_step(
    device: torch.device, batch: Batch, vgg_weights: Path
) -> None:
    stock, sapd = (waits(batch.to(device), setting, vgg_weights) for setting in (None, Setting(**parity.LOSSES)))
    assert len(sapd) <= len(stock), sapd


def waits(batch: Batch, setting: Setting | None, vgg: Path) -> list[str]:
    """The lines that wait in the second step, as torch's own check for synchronization reports them."""
    training = Training(STUDENT, batch, setting, vgg)
    training(1)
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            training(2)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return [f'{each.filename}:{each.lineno}' for each in caught if 'synchroniz' in str(each.message)]

"""Time and peak memory of SAPD's step over the stock step."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import nn

from benchmarks.fixtures import Row
from benchmarks.training import SETTINGS, Batch, Setting, Training, patches
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation import step_cost
from sapd_plugin.evaluation.step_cost import ALL_ALIKE, StepCost, measure_step, step_kinds

# With autocast, the default alone is measured.
HALF = {'default': SETTINGS['default']}


def run(
    student: Callable[[], nn.Module],
    device: torch.device,
    vgg: Path,
    side: int,
    batches: Sequence[int] = (8, 4, 2, 1),
    repeats: int = 3,
) -> list[Row]:
    """Measure each setting in float32, and the default with autocast to bfloat16.

    Args:
        student: builds the network.
        device: where.
        vgg: VGG-19 weights.
        side: of the patches.
        batches: numbers of patches that are tried, until the memory is enough for stock and SAPD alike.
        repeats: steps per median.

    Raises:
        SAPDError: the memory is not enough.
    """
    for count in batches:
        try:
            return _batch(student, patches(count, side).to(device), vgg, repeats)
        except torch.cuda.OutOfMemoryError:
            gc.collect()
            torch.cuda.empty_cache()
    raise SAPDError(f'{batches[-1]} patches of {side}x{side} do not fit into the memory.')


def measure(
    student: Callable[[], nn.Module],
    batch: Batch,
    setting: Setting | None,
    vgg: Path,
    dtype: torch.dtype = torch.float32,
    repeats: int = 3,
) -> StepCost:
    """Measure the step of a training on the batch's device; None as the setting means the stock step."""

    def build() -> step_cost.Training:
        training = Training(student, batch, setting, vgg, dtype)
        return step_cost.Training(training, step_kinds(training.distiller) if training.distiller else ALL_ALIKE)

    try:
        return measure_step(build, batch.gt.device, repeats)
    finally:
        gc.collect()


def _batch(student: Callable[[], nn.Module], batch: Batch, vgg: Path, repeats: int) -> list[Row]:
    count, _, side, _ = batch.gt.shape
    rows = []
    for dtype, settings in ((torch.float32, SETTINGS), (torch.bfloat16, HALF)):
        cost = partial(measure, student, batch, vgg=vgg, dtype=dtype, repeats=repeats)
        stock = cost(setting=None)
        where = f'{count} x {side}x{side}, {str(dtype).removeprefix("torch.")}'
        rows += compare(where, stock, {key: cost(setting=setting) for key, setting in settings.items()})
    return rows


def compare(where: str, stock: StepCost, costs: dict[str, StepCost]) -> list[Row]:
    """Return rows of the stock step, and of each setting's time and memory over it."""
    assert stock.milliseconds is not None
    rows = [
        Row(f'{where}: stock step', stock.milliseconds, 'ms'),
        Row(f'{where}: stock, peak memory', stock.memory / 2**20, 'MiB'),
    ]
    for name, cost in costs.items():
        assert cost.milliseconds is not None
        rows += [
            Row(f'{where}: {name}, time / stock', cost.milliseconds / stock.milliseconds, 'x'),
            Row(f'{where}: {name}, peak memory / stock', cost.memory / stock.memory, 'x'),
        ]
    return rows

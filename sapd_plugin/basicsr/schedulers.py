"""Restormer's learning rate schedule, which BasicSR 1.4.2 lacks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR, get_position_from_periods
from torch.optim import SGD, Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sapd_plugin.basicsr.option_kinds import SCHEDULER
from sapd_plugin.core.building import check_arguments_of
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.values import check_values


class CosineAnnealingRestartCyclicLR(LRScheduler):
    """BasicSR's CosineAnnealingRestartLR with a minimum rate per period.

    A period whose minimum rate is the initial rate keeps it, as in Restormer's first 92,000 iterations.

    Args:
        optimizer: the optimizer whose rates are set.
        periods: iterations of each period.
        restart_weights: factor of the initial rate at the start of each period.
        eta_mins: rate at the end of each period.
        last_epoch: iteration to resume from; -1 means the start.

    Raises:
        SAPDError: lists of different lengths, or empty ones.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        periods: Sequence[int],
        restart_weights: Sequence[float] = (1,),
        eta_mins: Sequence[float] = (0,),
        last_epoch: int = -1,
    ) -> None:
        if not len(periods) == len(restart_weights) == len(eta_mins) > 0:
            raise SAPDError(
                f'train.scheduler: found {len(periods)} periods, {len(restart_weights)} restart_weights and '
                f'{len(eta_mins)} eta_mins, expected the same number of each.'
            )
        self.periods, self.restart_weights, self.eta_mins = periods, restart_weights, eta_mins
        self.ends = [sum(periods[: i + 1]) for i in range(len(periods))]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[Any]:
        """Return the rate of each parameter group; after the last period, its minimum."""
        now = min(self.last_epoch, self.ends[-1])
        i = get_position_from_periods(now, self.ends)
        done = (now - (self.ends[i] - self.periods[i])) / self.periods[i]
        weight, lowest = self.restart_weights[i], self.eta_mins[i]
        return [lowest + weight * 0.5 * (base - lowest) * (1 + math.cos(math.pi * done)) for base in self.base_lrs]


# Of BasicSR's `setup_schedulers`, and ours.
SCHEDULERS: dict[str, Any] = {
    'MultiStepLR': MultiStepRestartLR,
    'MultiStepRestartLR': MultiStepRestartLR,
    'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
    'CosineAnnealingRestartCyclicLR': CosineAnnealingRestartCyclicLR,
}


def check_scheduler(where: str, block: Mapping[str, Any], iterations: float) -> None:
    """Refuse a scheduler's block that BasicSR cannot build, or that ends before the training does.

    Args:
        where: the block's config key, for messages.
        block: ``type`` and the scheduler's own arguments.
        iterations: of the training.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    settings = dict(block)
    name = settings.pop('type', None)
    check_choice(f'{where}.type', name, SCHEDULERS)
    kind = SCHEDULERS[str(name)]
    check_arguments_of(where, settings, kind, given=('optimizer',))
    check_values(where, settings, SCHEDULER)
    try:
        kind(SGD([torch.zeros(1, requires_grad=True)], lr=1.0), **settings)
    except AssertionError as error:
        raise SAPDError(f'{where}: {error}') from error
    if kind is CosineAnnealingRestartLR and sum(settings['periods']) < iterations - 1:
        raise SAPDError(
            f'{where}.periods: end after {sum(settings["periods"])} iterations, expected at least those of '
            f'train.total_iter ({iterations:g}), because BasicSR fails behind the last period.'
        )

"""When and how strongly a distillation loss acts (docs/method.md, section Schedule)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any

from torch import nn

from sapd_plugin.errors import SAPDError, check_choice, within
from sapd_plugin.values import Count, Natural, Weight, check_fields, checked, one_of

STAGES = ('joint', 'two_stage')
BALANCES = ('none', 'gradient')


@dataclass(frozen=True)
class Schedule:
    """Factor of a loss over iterations: 0 before ``start``, a ramp up to 1, a fall, and 0 from ``stop`` on.

    Args:
        start: first iteration at which the loss acts, counted from 1; 0 = from the beginning.
        ramp: number of iterations over which the factor rises linearly to 1; 0 = at once.
        stop: first iteration at which the loss no longer acts; None = never.
        fall: number of iterations before ``stop`` over which the factor falls linearly to 0; 0 = at once.

    Raises:
        SAPDError: not an integer, a negative number, ``stop`` is not after ``start``, or ``fall`` without ``stop``.

    >>> [Schedule(start=10, ramp=4, stop=20).factor(i) for i in (9, 10, 12, 14, 20)]
    [0.0, 0.25, 0.75, 1.0, 0.0]
    >>> [Schedule(stop=20, fall=4).factor(i) for i in (16, 17, 18, 19, 20)]
    [1.0, 0.75, 0.5, 0.25, 0.0]
    """

    start: Natural = 0
    ramp: Natural = 0
    stop: Count | None = None
    fall: Natural = 0

    def __post_init__(self) -> None:
        check_fields(self)
        if self.stop is not None and self.stop <= self.start:
            raise SAPDError(f'stop: found {self.stop}, expected an iteration after start ({self.start}).')
        if self.stop is None and self.fall:
            raise SAPDError(f'fall: found {self.fall} without stop, the iteration at which the factor is 0: add stop.')

    def factor(self, iteration: int) -> float:
        """Return the factor in [0, 1] at ``iteration``."""
        if iteration < self.start or (self.stop is not None and iteration >= self.stop):
            return 0.0
        rise = (iteration - max(self.start, 1) + 1) / self.ramp if self.ramp else 1.0
        fall = (self.stop - iteration) / self.fall if self.stop is not None and self.fall else 1.0
        return min(1.0, rise, fall)


def check_schedule(key: str, block: Mapping[str, Any]) -> None:
    """Refuse the block of a loss whose schedule is invalid; ``key`` is the block's. Raises SAPDError."""
    with within(key):
        Schedule(**{field.name: block[field.name] for field in fields(Schedule) if field.name in block})


class DistillationLoss(nn.Module):
    """What SPD and SGR have in common: a weight, how it is balanced, and a schedule.

    Args:
        loss_weight: weight, >= 0; a loss of weight 0 is not computed.
        balance: 'none': the weight multiplies the loss; 'gradient': the weight is the norm of the loss's gradient at
            the restored image over the norm of the base's own gradient there.
        start: see :class:`Schedule`.
        ramp: see :class:`Schedule`.
        stop: see :class:`Schedule`.
        fall: see :class:`Schedule`.

    Raises:
        SAPDError: a negative weight, an unknown balance, or an invalid schedule.
    """

    @checked
    def __init__(
        self,
        loss_weight: Weight,
        balance: Annotated[str, one_of(*BALANCES)] = 'none',
        start: Natural = 0,
        ramp: Natural = 0,
        stop: Count | None = None,
        fall: Natural = 0,
    ) -> None:
        super().__init__()
        self.loss_weight, self.balance = loss_weight, balance
        self.schedule = Schedule(start, ramp, stop, fall)

    def due(self, step: int) -> bool:
        """Return whether the loss is computed in this step of the optimizer, counted from 1."""
        return True

    def factor(self, iteration: int) -> float:
        """Return the factor of the loss at ``iteration``; 0 means that the loss need not be computed."""
        return self.schedule.factor(iteration) if self.loss_weight else 0.0


def check_stage(stage: str, key: str, pretrained_key: str, pretrained: object) -> None:
    """Refuse an unknown stage, or 'two_stage' without the checkpoint of a trained student.

    Args:
        stage: 'joint' trains student and SPF from the start; 'two_stage' starts from a trained student.
        key: config key of the stage, for messages.
        pretrained_key: config key of the student's checkpoint, for messages.
        pretrained: value of that key, or None.

    Raises:
        SAPDError: an unknown stage, or 'two_stage' without a checkpoint.
    """
    check_choice(key, stage, STAGES)
    if stage == 'two_stage' and not pretrained:
        raise SAPDError(
            f"{key}: 'two_stage' starts from a trained student, and {pretrained_key} is empty. "
            "Set it to the stock run's checkpoint, or use 'joint'."
        )

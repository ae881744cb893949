"""When and how strongly a distillation loss acts (docs/method.md, section Schedule)."""

from __future__ import annotations

from dataclasses import dataclass

from sapd_plugin.errors import SAPDError, check_choice

STAGES = ('joint', 'two_stage')


@dataclass(frozen=True)
class Schedule:
    """Factor of a loss over iterations: 0 before ``start``, a linear ramp to 1, and 0 from ``stop`` on.

    Args:
        start: first iteration at which the loss acts, counted from 1; 0 = from the beginning.
        ramp: number of iterations over which the factor rises to 1; 0 = at once.
        stop: first iteration at which the loss no longer acts; None = never.

    Raises:
        SAPDError: a negative number, or ``stop`` is not after ``start``.

    >>> [Schedule(start=10, ramp=4, stop=20).factor(i) for i in (9, 10, 12, 14, 20)]
    [0.0, 0.25, 0.75, 1.0, 0.0]
    """

    start: int = 0
    ramp: int = 0
    stop: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or self.ramp < 0:
            raise SAPDError(f'start and ramp: found {self.start} and {self.ramp}, expected iterations >= 0.')
        if self.stop is not None and self.stop <= self.start:
            raise SAPDError(f'stop: found {self.stop}, expected an iteration after start ({self.start}).')

    def factor(self, iteration: int) -> float:
        """Return the factor in [0, 1] at ``iteration``."""
        if iteration < self.start or (self.stop is not None and iteration >= self.stop):
            return 0.0
        if self.ramp == 0:
            return 1.0
        return min(1.0, (iteration - max(self.start, 1) + 1) / self.ramp)


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

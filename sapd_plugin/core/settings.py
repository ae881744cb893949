"""The settings of a SAPD training step, as both adapters read them from a config."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated

from sapd_plugin.core.schedule import STAGES
from sapd_plugin.errors import SAPDError, check_keys, within
from sapd_plugin.values import Block, Count, Natural, Share, check_block, check_fields, one_of

TEACHERS = ('online', 'ema', 'frozen')


@dataclass(frozen=True)
class StepSettings:
    """When and how the branch runs beside the student (docs/method.md, section Totals).

    Args:
        stage: 'joint' trains student and SPF from the start; 'two_stage' starts from a trained student.
        output_index: which image to distil if the student returns several; None means its class's ``output_index``.
        online: block of the masks that are extracted during training, or None.
        teacher: which SPF gives the z of SPD and SGR. 'online': the one that is being trained; 'ema': its moving
            average; 'frozen': SPF as it is after ``freeze_after`` iterations, or as it was loaded.
        teacher_decay: decay of the moving average at each of SPF's steps; for 'ema'.
        freeze_after: SPF trains alone for this many iterations, then teaches without being trained; for 'frozen'. 0, or
            whole steps of the optimizer, ``every * accumulate`` iterations at least.
        every: the branch runs at each ``every``-th step; the steps in between are the stock model's.
        chunks: SPF runs forward and backward on this many parts of the batch, one after another, to save memory.
        accumulate: number of training iterations (micro-batches) whose gradients make one step of the optimizers, for
            base models that accumulate gradients.

    Raises:
        SAPDError: a value of the wrong type or out of range, or a value that the teacher does not read.
    """

    stage: Annotated[str, one_of(*STAGES)] = 'joint'
    output_index: int | None = None
    online: Block | None = None
    teacher: Annotated[str, one_of(*TEACHERS)] = 'online'
    teacher_decay: Share = 0.999
    freeze_after: Natural = 0
    every: Count = 2
    chunks: Count = 1
    accumulate: Count = 1

    def __post_init__(self) -> None:
        check_fields(self)
        for key, teacher in (('teacher_decay', 'ema'), ('freeze_after', 'frozen')):
            if getattr(self, key) != getattr(StepSettings, key) and self.teacher != teacher:
                raise SAPDError(f"{key}: only teacher '{teacher}' reads it, and teacher is '{self.teacher}'.")
        self._check_freeze_after()

    def _check_freeze_after(self) -> None:
        """Refuse a ``freeze_after`` that ends before SPF's first step, or inside of a step."""
        first = self.every * self.accumulate
        if self.freeze_after and (self.freeze_after < first or self.freeze_after % self.accumulate):
            steps = f' and a multiple of accumulate ({self.accumulate})' if self.accumulate > 1 else ''
            raise SAPDError(
                f'freeze_after: found {self.freeze_after}, expected an integer >= {first}{steps}, because SPF is first '
                f'trained in iteration {first}. With 0, SPF is not trained and has to be loaded.'
            )

    def step(self, iteration: int) -> int:
        """Return the number of the optimizers' step, counted from 1, that ``iteration`` belongs to."""
        return (iteration - 1) // self.accumulate + 1

    def begins_step(self, iteration: int) -> bool:
        """Return whether ``iteration`` is the first micro-batch of a step."""
        return (iteration - 1) % self.accumulate == 0

    def ends_step(self, iteration: int) -> bool:
        """Return whether the optimizers step after ``iteration``."""
        return iteration % self.accumulate == 0

    def due(self, iteration: int) -> bool:
        """Return whether the branch runs at ``iteration``, counted from 1.

        >>> [StepSettings(every=2, accumulate=2).due(iteration) for iteration in range(1, 9)]
        [False, False, True, True, False, False, True, True]
        """
        return self.step(iteration) % self.every == 0


def read_settings(key: str, block: Block | None) -> StepSettings:
    """Read the settings from a config block; None and an empty block mean the defaults.

    Args:
        key: config key of the block, for messages.
        block: its content.

    Raises:
        SAPDError: the block is not a mapping, or an unknown or invalid setting.
    """
    if block is not None:
        check_block(key, block)
    names = [field.name for field in fields(StepSettings)]
    check_keys(key, block or {}, names)
    with within(key):
        return StepSettings(**(block or {}))


def check_frozen(settings: StepSettings, key: str, pretrained_key: str, pretrained: object) -> None:
    """Refuse a teacher that is frozen from the start and was never trained.

    Args:
        settings: of the training.
        key: config key of the settings, for messages.
        pretrained_key: config key of SPF's checkpoint, for messages.
        pretrained: value of that key, or None.

    Raises:
        SAPDError: naming both keys.
    """
    if settings.teacher == 'frozen' and settings.freeze_after == 0 and not pretrained:
        raise SAPDError(
            f'{key}.freeze_after: is 0, so the frozen teacher would never be trained, and {pretrained_key} is empty. '
            'Set freeze_after to the number of iterations that SPF trains, or name the checkpoint of a trained SPF.'
        )

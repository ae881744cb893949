"""Which SPF teaches: the one that is being trained, its moving average, or one that stands still."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from sapd_plugin.core.color import to_single
from sapd_plugin.core.settings import StepSettings

Branch = Callable[..., Tensor]


class Teacher(nn.Module):
    """The source of z for SPD and SGR (``StepSettings.teacher``).

    A z that changes with every step of the student is a moving target: what SPD moves in y moves z at once. An average
    or a frozen SPF stands still.

    Args:
        spf: callable (restored, mask, ...) -> refined, wrapped for distributed training or not.
        settings: of the training.

    Attributes:
        average: the moving average of SPF, in eval mode; None for the other teachers.
    """

    def __init__(self, spf: Branch, settings: StepSettings) -> None:
        super().__init__()
        self.kind, self.decay, self.freeze_after = settings.teacher, settings.teacher_decay, settings.freeze_after
        self.average: nn.Module | None = None
        if self.kind == 'ema':
            self.average = deepcopy(bare(spf)).requires_grad_(False).eval()

    def trains(self, iteration: int) -> bool:
        """Return whether SPF is trained at ``iteration``, counted from 1."""
        return self.kind != 'frozen' or iteration <= self.freeze_after

    def teaches(self, iteration: int) -> bool:
        """Return whether SPD and SGR act at ``iteration``, as far as the teacher is concerned."""
        return self.kind != 'frozen' or iteration > self.freeze_after

    def refine(self, spf: Branch, iteration: int, *images: Any, **options: Any) -> tuple[Tensor, Tensor]:
        """Refine a batch.

        Args:
            spf: as given to the constructor.
            iteration: counted from 1.
            *images: for SPF.
            **options: for SPF.

        Returns:
            The output of the SPF that is being trained, attached to its graph, and the teacher's z, detached; both
            float32 at least. They are equal, except for an average.
        """
        trains = self.trains(iteration)
        if not trains and isinstance(spf, nn.Module) and spf.training:
            spf.eval()  # without dropout, also of masks; the framework may have switched it back
        with nullcontext() if trains else torch.no_grad():
            z = to_single(spf(*images, **options))
        if self.average is None:
            return z, z.detach()
        with torch.no_grad():
            return z, to_single(self.average(*images, **options))

    @torch.no_grad()
    def update(self, spf: Branch) -> None:
        """Move the average towards SPF, after a step of SPF's optimizer; does nothing for the other teachers."""
        if self.average is None:
            return
        branch = bare(spf)
        for average, parameter in zip(self.average.parameters(), branch.parameters()):
            average.lerp_(parameter, 1 - self.decay)
        for kept, buffer in zip(self.average.buffers(), branch.buffers()):
            kept.copy_(buffer)


def bare(spf: Branch) -> Any:
    """Return SPF without its wrapper for distributed training."""
    return getattr(spf, 'module', spf)

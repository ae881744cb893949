"""Values of a step on the host: one copy for all of them, and the stop at a loss that is not finite."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, distributed

from sapd_plugin.core.color import to_single

# Non-finite steps in a row that loss scaling in float16 is given to recover. A scale of 65536 halves 16 times to 1.
PATIENCE = 100


def read_values(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Copy scalars to the host with one transfer; in distributed training, their means over all processes.

    The mean of a NaN or an infinity is not finite, so all processes see it at the same step.
    """
    stacked = torch.stack([to_single(value.detach()).mean() for value in values.values()])
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(stacked)
        stacked /= distributed.get_world_size()
    return dict(zip(values, stacked.tolist()))


class FiniteCheck:
    """Stop a training at a loss that is NaN or infinite.

    In float16, gradients and losses overflow now and then, and the framework's scaler skips the step. So such steps
    are counted there, and only :data:`PATIENCE` of them in a row are an error.
    """

    def __init__(self) -> None:
        self.in_a_row = 0

    def __call__(self, losses: Mapping[str, float], iteration: int, float16: bool = False) -> None:
        """Check the losses of one step.

        Args:
            losses: name -> value, the same on all processes (:func:`read_values`), so that all stop together.
            iteration: for the message.
            float16: whether the step ran in float16.

        Raises:
            FloatingPointError: naming the first such loss, its value and the iteration.
        """
        name = next((name for name, value in losses.items() if not math.isfinite(value)), None)
        if name is None:
            self.in_a_row = 0
            return
        self.in_a_row += 1
        if not float16 or self.in_a_row == PATIENCE:
            row = f', the {PATIENCE}th such step in a row' if float16 else ''
            raise FloatingPointError(f'{name} is {losses[name]} at iteration {iteration}{row}.')

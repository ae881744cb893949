"""Work before each step of an optimizer, in any torch."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


def before_each_step(optimizer: Optimizer, act: Callable[[], object]) -> None:
    """Call ``act`` before each step of an optimizer.

    Not by ``Optimizer.register_step_pre_hook``: torch 2.1 no longer runs such hooks, in silence, once anything in the
    process has used ``torch._dynamo``, such as ``torch.compile``.

    Args:
        optimizer: its ``step`` is replaced by a method that schedulers and loss scalers wrap as they wrap the class's.
        act: called without arguments.
    """
    step = optimizer.step

    @functools.wraps(step)
    def act_and_step(_: Optimizer, *args: Any, **kwargs: Any) -> Any:
        act()
        return step(*args, **kwargs)

    optimizer.step = types.MethodType(act_and_step, optimizer)  # type: ignore[method-assign]

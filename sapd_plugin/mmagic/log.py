"""What a training step returns for the log."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

import torch
from mmengine.dist import all_reduce
from torch import Tensor


class StepLog(Mapping[str, Tensor]):
    """A step's scalars, which the first read copies from the device, all at once.

    MMEngine reads them one after the other when the step is over, and each read of a scalar on a GPU waits for it.

    Args:
        values: the scalars, by name, as ``parse_losses`` returns them.
        losses: the names of those that must be finite. All processes of a training give the same names, because
            whether each loss is finite everywhere is settled here, on the device.
        shares: more scalars; the backward pass fills them in.
    """

    def __init__(self, values: Mapping[str, Tensor], losses: Sequence[str], shares: Mapping[str, Tensor]) -> None:
        self._values = {name: value.detach().float() for name, value in values.items()}
        self._losses, self._shares = list(losses), shares
        self._finite = torch.stack([self._values[name].isfinite() for name in losses]).float()
        all_reduce(self._finite, 'min')

    @property
    def losses(self) -> dict[str, float]:
        """The losses, by name; NaN instead of the value of this process if the one of another is not finite."""
        values, finite = self._read
        own = {name: values[name].item() for name in self._losses}
        return {name: own[name] if fine or not math.isfinite(own[name]) else math.nan for name, fine in finite.items()}

    @cached_property
    def _read(self) -> tuple[dict[str, Tensor], dict[str, float]]:
        scalars = {**self._values, **self._shares}
        every = torch.cat([torch.stack(list(scalars.values())), self._finite]).cpu()
        values, finite = every.split([len(scalars), len(self._losses)])
        return dict(zip(scalars, values.unbind())), dict(zip(self._losses, finite.tolist()))

    def __getitem__(self, name: str) -> Tensor:
        return self._read[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read[0])

    def __len__(self) -> int:
        return len(self._read[0])

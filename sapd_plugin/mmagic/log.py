"""What a training step returns for the log."""

from __future__ import annotations

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
    """

    def __init__(self, values: Mapping[str, Tensor], losses: Sequence[str]) -> None:
        self._names, self._losses = list(values), list(losses)
        self._scalars = torch.stack([value.detach().float() for value in values.values()])
        self._finite = self._scalars[[self._names.index(name) for name in losses]].isfinite().float()
        all_reduce(self._finite, 'min')

    @property
    def first_broken(self) -> str | None:
        """The first loss that is NaN or infinite in any process, or None."""
        _, finite = self._read
        return next((name for name, fine in zip(self._losses, finite) if not fine), None)

    @cached_property
    def _read(self) -> tuple[dict[str, Tensor], list[float]]:
        scalars, finite = torch.cat([self._scalars, self._finite]).cpu().split([len(self._names), len(self._losses)])
        return dict(zip(self._names, scalars.unbind())), finite.tolist()

    def __getitem__(self, name: str) -> Tensor:
        return self._read[0][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

"""Cost of a training step: time and memory, as means and peaks over steps of different kinds."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from sapd_plugin.core import Distiller
from sapd_plugin.evaluation.cost import medians_ms
from sapd_plugin.progress import Bar

# Of a training whose steps are all alike: one iteration, which stands for all.
ALL_ALIKE: Mapping[int, float] = {1: 1.0}


class Training(NamedTuple):
    """A training whose steps are measured.

    Attributes:
        step: runs one training step, given the iteration, counted from 1.
        kinds: one iteration of each kind of step -> share of the steps that are of this kind.
    """

    step: Callable[[int], object]
    kinds: Mapping[int, float] = ALL_ALIKE


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step.

    Attributes:
        milliseconds: wall time, medians of each kind of step, averaged over the kinds; None if it was not measured.
        memory: peak bytes of the tensors that the training holds. On a GPU, torch's allocator measures it; on a CPU,
            the storages of all tensors are counted, without the buffers inside of an operator.
        kinds: (share of the steps, milliseconds) of each kind.
    """

    milliseconds: float | None
    memory: int
    kinds: Sequence[tuple[float, float]] = field(default_factory=tuple)


class LiveTensors(TorchDispatchMode):
    """Context that follows the memory of all tensors that are made in it, in forward, backward and optimizers.

    Attributes:
        peak: the most bytes that were alive at one time since the start or the last :meth:`restart`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        # An upper bound: the storages that were released since are subtracted when the bound would raise the peak.
        self._bytes = 0
        self._storages: dict[int, tuple[StorageWeakRef, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_flatten(result)[0]:
            if isinstance(value, Tensor):
                self._add(value.untyped_storage())
        return result

    def restart(self) -> None:
        """Forget the peak; what is alive is still counted."""
        self._subtract_released()
        self.peak = self._bytes

    def _add(self, storage: torch.UntypedStorage) -> None:
        reference = StorageWeakRef(storage)
        if reference.cdata in self._storages:
            return
        self._storages[reference.cdata] = reference, storage.nbytes()
        self._bytes += storage.nbytes()
        if self._bytes > self.peak:
            self._subtract_released()
            self.peak = max(self.peak, self._bytes)

    def _subtract_released(self) -> None:
        self._storages = {key: value for key, value in self._storages.items() if not value[0].expired()}
        self._bytes = sum(size for _, size in self._storages.values())


def step_kinds(distiller: Distiller) -> dict[int, float]:
    """Return one iteration of each kind of step, and the share of the steps that are of this kind.

    Steps differ by whether the branch runs, whether SGR acts, and whether masks are extracted.

    >>> from sapd_plugin.core import StepSettings
    >>> step_kinds(Distiller(lambda y, mask: y, torch.nn.L1Loss(), settings=StepSettings(every=4)))
    {1: 0.75, 4: 0.25}
    """
    settings, sgr, online = distiller.settings, distiller.sgr, distiller.online
    steps = math.lcm(settings.every, sgr.every if sgr else 1)
    period = math.lcm(steps * settings.accumulate, online.every if online else 1)

    def kind(iteration: int) -> tuple[bool, ...]:
        if not distiller.due(iteration):
            return (False,)
        relations = sgr is not None and sgr.due(settings.step(iteration))
        return True, relations, online is not None and online.due(iteration)

    iterations = range(1, period + 1)
    counts = Counter(map(kind, iterations))
    first = {kind(iteration): iteration for iteration in reversed(iterations)}
    return {first[each]: count / period for each, count in counts.items()}


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def measure_step(build: Callable[[], Training], device: torch.device, repeats: int, bar: Bar | None = None) -> StepCost:
    """Build a training, run a step of each kind twice for its memory, and time further steps.

    Args:
        build: returns the training.
        device: where it runs.
        repeats: number of timed steps of each kind; 0 means none.
        bar: moves by one when the memory is measured; its total grows by the steps to time, and it moves by these.
    """
    if device.type == 'cuda':
        training, memory = _on_gpu(build, device)
    else:
        training, memory = _on_cpu(build)
    if bar is not None:
        bar.extend(len(training.kinds) * (1 + repeats) if repeats else 0)
        bar.update()
    if not repeats:
        return StepCost(None, memory)

    def timed(iteration: int) -> None:
        training.step(iteration)
        if device.type == 'cuda':
            torch.cuda.synchronize(device)

    times = medians_ms([partial(timed, iteration) for iteration in training.kinds], repeats, after=bar and bar.update)
    kinds = tuple(zip(training.kinds.values(), times))
    return StepCost(sum(share * time for share, time in kinds), memory, kinds)


def _on_gpu(build: Callable[[], Training], device: torch.device) -> tuple[Training, int]:
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated(device)
    training = build()
    _run_all(training)
    torch.cuda.reset_peak_memory_stats(device)
    _run_all(training)
    return training, torch.cuda.max_memory_allocated(device) - before


def _on_cpu(build: Callable[[], Training]) -> tuple[Training, int]:
    with LiveTensors() as live:
        training = build()
        _run_all(training)
        live.restart()
        _run_all(training)
    return training, live.peak


def _run_all(training: Training) -> None:
    """Run a step of each kind; after the first of these runs, optimizers hold their states."""
    for iteration in training.kinds:
        training.step(iteration)

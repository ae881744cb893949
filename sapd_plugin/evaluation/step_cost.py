"""Cost of one training step: time and memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sapd_plugin.evaluation.cost import medians_ms

# The step, and the networks and optimizers that it holds.
Training = tuple[Callable[[], object], Iterable[nn.Module], Iterable[torch.optim.Optimizer]]


@dataclass(frozen=True)
class StepCost:
    """Cost of one training step.

    Attributes:
        milliseconds: median wall time; None if it was not measured.
        memory: peak bytes. On a GPU this is measured; on a CPU it is the sum of weights, gradients, optimizer states,
            and tensors that are kept for the backward pass.
    """

    milliseconds: float | None
    memory: int


class KeptForBackward(torch.autograd.graph.saved_tensors_hooks):
    """Context that sums up the tensors that autograd keeps for the backward pass.

    Attributes:
        peak: the most bytes kept at one time, without parameters.
    """

    def __init__(self) -> None:
        self.peak = 0
        self._bytes = 0
        self._users: dict[int, int] = {}
        super().__init__(lambda tensor: _Kept(self, tensor), lambda kept: kept.tensor)

    def add(self, storage: torch.UntypedStorage, change: int) -> None:
        """Add (+1) or remove (-1) a user of a storage; a storage with several users counts once."""
        users = self._users.get(storage.data_ptr(), 0) + change
        self._users[storage.data_ptr()] = users
        if users == (1 if change > 0 else 0):
            self._bytes += change * storage.nbytes()
            self.peak = max(self.peak, self._bytes)


class _Kept:
    """One tensor that autograd keeps; it is counted until autograd releases it."""

    def __init__(self, meter: KeptForBackward, tensor: Tensor) -> None:
        self.tensor = tensor
        self._meter = None if tensor.is_leaf and tensor.requires_grad else meter
        if self._meter is not None:
            self._meter.add(tensor.untyped_storage(), 1)

    def __del__(self) -> None:
        if self._meter is not None:
            self._meter.add(self.tensor.untyped_storage(), -1)


def count_parameters(network: nn.Module) -> int:
    """Return the number of parameters that are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def measure_step(build: Callable[[], Training], device: torch.device, repeats: int) -> StepCost:
    """Build a training, run its first step, and measure further steps.

    Args:
        build: returns the training.
        device: where it runs.
        repeats: number of timed steps; 0 means none.
    """
    cuda = device.type == 'cuda'
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
    step, networks, optimizers = build()
    if cuda:
        step()
        memory = torch.cuda.max_memory_allocated(device) - before
    else:
        kept = KeptForBackward()
        with kept:
            step()
        memory = kept.peak + _held(networks, optimizers)

    def timed() -> None:
        step()
        if cuda:
            torch.cuda.synchronize(device)

    return StepCost(medians_ms([timed], repeats)[0] if repeats else None, memory)


def _held(networks: Iterable[nn.Module], optimizers: Iterable[torch.optim.Optimizer]) -> int:
    """Return the bytes of weights, buffers, gradients and optimizer states."""
    tensors: list[Tensor] = []
    for network in networks:
        tensors += [*network.parameters(), *network.buffers()]
        tensors += [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    for state in (state for optimizer in optimizers for state in optimizer.state.values()):
        tensors += [value for value in state.values() if isinstance(value, Tensor)]
    return sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())

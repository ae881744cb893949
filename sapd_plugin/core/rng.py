"""A random stream of its own for the training-only branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class BranchRNG:
    """Keeps the branch's random draws out of the stock model's stream.

    A second network with dropout or stochastic depth would otherwise shift every later draw of the student, and a run
    with all weights zero would no longer be the stock run, bit for bit.

    Args:
        seed: seed of the branch's stream.
        device: device whose generator the branch uses beside the CPU's.
    """

    def __init__(self, seed: int, device: torch.device | str = 'cpu') -> None:
        self.device = torch.device(device)
        with torch.random.fork_rng(self._cuda()):
            torch.manual_seed(seed)
            self._states = self._read()

    def _cuda(self) -> list[torch.device]:
        return [self.device] if self.device.type == 'cuda' else []

    def _read(self) -> list[Tensor]:
        return [torch.get_rng_state()] + [torch.cuda.get_rng_state(d) for d in self._cuda()]

    def _write(self, states: list[Tensor]) -> None:
        torch.set_rng_state(states[0])
        for device, state in zip(self._cuda(), states[1:]):
            torch.cuda.set_rng_state(state, device)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Draw from the branch's stream inside the block, from the framework's outside."""
        outer = self._read()
        self._write(self._states)
        try:
            yield
        finally:
            self._states = self._read()
            self._write(outer)

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the stream's state: a uint8 tensor a generator."""
        return {'states': [state.clone() for state in self._states]}

    def load_state_dict(self, state: dict[str, list[Tensor]]) -> None:
        """Continue a saved stream; on a device with other generators only the CPU's continues."""
        saved = [s.cpu() for s in state['states']]
        self._states = saved + self._states[len(saved) :]
        self._states = self._states[: 1 + len(self._cuda())]

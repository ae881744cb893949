"""A separate random stream for the training-only branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class BranchRNG:
    """Keeps the branch's random draws out of the stock model's stream.

    A second network with dropout or stochastic depth would otherwise shift every later draw of the student, and a run
    with all weights zero would no longer be the stock run, bit for bit. The stream is seeded at each
    iteration from the seed and the iteration's number, so a resumed run draws what an uninterrupted one does and
    nothing needs to be saved.

    Args:
        seed: seed of the branch's stream; processes that train together take different ones.
        device: the branch also uses this device's generator, beside the CPU's.
    """

    def __init__(self, seed: int, device: torch.device | str = 'cpu') -> None:
        self.seed, self.device = seed, torch.device(device)

    @contextmanager
    def active(self, iteration: int = 0) -> Iterator[None]:
        """Draw from the branch's stream inside the block, from the framework's outside.

        Args:
            iteration: training iteration; 0 while the branch is built.
        """
        outer = self._read()
        seed = (self.seed * 1_000_003 + iteration) % 2**63
        torch.default_generator.manual_seed(seed)
        if self._cuda():
            torch.cuda.manual_seed(seed)
        try:
            yield
        finally:
            torch.set_rng_state(outer[0])
            for device, state in zip(self._cuda(), outer[1:]):
                torch.cuda.set_rng_state(state, device)

    def _cuda(self) -> list[torch.device]:
        return [self.device] if self.device.type == 'cuda' else []

    def _read(self) -> list[Tensor]:
        return [torch.get_rng_state()] + [torch.cuda.get_rng_state(d) for d in self._cuda()]

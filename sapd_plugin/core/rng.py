"""A separate random stream for the training-only branch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class BranchRNG:
    """Keep the branch's random draws out of the stock model's stream.

    Otherwise a second network with dropout or stochastic depth would change every later draw of the student, and a run
    with all weights 0 would not equal the stock run bit for bit. The stream is seeded at each iteration, from the seed
    and the iteration's number, so that a resumed run draws the same numbers and nothing has to be saved.

    Args:
        seed: seed of the branch's stream; each process of a distributed training has its own.
        device: device of the branch, whose generator is used as well as the CPU's.
    """

    def __init__(self, seed: int, device: torch.device | str = 'cpu') -> None:
        self.seed, self.device = seed, torch.device(device)

    @contextmanager
    def active(self, iteration: int = 0, part: int = 0) -> Iterator[None]:
        """Draw from the branch's stream inside the block, from the framework's outside.

        Args:
            iteration: training iteration; 0 while the branch is built.
            part: part of the batch, so that two parts draw different numbers.
        """
        seed = (self.seed * 1_000_003 + iteration + part * 1_000_000_007) % 2**63
        devices = [self.device] if self.device.type == 'cuda' else []
        with torch.random.fork_rng(devices):
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed(seed)
            yield

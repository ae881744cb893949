"""Changes of a network's features during one call, by forward hooks, so that any registered network can be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from sapd_plugin.errors import SAPDError

Injection = Callable[[Tensor], Tensor]


@contextmanager
def injected(network: nn.Module, injections: Mapping[str, Injection]) -> Iterator[None]:
    """Replace the outputs of modules of ``network`` inside the block.

    The hooks exist during the block alone, so that a copy, a checkpoint or a moving average of the network has none.

    Args:
        network: the network that is called inside the block.
        injections: a module's name -> function of the module's output, called at each of the module's calls.

    Raises:
        SAPDError: a module was not called, or was called without gradients, so that the injection's parameters would
            get none.
    """
    called = set()
    enabled = torch.is_grad_enabled()

    def on_forward(name: str, module: nn.Module, args: object, output: Any) -> Tensor:
        if torch.is_grad_enabled() != enabled:
            # A checkpoint runs its layers again during the backward pass, without hooks.
            raise SAPDError(
                f'fusion_layers: the network runs {name} without gradients, perhaps in a checkpoint. Name layers '
                "outside of checkpoints, or turn the network's checkpoints off."
            )
        called.add(name)
        return injections[name](output)

    handles = [network.get_submodule(name).register_forward_hook(partial(on_forward, name)) for name in injections]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    missing = [name for name in injections if name not in called]
    if missing:
        raise SAPDError(
            f'fusion_layers: the network was run without {", ".join(missing)}. Name layers that every training step '
            'runs.'
        )

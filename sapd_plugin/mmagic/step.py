"""SAPD's losses in a step whose losses MMEngine adds up, scales and differentiates."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sapd_plugin.core import DistillationHook, StepRecord, Supervision
from sapd_plugin.core.color import to_single
from sapd_plugin.core.hooks import Recorder


class SummedHook(DistillationHook):
    """Distil in a step of MMEngine.

    The gradients of the student's losses are added at the image, as :class:`DistillationHook` does, whatever MMEngine
    does to the sum: the gradient of ``loss_spf`` tells by what it was multiplied. SPF's own loss is differentiated as a
    part of the sum, because one wrapper for distributed training holds both networks.
    """

    @contextmanager
    def attach(
        self, supervision: Supervision, iteration: int, retarget: Callable[[Tensor], None] = lambda target: None
    ) -> Iterator[Recorder[StepRecord]]:
        """Distil in the forward pass that runs in the block; arguments as for :class:`DistillationHook`."""
        self._spf_losses: list[Tensor] = []
        self._multiplied = torch.zeros((), device=supervision.gt.device, requires_grad=True)
        with super().attach(supervision, iteration, retarget) as recorder:
            yield recorder

    def losses(self, record: StepRecord) -> dict[str, Tensor]:
        """Return the losses for MMEngine to add to the base's; only 'loss_spf' has a graph."""
        losses = {f'loss_{name[2:]}': value for name, value in record.losses.items()}
        spf = torch.stack(self._spf_losses).sum() if self._spf_losses else losses['loss_spf']
        return {**losses, 'loss_spf': spf + self._multiplied}

    def _scale(self) -> Tensor | float:
        # A leaf's gradient is complete before the backward pass reaches earlier parts of the graph.
        assert self._multiplied.grad is not None
        return self._multiplied.grad

    def _seen_by_branch(self, restored: Tensor, image: Tensor) -> Tensor:
        return to_single(restored)

    def _train(self, loss: Tensor) -> None:
        self._spf_losses.append(loss)


class Checkpointed(nn.Module):
    """SPF, run again in the backward pass instead of keeping its activations.

    With batch normalisation, its running statistics take each batch into account twice.

    Args:
        module: SPF.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *images: Any, **options: Any) -> Tensor:
        """Refine; arguments as for SPF."""
        if not torch.is_grad_enabled():
            return self.module(*images, **options)
        return checkpoint(self.module, *images, use_reentrant=False, **options)


class _WithoutGradient(torch.autograd.Function):
    """The identity of a scalar, through which parameters get no gradient, but their hooks are run."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, *parameters: Tensor) -> Tensor:
        ctx.number = len(parameters)
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return gradient, *[None] * ctx.number


def idle(loss: Tensor, parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return ``loss``, and let distributed training know that ``parameters`` get no gradient in this step.

    DistributedDataParallel waits for a gradient of each parameter, and fails in the next step if it waits in vain.
    """
    return _WithoutGradient.apply(loss, *parameters)

"""Adds the distiller's gradient to a student's output, whatever model trains the student.

The framework's training step runs as it is. While it calls the student, a forward hook computes the training-only
losses on a detached copy of the output and their gradients; when the framework's own backward reaches the output, a
tensor hook adds that gradient. The result equals the gradient of the explicit sum of all losses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sapd_plugin.core.distiller import Distiller
from sapd_plugin.core.spf import select_image
from sapd_plugin.errors import SAPDError


class Step(NamedTuple):
    """One training step's images (N,C,H,W; detached), mask (N,1,H,W) and losses."""

    losses: dict[str, Tensor]
    restored: Tensor
    refined: Tensor
    gt: Tensor
    mask: Tensor


class Graft:
    """Grafts a distiller onto a student by a forward hook.

    Args:
        student: the network as the framework calls it (wrapped for distributed training or not).
        distiller: computes the losses.
        output_index: which image to use where the student returns several (MPRNet: 0, MIMO-UNet: -1).
    """

    def __init__(self, student: nn.Module, distiller: Distiller, output_index: int | None = None) -> None:
        self.distiller, self.output_index = distiller, output_index
        self._batch: tuple[Tensor, Tensor, int] | None = None
        self._step: Step | None = None
        self._handle = student.register_forward_hook(self._on_forward)

    def remove(self) -> None:
        """Take the hook off the student."""
        self._handle.remove()

    @contextmanager
    def armed(self, gt: Tensor, mask: Tensor, iteration: int) -> Iterator[list[Step]]:
        """Act on the student's one training call inside the block.

        Args:
            gt: ground truth, (N,C,H,W).
            mask: (N,1,H,W) integer.
            iteration: counted from 1.

        Yields:
            A list that holds the :class:`Step` once the block has ended.

        Raises:
            SAPDError: the block ended without a training call of the student.
        """
        self._batch, self._step = (gt, mask, iteration), None
        done: list[Step] = []
        try:
            yield done
        finally:
            self._batch = None
        if self._step is None:
            raise SAPDError(
                'The training step never called the student with gradients, so SAPD has nothing to act on. '
                'Is the network that it trains the one named network_g / generator?'
            )
        done.append(self._step)

    def _on_forward(self, module: nn.Module, args: object, output: object) -> None:
        if self._batch is None or not torch.is_grad_enabled():
            return
        if self._step is not None:
            raise SAPDError('The training step called the student twice with gradients; SAPD serves one call a step.')
        gt, mask, iteration = self._batch
        restored = select_image(output, self.output_index, 'network_g')
        if restored.shape != gt.shape or mask.shape[0] != gt.shape[0] or mask.shape[-2:] != gt.shape[-2:]:
            raise SAPDError(
                f'restored image {tuple(restored.shape)}, ground truth {tuple(gt.shape)} and mask '
                f'{tuple(mask.shape)} do not belong together.'
            )
        leaf = restored.detach().requires_grad_()
        with torch.enable_grad():
            losses, refined = self.distiller(leaf, gt, mask, iteration)
            torch.stack(list(losses.values())).sum().backward()
        if leaf.grad is not None and restored.requires_grad:
            gradient = leaf.grad
            restored.register_hook(lambda own: own + gradient)
        self._step = Step({k: v.detach() for k, v in losses.items()}, leaf.detach(), refined, gt, mask)

"""Reaches a student's output inside a framework's training step, whatever model trains the student.

:func:`tapped` hands the output on, for frameworks that sum named losses themselves. :class:`Graft` needs no such
framework: the training step runs as it is; while it calls the student, the training-only losses and their gradients are
computed on a detached copy of the output, and when the step's own backward reaches the output, a tensor hook adds that
gradient. The result equals the gradient of the explicit sum of all losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from sapd_plugin.core.distiller import Distiller
from sapd_plugin.core.spf import image_index, select_image
from sapd_plugin.core.step import Step
from sapd_plugin.errors import SAPDError


@contextmanager
def tapped(
    student: nn.Module, act: Callable[[Tensor], object], name: str, output_index: int | None = None
) -> Iterator[None]:
    """Call ``act`` on the image (N,C,H,W) that the student returns to the one training call inside the block.

    The hook is on the student inside the block alone, so that copies of it (moving averages) carry none.

    Args:
        student: the network as the framework calls it (wrapped for distributed training or not).
        act: gets the image, attached to its graph.
        name: the student's config key, for messages.
        output_index: which image to use where the student returns several; default: see
            :func:`~sapd_plugin.core.spf.image_index`.

    Raises:
        SAPDError: the student was called with gradients twice, or not at all, or returned no image.
    """
    called, index = False, image_index(student, output_index)

    def on_forward(module: nn.Module, args: object, output: object) -> None:
        nonlocal called
        if not torch.is_grad_enabled():
            return
        if called:
            raise SAPDError(f'The training step called {name} twice with gradients; SAPD serves one call a step.')
        called = True
        act(select_image(output, index, name))

    handle = student.register_forward_hook(on_forward)
    try:
        yield
    finally:
        handle.remove()
    if not called:
        raise SAPDError(
            f'The training step never called {name} with gradients, so SAPD has nothing to act on. Does it train '
            'another network?'
        )


class Graft:
    """Grafts a distiller onto a student's training step.

    Args:
        student: the network as the framework calls it (wrapped for distributed training or not).
        distiller: computes the losses.
        name: the student's config key, for messages.
        output_index: as for :func:`tapped`.
    """

    def __init__(
        self, student: nn.Module, distiller: Distiller, name: str = 'network_g', output_index: int | None = None
    ) -> None:
        self.student, self.distiller, self.name, self.output_index = student, distiller, name, output_index

    @contextmanager
    def armed(self, gt: Tensor, mask: Tensor | None, iteration: int) -> Iterator[list[Step]]:
        """Act on the student's one training call inside the block.

        Args:
            gt: ground truth, (N,C,H,W).
            mask: (N,1,H,W) integer, or None where the distiller cuts its own.
            iteration: counted from 1.

        Yields:
            A list that holds the :class:`Step` once the student was called.

        Raises:
            SAPDError: as :func:`tapped` and the distiller do.
        """
        done: list[Step] = []

        def act(restored: Tensor) -> None:
            leaf = restored.detach().requires_grad_()
            with torch.enable_grad():
                losses, refined, used = self.distiller(leaf, gt, mask, iteration)
                torch.stack(list(losses.values())).sum().backward()
            if leaf.grad is not None and restored.requires_grad:
                gradient = leaf.grad
                restored.register_hook(lambda own: own + gradient)
            done.append(Step({k: v.detach() for k, v in losses.items()}, leaf.detach(), refined, gt, used))

        with tapped(self.student, act, self.name, self.output_index):
            yield done

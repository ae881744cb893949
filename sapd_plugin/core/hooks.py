"""Access to the student's output inside a framework's training step.

:func:`captured_output` records the output, for a framework that sums all losses itself. :class:`DistillationHook` adds
the gradient of SAPD's losses to an unchanged training step. When the step calls the student, the losses and their
gradients are computed on a detached copy of the output. When the step's backward pass reaches the output, a tensor hook
adds this gradient. The result equals the gradient of the sum of all losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from sapd_plugin.core.distiller import Distiller, check_finite
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.core.record import StepRecord
from sapd_plugin.errors import SAPDError

T = TypeVar('T')


class Recorder(Generic[T]):
    """Holds the ``value`` that a hook recorded; it is set when the student is called."""

    value: T


@contextmanager
def captured_output(
    student: nn.Module, name: str, output_index: int | None = None, act: Callable[[Tensor], Any] = lambda image: image
) -> Iterator[Recorder[Any]]:
    """Record the image (N,C,H,W) that the student returns inside the block, in its one call with gradients.

    The hook is removed after the block, so that copies of the student (moving averages) do not get it.

    Args:
        student: the network as the framework calls it (wrapped for distributed training or not).
        name: the student's config key, for messages.
        output_index: which image to use if the student returns several; None means its ``output_index`` attribute.
        act: called with the image, attached to its graph; its result is recorded.

    Yields:
        The recorder.

    Raises:
        SAPDError: the student was called with gradients twice, or not at all, or did not return an image.
    """
    recorder: Recorder[Any] = Recorder()
    index = image_index(student, output_index)

    def on_forward(module: nn.Module, args: object, output: object) -> None:
        if not torch.is_grad_enabled():
            return
        if hasattr(recorder, 'value'):
            raise SAPDError(
                f'The training step called {name} twice with gradients. SAPD supports one student forward pass per '
                'training step.'
            )
        recorder.value = act(select_image(output, index, name))

    handle = student.register_forward_hook(on_forward)
    try:
        yield recorder
    finally:
        handle.remove()
    if not hasattr(recorder, 'value'):
        raise SAPDError(
            f'The training step never called {name} with gradients, so no distillation loss was computed. Is this the '
            'network being trained?'
        )


class DistillationHook:
    """Add a distiller's losses to a student's training step.

    The arguments except ``distiller`` are those of :func:`captured_output`.
    """

    def __init__(self, student: nn.Module, distiller: Distiller, name: str, output_index: int | None = None) -> None:
        self.student, self.distiller, self.name, self.output_index = student, distiller, name, output_index

    def attach(self, gt: Tensor, mask: Tensor | None, iteration: int) -> AbstractContextManager[Recorder[StepRecord]]:
        """Return a context in which the training step runs; its recorder then holds the step's record.

        Args:
            gt: ground truth, (N,C,H,W).
            mask: (N,1,H,W) integer, or None if all masks are extracted online.
            iteration: counted from 1.

        Raises:
            SAPDError: as :func:`captured_output` and the distiller.
            FloatingPointError: a loss is NaN or infinite; the message names it and the iteration.
        """

        def distill(restored: Tensor) -> StepRecord:
            leaf = restored.detach().requires_grad_()
            with torch.enable_grad():
                record = self.distiller(leaf, gt, mask, iteration)
                check_finite(record.losses, iteration)
                torch.stack(list(record.losses.values())).sum().backward()
            if leaf.grad is not None and restored.requires_grad:
                gradient = leaf.grad
                restored.register_hook(lambda own: own + gradient)
            return record

        return captured_output(self.student, self.name, self.output_index, distill)

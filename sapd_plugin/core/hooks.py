"""Access to the student's output inside a framework's training step.

:func:`captured_output` records the output, for a framework that sums all losses itself. :class:`DistillationHook` adds
the gradient of SAPD's losses to an unchanged training step. When the step calls the student, the losses and their
gradients are computed on a detached copy of the output. When the step's backward pass reaches the output, a tensor hook
adds this gradient. The result equals the gradient of the sum of all losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from sapd_plugin.core.balance import Contribution, balanced
from sapd_plugin.core.color import to_single
from sapd_plugin.core.distiller import Distiller
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.core.precision import BranchScaler, in_float16, loss_scale
from sapd_plugin.core.record import StepRecord, Supervision
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

    SPF's loss is differentiated at once, inside the student's call, part by part if so configured: each part's graph is
    gone before the next one, and before the framework builds more of its own. The gradients of the student's losses
    wait for the framework's backward pass.

    Args:
        student: as for :func:`captured_output`.
        distiller: computes the losses.
        name: as for :func:`captured_output`.
        output_index: as for :func:`captured_output`.
        find_scaler: returns the GradScaler with which the framework scales its losses, or None.
        device: of SPF.

    Attributes:
        scaler: loss scaling of SPF.
        float16: whether the latest step ran in float16, where losses and gradients may overflow.
    """

    def __init__(
        self,
        student: nn.Module,
        distiller: Distiller,
        name: str,
        output_index: int | None = None,
        find_scaler: Callable[[], Any] = lambda: None,
        device: torch.device | str = 'cpu',
    ) -> None:
        self.student, self.distiller, self.name, self.output_index = student, distiller, name, output_index
        self.find_scaler = find_scaler
        self.scaler = BranchScaler(torch.device(device))
        self.float16 = False

    @contextmanager
    def attach(
        self, supervision: Supervision, iteration: int, retarget: Callable[[Tensor], None] = lambda target: None
    ) -> Iterator[Recorder[StepRecord]]:
        """Distil in the training step that runs in the block.

        Args:
            supervision: of the batch.
            iteration: counted from 1.
            retarget: called with the image that the framework's own losses shall compare the student's with, if it is
                not the ground truth; and with the ground truth when they are computed.

        Yields:
            The recorder, which then holds the step's record; its losses have no graph.

        Raises:
            SAPDError: as :func:`captured_output` and the distiller; or the framework's backward pass went around the
                image, so that no gradient could be added.
        """
        arrival = _Arrival(self.student)
        target: Tensor | None = None

        def distill(restored: Tensor) -> StepRecord:
            nonlocal target
            self.float16 = in_float16(restored.device) or _enabled(self.find_scaler())
            record, contributions = self._differentiate(restored, features[-1:], supervision, iteration)

            target = self.distiller.target(record, iteration)
            if target is not None:
                retarget(target)

            hint = contributions.pop('l_hint', None)
            others = list(contributions.values())

            def add(contributions: list[Contribution], own: Tensor) -> Tensor:
                total, shares = balanced(own, contributions, self._scale())
                contributions.clear()  # the model keeps the tensor, and with it this function
                record.shares.update({f'share_{name}': share for name, share in shares.items()})
                return total

            def add_at_image(own: Tensor) -> Tensor:
                arrival.at_image = True
                if target is not None:
                    retarget(supervision.gt)  # what comes after the student's losses, such as a discriminator's
                return add(others, own)

            if restored.requires_grad:
                restored.register_hook(add_at_image)
            if hint is not None and features[-1].requires_grad:
                features[-1].register_hook(partial(add, [hint]))
            return record

        try:
            with (
                arrival,
                self.distiller.watch(iteration, self.student) as features,
                captured_output(self.student, self.name, self.output_index, distill) as recorder,
            ):
                yield recorder
        finally:
            if target is not None:
                retarget(supervision.gt)
        if arrival.at_student and not arrival.at_image:
            raise SAPDError(
                f'{self.name}: was trained by a loss that does not use the image that SAPD distils, so SPD and SGR did '
                'not reach it. If it returns several images, set output_index to one that the base model trains.'
            )

    def _differentiate(
        self, restored: Tensor, features: list[Tensor], supervision: Supervision, iteration: int
    ) -> tuple[StepRecord, dict[str, Contribution]]:
        """Train SPF, and return the gradients of the student's losses at the image, and of hints at the features."""
        distiller = self.distiller
        supervision = distiller.prepare(restored, supervision, iteration)
        size = len(restored)
        length = -(-size // distiller.settings.chunks)
        parts = [
            self._differentiate_part(restored, features, supervision, iteration, number, slice(start, start + length))
            for number, start in enumerate(range(0, size, length))
        ]
        refined = torch.cat([part.refined for part in parts]) if len(parts) > 1 else parts[0].refined
        usable = refined.sum().isfinite()
        losses = {name: _total([part.losses[name] for part in parts]) for name in parts[0].losses}
        contributions = {}
        for name in parts[0].gradients:
            gradients = [part.gradients[name] for part in parts]
            gradient = torch.cat(gradients) if len(gradients) > 1 else gradients[0]
            share = distiller.share(name, iteration)
            contributions[name] = Contribution(name[2:], gradient, share, usable & losses[name].isfinite())
        return distiller.record(losses, restored, refined, supervision), contributions

    def _differentiate_part(
        self,
        restored: Tensor,
        features: list[Tensor],
        supervision: Supervision,
        iteration: int,
        number: int,
        samples: slice,
    ) -> _Part:
        """Do it for some samples of the batch; ``number`` is that of the part, counted from 0."""
        distiller, settings = self.distiller, self.distiller.settings
        image, *own = (to_single(each[samples].detach()).requires_grad_() for each in (restored, *features))
        weight = len(image) / len(restored)
        supervision = supervision.part(samples)
        # Gradients of all parts and micro-batches are added up first, then exchanged between processes.
        last = settings.ends_step(iteration) and samples.stop >= len(restored)
        no_sync = getattr(distiller.spf, 'no_sync', nullcontext)
        with torch.enable_grad():
            with nullcontext() if last else no_sync(), distiller.watch(iteration) as target:
                seen = self._seen_by_branch(restored[samples], image)
                refined, loss = distiller.refine(seen, supervision, iteration, number)
                if loss.requires_grad:
                    self._train(weight * loss)
            pair = (own[0], target[-1]) if own else None
            student_losses = distiller.compare(image, refined, supervision, iteration, pair)
            gradients = {
                name: torch.autograd.grad(weight * student_loss, own if name == 'l_hint' else image)[0]
                for name, student_loss in student_losses.items()
                if student_loss.requires_grad
            }
        if image.grad is not None:  # SPF does not detach y
            gradients['l_spf'] = image.grad * settings.accumulate / self.scaler.factor
        losses = {'l_spf': loss, **student_losses}
        return _Part(refined, {name: weight * value.detach() for name, value in losses.items()}, gradients)

    def _scale(self) -> Tensor | float:
        """Return the factor with which the framework multiplies its losses."""
        return loss_scale(self.find_scaler()) / self.distiller.settings.accumulate

    def _seen_by_branch(self, restored: Tensor, image: Tensor) -> Tensor:
        """Return what SPF refines: samples of the student's output, or their detached copy."""
        return image

    def _train(self, loss: Tensor) -> None:
        """Differentiate SPF's loss of a part of the batch, so that its graph is gone before the next part."""
        (self.scaler.scaled(loss, self.float16) / self.distiller.settings.accumulate).backward()


class _Part(NamedTuple):
    """Teacher's image, losses without graph and gradients at the image, or features, of a part of the batch."""

    refined: Tensor
    losses: dict[str, Tensor]
    gradients: dict[str, Tensor]


def _total(values: list[Tensor]) -> Tensor:
    return torch.stack(values).sum() if len(values) > 1 else values[0]


def _enabled(scaler: Any) -> bool:
    return scaler is not None and scaler.is_enabled()


class _Arrival(AbstractContextManager['_Arrival']):
    """Notes which gradients of a student the framework's backward pass computes.

    Attributes:
        at_student: whether one arrived at the student's first parameter.
        at_image: whether one arrived at the image that is distilled.
    """

    def __init__(self, student: nn.Module) -> None:
        self.student, self.at_student, self.at_image = student, False, False

    def __enter__(self) -> _Arrival:
        def note(gradient: Tensor) -> None:
            self.at_student = True

        first = next((p for p in self.student.parameters() if p.requires_grad), None)
        self._handle = None if first is None else first.register_hook(note)
        return self

    def __exit__(self, *error: object) -> None:
        if self._handle is not None:
            self._handle.remove()

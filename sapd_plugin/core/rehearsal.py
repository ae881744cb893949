"""A first run of a network as a training step calls it, so that mistakes are named before the first step."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Size, Tensor, nn
from torch.func import functional_call

from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.teacher import bare
from sapd_plugin.errors import SAPDError

_SIDE = 64  # of the restored image
_MULTIPLE = 16  # the input's side is divisible by it, as networks of several sizes need it


@torch.no_grad()
def rehearse(network: nn.Module, *inputs: Any, **options: Any) -> Any:
    """Run a network in training mode, without gradients, and return its output.

    Parameters, buffers, modes and random streams stay as they are.

    Args:
        network: not wrapped for distributed training, which would wait for other processes.
        *inputs: for the network.
        **options: for the network.
    """
    modes = [(module, module.training) for module in network.modules()]
    buffers = {name: buffer.clone() for name, buffer in network.named_buffers()}
    try:
        network.train()
        with BranchRNG(0, _weight(network).device).active():
            return functional_call(network, buffers, inputs, options)
    finally:
        for module, training in modes:
            module.training = training


def rehearse_sizes(network: nn.Module, image: Tensor) -> tuple[Any, dict[str, Size]]:
    """Rehearse a network and return its output, and the shape of the last tensor that each layer returned.

    Args:
        network: as for :func:`rehearse`.
        image: its input.
    """
    shapes: dict[str, Size] = {}

    def note(name: str, module: nn.Module, args: object, output: object) -> None:
        if isinstance(output, Tensor):
            shapes[name] = output.shape

    handles = [module.register_forward_hook(partial(note, name)) for name, module in network.named_modules()]
    try:
        return rehearse(network, image), shapes
    finally:
        for handle in handles:
            handle.remove()


def empty_images(network: nn.Module, channels: int, size: tuple[int, int]) -> Tensor:
    """Return two black images (2,C,H,W) for a network; two, because batch normalisation needs more than one sample."""
    return _weight(network).new_zeros(2, channels, *size)


def student_input(student: nn.Module, channels: int, scale: int | None = None) -> Tensor:
    """Return an input to rehearse a student with, (2,C,h,w).

    Args:
        student: wrapped for distributed training or not.
        channels: of its image.
        scale: restored pixels per pixel of the input, along each side; None if it is not known.
    """
    side = max(_SIDE // (scale or 1) // _MULTIPLE, 1) * _MULTIPLE
    return empty_images(bare(student), channels, (side, side))


def check_image(
    student: nn.Module,
    name: str,
    channels: int,
    output_index: int | None = None,
    scale: int | None = None,
    channels_key: str = '',
) -> None:
    """Refuse a student that does not take the images, or returns several if the one to distil is not known or fits not.

    The right size is the ground truth's, or where no image has it or the scale is not known, that of the largest image.
    A student that cannot be called with an image alone is not checked; its training step knows how to call it.

    Args:
        student: wrapped for distributed training or not.
        name: its config key, for messages.
        channels: of its image.
        output_index: as configured; None means the student's own.
        scale: as for :func:`student_input`.
        channels_key: config key that says how many channels the images have, for messages; empty if none does.

    Raises:
        SAPDError: ``output_index`` is missing, out of range, or that of an image of another size; or the student takes
            images of another number of channels, or its image does not have ``scale`` times the input's size.
    """
    degraded = student_input(student, channels, scale)
    try:
        output = rehearse(bare(student), degraded)
    except Exception:  # of a network that a user wrote: any
        other = 4 - channels  # 1 or 3
        if channels_key and _takes(student, other, scale):
            kind = 'gray' if other == 1 else 'color'
            raise SAPDError(
                f'{channels_key}: the images have {channels} channels, but {name} takes {kind} images of {other}. Set '
                f'{channels_key} to {"y (or gray, where the data set has it)" if other == 1 else "nothing"}, or change '
                f"{name}'s channels."
            ) from None
        return
    index = image_index(student, output_index)
    found = tuple(select_image(output, index, name).shape[2:])
    truth = tuple((scale or 0) * side for side in degraded.shape[2:])
    if not isinstance(output, (list, tuple)):
        if scale and found != truth:
            size = tuple(degraded.shape[2:])
            raise SAPDError(f'scale: found {scale}, but {name} turns an image of {_text(size)} into {_text(found)}.')
        return
    sizes = [tuple(image.shape[2:]) for image in output if isinstance(image, Tensor)]
    expected = truth if truth in sizes else max(sizes)
    if found != expected:
        raise SAPDError(
            f'output_index: found {index}, an image of {_text(found)} where the ground truth has {_text(expected)}. '
            f'{name} returns {len(output)} images, of {", ".join(map(_text, sizes))}.'
        )


def _takes(student: nn.Module, channels: int, scale: int | None) -> bool:
    """Return whether a student can be run on images of so many channels."""
    try:
        rehearse(bare(student), student_input(student, channels, scale))
    except Exception:  # of a network that a user wrote: any
        return False
    return True


def _text(size: tuple[int, ...]) -> str:
    return 'x'.join(map(str, size))


def _weight(network: nn.Module) -> Tensor:
    return next(network.parameters(), torch.empty(0))

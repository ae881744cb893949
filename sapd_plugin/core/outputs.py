"""The choice of the restored image if a network returns several."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sapd_plugin.errors import SAPDError


def image_index(network: nn.Module, index: int | None) -> int | None:
    """Return the index of the restored image among a network's outputs; None if it is not known.

    Args:
        network: wrapped for distributed training or not.
        index: as configured; None means the network's attribute ``output_index`` (MPRNet: 0, HINet and MIMO-UNet: -1).
    """
    if index is not None:
        return index
    return getattr(network, 'output_index', getattr(getattr(network, 'module', None), 'output_index', None))


def select_image(output: object, index: int | None, network: str) -> Tensor:
    """Return the restored image from the output of a network.

    Args:
        output: an image (N,C,H,W), or a list or tuple of images.
        index: from :func:`image_index`; ignored if ``output`` is one image.
        network: the network's name, for messages.

    Raises:
        SAPDError: ``output`` holds several images and ``index`` is None or out of range, or it is not an image.
    """
    if index is not None and isinstance(output, (list, tuple)):
        if not -len(output) <= index < len(output):
            raise SAPDError(f'output_index: found {index}, but {network} returns {len(output)} images.')
        output = output[index]
    if not isinstance(output, Tensor):
        raise SAPDError(
            f'{network}: returns {type(output).__name__}, expected an image (N,C,H,W). If a network returns several, '
            'set output_index to the one to distil.'
        )
    return output


class _WithZeroGradients(torch.autograd.Function):
    """Pass an image on, and zero gradients to tensors that are not used."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, *unused: Tensor) -> Tensor:
        ctx.unused = [(tensor.shape, tensor.dtype) for tensor in unused]
        return image.view_as(image)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, ...]:
        return (gradients[0], *(gradients[0].new_zeros(shape, dtype=dtype) for shape, dtype in ctx.unused))


def with_zero_gradients(image: Tensor, unused: Sequence[Tensor]) -> Tensor:
    """Return ``image``, through which the tensors in ``unused`` get a gradient of 0.

    Distributed training needs a gradient for every parameter, also for those of images that no loss uses. A product
    with 0 would be NaN where such an image overflows.
    """
    applied: Tensor = _WithZeroGradients.apply(image, *unused)
    return applied

"""The loss of a network that returns several images in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.errors import SAPDError
from sapd_plugin.values import Weight, checked


class MultiOutputLoss(nn.Module):
    """The sum of several losses over all images that a network returns.

    With it, a framework's stock model can train MPRNet and HINet, whose stages are each compared with the ground truth,
    and MIMO-UNet, whose scales are each compared with the ground truth at that scale (bilinear interpolation without
    antialiasing, as in the authors' code).

    Args:
        criteria: callables (restored, ground truth) -> scalar, each with its own weight.
        loss_weight: factor of the sum.

    Raises:
        SAPDError: ``criteria`` is empty.

    >>> loss = MultiOutputLoss([nn.L1Loss(), nn.MSELoss()])
    >>> loss([torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 2, 2)], torch.full((1, 1, 4, 4), 2.0)).item()
    8.0
    """

    @checked
    def __init__(self, criteria: Sequence[nn.Module], loss_weight: Weight = 1.0) -> None:
        super().__init__()
        if not criteria:
            raise SAPDError('MultiOutputLoss.criteria: empty, expected one loss block or a list of them.')
        self.criteria, self.loss_weight = nn.ModuleList(criteria), loss_weight

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor) -> Tensor:
        """Return the weighted sum, a scalar.

        Args:
            outputs: one image (N,C,h,w), or a list or tuple of images of any sizes.
            target: the ground truth, (N,C,H,W).

        Raises:
            SAPDError: ``outputs`` is something else.
        """
        images = [outputs] if isinstance(outputs, Tensor) else outputs
        if not isinstance(images, (list, tuple)) or not images or not all(isinstance(i, Tensor) for i in images):
            raise SAPDError(
                f'MultiOutputLoss: the network returns {type(outputs).__name__}, expected images (N,C,H,W).'
            )
        losses = []
        for image in images:
            wanted = target
            if image.shape[-2:] != target.shape[-2:]:
                wanted = F.interpolate(target, size=image.shape[-2:], mode='bilinear', align_corners=False)
            losses += [criterion(image, wanted) for criterion in self.criteria]
        return self.loss_weight * torch.stack(losses).sum()


def build_multi_output_loss(
    build: Callable[[str, Mapping[str, Any]], nn.Module], criteria: Any, loss_weight: float
) -> MultiOutputLoss:
    """Build :class:`MultiOutputLoss` from config blocks.

    Args:
        build: checks and builds one loss, given its key, for messages, and its block.
        criteria: the block of any registered loss, or a list of such blocks.
        loss_weight: factor of the sum.

    Raises:
        SAPDError: ``criteria`` holds no block, or one that ``build`` refuses.
    """
    blocks = [criteria] if isinstance(criteria, Mapping) else criteria
    if not isinstance(blocks, (list, tuple)) or not all(isinstance(block, Mapping) for block in blocks):
        raise SAPDError(f'MultiOutputLoss.criteria: found {criteria!r}, expected one loss block or a list of them.')
    built = [build(f'MultiOutputLoss.criteria[{index}]', block) for index, block in enumerate(blocks)]
    return MultiOutputLoss(built, loss_weight)

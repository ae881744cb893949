"""Gradients of SAPD's losses, in proportion to the gradient of the base's own losses at the same tensor.

An absolute weight means something else under each base loss: with one ``loss_weight``, the gradient of SPD is 2.8e-3 of
L1's and 1.2e-5 of PSNRLoss's. It also has to follow the framework's loss scale and the number of micro-batches. A share
of the base's own gradient needs to know none of these (as the adaptive weight of VQGAN, arXiv 2012.09841).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sapd_plugin.core.color import to_single

# Smaller than any norm of a gradient, so that the division by a norm of 0 gives 0.
_TINY = 1e-30


@dataclass(frozen=True)
class Contribution:
    """The gradient of one loss at a tensor of the student.

    Attributes:
        name: 'spd', 'sgr' or 'hint'; in the log, the share is 'share_spd' and so on.
        gradient: of the loss times its weight and its schedule's factor; shape of the tensor, float32 or float64.
        share: norm that the gradient gets, as a multiple of the base's own (balance: gradient); None leaves it as it
            is (balance: none).
        usable: scalar bool tensor: False if the teacher's image or the loss is not finite, so that it is left out.
    """

    name: str
    gradient: Tensor
    share: float | None
    usable: Tensor


def balanced(
    own: Tensor, contributions: Sequence[Contribution], scale: Tensor | float = 1.0
) -> tuple[Tensor, dict[str, Tensor]]:
    """Add the contributions to the base's own gradient; nothing is read on the host.

    Args:
        own: the base's gradient at the tensor, of any floating dtype.
        contributions: to add, in this order.
        scale: factor of the base's losses: loss scale over number of micro-batches. It multiplies the gradients of
            balance 'none'; the others follow ``own``.

    Returns:
        The sum, computed in float32 at least, in ``own``'s dtype; and name -> share, the norm that was added over the
        norm of ``own``, a float scalar without gradient. A contribution that is not finite is left out: its share is 0.
    """
    total = to_single(own)
    norm = torch.linalg.vector_norm(total)
    added: Tensor | None = None
    shares = {}
    for contribution in contributions:
        size = torch.linalg.vector_norm(contribution.gradient)
        factor = scale if contribution.share is None else contribution.share * norm / size.clamp(min=_TINY)
        usable = contribution.usable & size.isfinite()
        part = torch.where(usable, factor * contribution.gradient, 0.0)
        added = part if added is None else added + part
        shares[contribution.name] = torch.where(usable, factor * size / norm.clamp(min=_TINY), 0.0).float()
    return (total if added is None else total + added).to(own.dtype), shares

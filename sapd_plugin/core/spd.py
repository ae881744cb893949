"""SPD, semantic priors distillation: a loss that pulls the restored image towards the refined one."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.core.schedule import Schedule
from sapd_plugin.errors import check_choice

CRITERIA = ('l1', 'charbonnier', 'l2')
GATES = ('none', 'pixel', 'advantage')


def spd_loss(restored: Tensor, refined: Tensor, gt: Tensor, criterion: str = 'l1', gate: str = 'none') -> Tensor:
    """Return ``mean(w * |y - sg(z)|)``, the distance between the restored and the refined image.

    Args:
        restored: y, (N,C,H,W) floating.
        refined: z, (N,C,H,W); gets no gradient.
        gt: ground truth, (N,C,H,W); used by the gates.
        criterion: 'l1' (our reading of the paper), 'charbonnier' (eps 1e-3) or 'l2'.
        gate: the weight w. 'none': 1; 'pixel': 1 at pixels where z is closer to gt than y is (absolute error summed
            over channels), else 0; 'advantage': per image, ``max(0, 1 - MSE(z, gt) / MSE(y, gt))``, the share of the
            student's error that the teacher removes.

    Returns:
        Scalar, the mean over all pixels and channels, so that the mean of two half batches is the value of the whole
        batch.

    >>> y, z = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    >>> gt = torch.tensor([[[[1.0, 0.0]]]])
    >>> spd_loss(y, z, gt).item(), spd_loss(y, z, gt, gate='pixel').item()
    (1.0, 0.5)
    """
    refined = refined.detach()
    difference = restored - refined
    if criterion == 'l1':
        error = difference.abs()
    elif criterion == 'charbonnier':
        error = (difference.square() + 1e-6).sqrt()
    else:
        error = difference.square()
    if gate == 'pixel':
        with torch.no_grad():
            better = (refined - gt).abs().sum(1, keepdim=True) < (restored - gt).abs().sum(1, keepdim=True)
        error = error * better
    elif gate == 'advantage':
        with torch.no_grad():
            student, teacher = ((image - gt).square().mean((1, 2, 3)) for image in (restored, refined))
            advantage = (1 - teacher / student.clamp(min=1e-12)).clamp(min=0)
        error = error * advantage.view(-1, 1, 1, 1)
    return error.mean()


class SPDLoss(nn.Module):
    """Compute lambda1 L_SPD, :func:`spd_loss` with a weight and a schedule.

    ``start``, ``ramp`` and ``stop`` are those of :class:`Schedule`.

    Args:
        loss_weight: lambda1. The paper's value is not public; 0.1 is that of arXiv 2401.06370.
        criterion: 'l1', 'charbonnier' or 'l2'.
        gate: 'none', 'pixel' or 'advantage'. The default is ours: early in training z is close to y, and L1's gradient
            has constant magnitude, so an ungated SPD would pin the student to its initial output for hundreds of steps.

    Raises:
        SAPDError: an unknown criterion or gate, or an invalid schedule.
    """

    def __init__(
        self,
        loss_weight: float = 0.1,
        criterion: str = 'l1',
        gate: str = 'advantage',
        start: int = 0,
        ramp: int = 0,
        stop: int | None = None,
    ) -> None:
        super().__init__()
        check_choice('SPDLoss criterion', criterion, CRITERIA)
        check_choice('SPDLoss gate', gate, GATES)
        self.loss_weight, self.criterion, self.gate = loss_weight, criterion, gate
        self.schedule = Schedule(start, ramp, stop)

    def forward(self, restored: Tensor, refined: Tensor, gt: Tensor) -> Tensor:
        """Return the weighted loss, a scalar, without the schedule's factor; arguments as for :func:`spd_loss`."""
        return self.loss_weight * spd_loss(restored, refined, gt, self.criterion, self.gate)

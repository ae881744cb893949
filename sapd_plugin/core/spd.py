"""SPD, semantic priors distillation: the student follows the refined image (paper: lambda1 * L_SPD)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.core.schedule import Schedule
from sapd_plugin.errors import check_choice

CRITERIA = ('l1', 'charbonnier', 'l2')
GATES = ('none', 'pixel', 'advantage')


def spd_loss(restored: Tensor, refined: Tensor, gt: Tensor, criterion: str = 'l1', gate: str = 'none') -> Tensor:
    """Return the distance of the restored image from the refined one, which gets no gradient.

    Args:
        restored: y, (N,C,H,W).
        refined: z, (N,C,H,W).
        gt: ground truth, (N,C,H,W); read by the gates alone.
        criterion: 'l1' (the paper's formula, our reading), 'charbonnier' (eps 1e-3) or 'l2'.
        gate: 'none'; 'pixel': use only pixels at which z is nearer to gt than y is (absolute error summed over
            channels); 'advantage': weight each image by max(0, 1 - MSE(z, gt) / MSE(y, gt)), the share of the
            student's error that the teacher has removed.

    Returns:
        Scalar: mean over all pixels and channels, gated-out ones counting as 0, so that the mean of two half
        batches is the value of the whole batch.

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
    """Weighted and scheduled :func:`spd_loss`.

    Args:
        loss_weight: lambda1. The paper's value is not public; 0.1 is that of the closest published relation loss by
            the same first authors (arXiv 2401.06370).
        criterion: 'l1', 'charbonnier' or 'l2'.
        gate: 'none', 'pixel' or 'advantage'. The default is ours: early in training z is close to y, and L1's gradient
            has constant magnitude, so an ungated SPD would pin the student to its initial output for hundreds of steps.
        start: first iteration at which the loss acts.
        ramp: iterations over which the weight rises linearly.
        stop: first iteration without the loss, or None.

    Raises:
        SAPDError: an unknown criterion or an impossible schedule.
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
        """Return ``loss_weight * spd_loss(...)``, a scalar, before the schedule's factor."""
        return self.loss_weight * spd_loss(restored, refined, gt, self.criterion, self.gate)

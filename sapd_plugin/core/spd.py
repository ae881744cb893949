"""SPD, semantic priors distillation: a loss that pulls the restored image towards the refined one."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from sapd_plugin.core.color import to_single
from sapd_plugin.core.regions import painted_means
from sapd_plugin.core.schedule import BALANCES, DistillationLoss
from sapd_plugin.errors import SAPDError
from sapd_plugin.values import Count, Name, Natural, Share, Weight, checked, one_of

CRITERIA = ('l1', 'charbonnier', 'l2')
GATES = ('none', 'pixel', 'advantage', 'region')
TARGETS = ('refined', 'mix')
_MIX = 0.8
# Above these weights z is closer to gt than y: in the image, at the pixel, in the region.
_CLOSER = {'advantage': 0.0, 'pixel': 0.0, 'region': 0.5}


def spd_loss(
    restored: Tensor,
    refined: Tensor,
    gt: Tensor,
    criterion: str = 'l1',
    gate: str = 'none',
    mask: Tensor | None = None,
) -> Tensor:
    """Return ``mean(w * |y - sg(z)|)``, the distance between the restored and the refined image.

    Args:
        restored: y, (N,C,H,W) floating.
        refined: z, (N,C,H,W); gets no gradient.
        gt: ground truth, (N,C,H,W); used by the gates.
        criterion: 'l1' (our reading of the paper), 'charbonnier' (eps 1e-3) or 'l2'.
        gate: the weight w, which gets no gradient. 'none': 1; 'pixel': 1 at pixels where z is closer to gt than y is
            (absolute error summed over channels), else 0; 'advantage': per image,
            ``max(0, 1 - MSE(z, gt) / MSE(y, gt))``, the share of the student's error that the teacher removes;
            'region': per region, :func:`region_step`.
        mask: M, (N,1,H,W) integer, 0 = no mask; only the gate 'region' needs it.

    Returns:
        Scalar, the mean over all pixels and channels, so that the mean of two half batches is the value of the whole
        batch. Computed in float32 at least.

    >>> y, z = torch.zeros(1, 1, 1, 2), torch.ones(1, 1, 1, 2)
    >>> gt = torch.tensor([[[[1.0, 0.0]]]])
    >>> spd_loss(y, z, gt).item(), spd_loss(y, z, gt, gate='pixel').item()
    (1.0, 0.5)
    >>> spd_loss(y, z, gt, gate='region', mask=torch.tensor([[[[1, 1]]]])).item()
    0.5
    """
    restored, refined, gt = to_single(restored), to_single(refined.detach()), to_single(gt)
    difference = restored - refined
    if criterion == 'l1':
        error = difference.abs()
    elif criterion == 'charbonnier':
        error = (difference.square() + 1e-6).sqrt()
    else:
        error = difference.square()
    if gate != 'none':
        error = error * _gate_weight(restored, refined, gt, mask, gate)
    return error.mean()


@torch.no_grad()
def _gate_weight(restored: Tensor, refined: Tensor, gt: Tensor, mask: Tensor | None, gate: str) -> Tensor:
    """Return w of :func:`spd_loss`, (N,1,H,W) or (N,1,1,1)."""
    if gate == 'pixel':
        return (refined - gt).abs().sum(1, keepdim=True) < (restored - gt).abs().sum(1, keepdim=True)
    if gate == 'advantage':
        student, teacher = ((image - gt).square().mean((1, 2, 3)) for image in (restored, refined))
        return (1 - teacher / student.clamp(min=1e-12)).clamp(min=0).view(-1, 1, 1, 1)
    if mask is None:
        raise SAPDError("gate: 'region' needs the masks of the batch, found None.")
    return region_step(restored, refined, gt, mask)


@torch.no_grad()
def region_step(restored: Tensor, refined: Tensor, gt: Tensor, mask: Tensor) -> Tensor:
    """Return how far y should go towards z in each region (our reading).

    In region r this is the least-squares step ``s_r = sum_r (gt - y)(z - y) / sum_r (z - y)^2``, at least 0 and at most
    1. It is 1 where z is the ground truth, and small where most of z - y does not point there.

    Args:
        restored: y, (N,C,H,W) floating.
        refined: z, (N,C,H,W).
        gt: ground truth, (N,C,H,W).
        mask: M, (N,1,H,W) integer; pixels without a mask are a region of their own.

    Returns:
        (N,1,H,W); the value of each pixel's region.
    """
    step = refined - restored
    products = torch.cat([((gt - restored) * step).sum(1, keepdim=True), step.square().sum(1, keepdim=True)], dim=1)
    explained, length = painted_means(products, mask.int() + 1).split(1, dim=1)
    return (explained / length.clamp(min=1e-12)).clamp(0, 1)


def _finite_images(images: Tensor) -> Tensor:
    """Return which images (N,C,H,W) are finite, (N,1,1,1) bool."""
    return images.isfinite().flatten(1).all(1).view(-1, 1, 1, 1)


class SPDLoss(DistillationLoss):
    """Compute lambda1 L_SPD, :func:`spd_loss` with a weight and a schedule.

    ``balance``, ``start``, ``ramp``, ``stop`` and ``fall`` are those of :class:`DistillationLoss`.

    Args:
        loss_weight: lambda1. The paper's value is not public; 0.1 is that of arXiv 2401.06370.
        criterion: 'l1', 'charbonnier' or 'l2'.
        gate: 'none', 'pixel', 'advantage' or 'region'. The default is ours: early in training z is close to y, and L1's
            gradient has constant magnitude, so an ungated SPD would pin the student to its initial output for hundreds
            of steps.
        target: 'refined': this loss pulls y towards z; 'mix': the base's own losses do, because they see
            :meth:`mixed_target` instead of the ground truth, and this loss is 0. The gate then says where z takes part.
        mix: a, the share of z in the mixed target, in [0, 1]; for the target 'mix'.
        feature_weight: weight of :func:`~sapd_plugin.core.hints.affinity_loss`, >= 0.
        feature_layer: name of the layer whose features it compares; None means that one is found.

    Raises:
        SAPDError: an unknown criterion, gate, target or balance, a number out of range, a value that nothing reads, or
            an invalid schedule.
    """

    @checked
    def __init__(
        self,
        loss_weight: Weight = 0.1,
        criterion: Annotated[str, one_of(*CRITERIA)] = 'l1',
        gate: Annotated[str, one_of(*GATES)] = 'advantage',
        balance: Annotated[str, one_of(*BALANCES)] = 'none',
        target: Annotated[str, one_of(*TARGETS)] = 'refined',
        mix: Share = _MIX,
        feature_weight: Weight = 0.0,
        feature_layer: Name | None = None,
        start: Natural = 0,
        ramp: Natural = 0,
        stop: Count | None = None,
        fall: Natural = 0,
    ) -> None:
        super().__init__(loss_weight, balance, start, ramp, stop, fall)
        if mix != _MIX and target != 'mix':
            raise SAPDError(f"mix: found {mix}, but only target 'mix' reads it, and target is '{target}'.")
        if feature_layer is not None and not feature_weight:
            raise SAPDError(f"feature_layer: found '{feature_layer}', but feature_weight, its weight, is 0.")
        self.criterion, self.gate, self.target, self.mix = criterion, gate, target, mix
        self.feature_weight, self.feature_layer = feature_weight, feature_layer

    def factor(self, iteration: int) -> float:
        """Return the factor of the loss at ``iteration``: the schedule's, or 0 with the target 'mix'."""
        return 0.0 if self.target == 'mix' else super().factor(iteration)

    @torch.no_grad()
    def mixed_target(
        self, restored: Tensor, refined: Tensor, gt: Tensor, iteration: int, mask: Tensor | None = None
    ) -> Tensor:
        """Return ``a z + (1 - a) gt`` where z is closer to gt than y is, and gt elsewhere.

        a is ``mix`` times the schedule's factor. The gate 'advantage' compares images and 'region' regions, both by
        squared error, and 'pixel' pixels; with 'none', z takes part everywhere. In an image whose z is not finite, the
        target is gt; likewise if y is not and a gate compares them.

        Args:
            restored: y, (N,C,H,W) floating.
            refined: z, same shape.
            gt: ground truth, same shape.
            iteration: counted from 1.
            mask: M, (N,1,H,W) integer, 0 = no mask; only the gate 'region' needs it.

        Returns:
            Of gt's shape, without graph.

        Raises:
            SAPDError: the gate 'region' without masks.
        """
        share = self.mix * self.schedule.factor(iteration)
        if not share:
            return gt.detach()
        taken = _finite_images(refined)
        if self.gate != 'none':
            weight = _gate_weight(to_single(restored), to_single(refined), to_single(gt), mask, self.gate)
            taken = taken & _finite_images(restored) & (weight > _CLOSER[self.gate])
        return torch.where(taken, gt + share * (refined - gt), gt)

    def forward(self, restored: Tensor, refined: Tensor, gt: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the weighted loss, a scalar, without the schedule's factor; arguments as for :func:`spd_loss`."""
        return self.loss_weight * spd_loss(restored, refined, gt, self.criterion, self.gate, mask)

"""The one distiller: (restored image, ground truth, mask) in, named losses and the refined image out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sapd_plugin.core.colour import ToRGB, to_single
from sapd_plugin.core.online import OnlineMasks
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.sgr import SGRLoss
from sapd_plugin.core.spd import SPDLoss
from sapd_plugin.errors import SAPDError


class Distilled(NamedTuple):
    """What one step of the distiller gives.

    ``losses``: {'l_spf', 'l_spd', 'l_sgr': scalar}, weighted; all keys of the configured losses at every iteration.
    ``refined``: z, (N,C,H,W), detached. ``mask``: the masks that were used, (N,1,H,W).
    """

    losses: dict[str, Tensor]
    refined: Tensor
    mask: Tensor


class Distiller(nn.Module):
    """SPF, SPD and SGR on a restored image (paper: L = L_recon^1 + lambda1 L_SPD + lambda2 L_SGR, and L_recon^2).

    The framework's own losses are L_recon^1. L_recon^2 trains SPF alone, SPD and SGR the student alone; each gets
    the other's image detached.

    Args:
        spf: callable (restored, mask) -> refined; an SPF module, wrapped for distributed training or not.
        reconstruction: callable (refined, gt) -> scalar, L_recon^2.
        spd: the distillation loss; None leaves it out.
        sgr: the relation loss; None leaves it out.
        to_rgb: maps the training space to RGB in [0, 1] for SGR.
        rng: random stream of the branch.
        online: cuts masks of the restored image at the iterations at which it is due; None = the batch's always.
    """

    def __init__(
        self,
        spf: Callable[[Tensor, Tensor], Tensor],
        reconstruction: Callable[[Tensor, Tensor], Tensor],
        spd: SPDLoss | None = None,
        sgr: SGRLoss | None = None,
        to_rgb: ToRGB | None = None,
        rng: BranchRNG | None = None,
        online: OnlineMasks | None = None,
    ) -> None:
        super().__init__()
        self.spf, self.reconstruction, self.spd, self.sgr = spf, reconstruction, spd, sgr
        self.to_rgb = to_rgb or ToRGB()
        self.rng = rng or BranchRNG(seed=0)
        self.online = online

    def forward(self, restored: Tensor, gt: Tensor, mask: Tensor | None, iteration: int) -> Distilled:
        """Compute the training-only losses.

        Args:
            restored: y, (N,C,H,W), in the training space; attached to a graph where gradients are wanted.
            gt: (N,C,H,W), same space and size.
            mask: (N,1,H,W) integer, 0 = no mask; None where all masks are cut on-line.
            iteration: counted from 1, for the schedules.

        Returns:
            The weighted losses, the refined image and the masks.

        Raises:
            SAPDError: the images and masks are not of one batch and one size, or there is no mask.
            FloatingPointError: a loss is NaN or infinite; the message names it and the iteration.
        """
        if self.online is not None and self.online.due(iteration):
            mask = self.online(self.to_rgb(restored))
        if mask is None:
            raise SAPDError(
                'the training batch holds no masks, expected an integer tensor (N,1,H,W) as of '
                "'PairedImageMaskDataset'."
            )
        _check_together(restored, gt, mask)
        with self.rng.active(iteration):
            z = to_single(self.spf(restored, mask))
        restored = to_single(restored)
        refined = z.detach()
        losses = {'l_spf': self.reconstruction(z, gt)}
        if self.spd is not None:
            factor = self._factor(self.spd, iteration)
            losses['l_spd'] = factor * self.spd(restored, refined, gt) if factor else restored.new_zeros(())
        if self.sgr is not None:
            factor = self._factor(self.sgr, iteration)
            losses['l_sgr'] = (
                factor * self.sgr(self.to_rgb(restored), self.to_rgb(refined), mask)
                if factor
                else restored.new_zeros(())
            )
        finite = torch.isfinite(torch.stack([loss.detach() for loss in losses.values()]))
        if not finite.all():
            name = list(losses)[int(finite.int().argmin())]
            raise FloatingPointError(f'{name} is {losses[name].item()} at iteration {iteration}.')
        return Distilled(losses, refined, mask)

    def formula(self) -> str:
        """Say in one line what trains what, for the log."""
        terms = [
            f'{loss.loss_weight:g}*{name}'
            for name, loss in (('L_SPD', self.spd), ('L_SGR', self.sgr))
            if loss is not None
        ]
        parameters = sum(p.numel() for p in self.spf.parameters()) if isinstance(self.spf, nn.Module) else 0
        return (
            f'SAPD: L(student) = L(base) + {" + ".join(terms)}; L_recon2 trains SPF alone ({parameters:,d} parameters).'
        )

    @staticmethod
    def _factor(loss: SPDLoss | SGRLoss, iteration: int) -> float:
        """Schedule's factor; 0 for a loss without weight, so that it costs nothing."""
        return loss.schedule.factor(iteration) if loss.loss_weight else 0.0


def _check_together(restored: Tensor, gt: Tensor, mask: Tensor) -> None:
    if restored.shape != gt.shape or mask.shape[0] != gt.shape[0] or mask.shape[-2:] != gt.shape[-2:]:
        raise SAPDError(
            f'restored image {tuple(restored.shape)}, ground truth {tuple(gt.shape)} and mask {tuple(mask.shape)} do '
            'not belong together.'
        )

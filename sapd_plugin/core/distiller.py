"""The distiller: it takes restored images, ground truth and masks, and returns losses and refined images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from sapd_plugin.core.color import ToRGB, to_single
from sapd_plugin.core.online import OnlineMasks
from sapd_plugin.core.record import StepRecord
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.sgr import SGRLoss
from sapd_plugin.core.spd import SPDLoss
from sapd_plugin.errors import SAPDError


class Distiller(nn.Module):
    """Compute the losses that SAPD adds to a training step.

    The student minimizes ``L = L_recon^1 + lambda1 L_SPD + lambda2 L_SGR`` (paper's formula), where L_recon^1 are the
    framework's own losses. SPF minimizes L_recon^2 (our reading). SPD and SGR get z detached; SPF detaches y.

    Args:
        spf: callable (restored, mask) -> refined; an SPF module, wrapped for distributed training or not.
        reconstruction: callable (refined, gt) -> scalar, L_recon^2.
        spd: the distillation loss, or None.
        sgr: the relation loss, or None.
        to_rgb: converts the images to RGB in [0, 1] for SGR and ``online``.
        rng: random stream of the branch.
        online: extracts masks of the restored images every so many iterations; None means that each batch holds masks.
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

    def forward(
        self, restored: Tensor, gt: Tensor, mask: Tensor | None, iteration: int, order: str = 'rgb'
    ) -> StepRecord:
        """Compute the losses of one batch.

        Args:
            restored: y, (N,C,H,W) floating, as the network returns it.
            gt: ground truth, same shape.
            mask: M, (N,1,H,W) integer, 0 = no mask; None if all masks are extracted online.
            iteration: counted from 1.
            order: 'rgb' or 'bgr', the channel order of the images.

        Returns:
            The losses, not checked for NaN, and the images.

        Raises:
            SAPDError: images and masks differ in number or size, or there are no masks.
        """
        to_rgb = partial(self.to_rgb, order=order)
        if self.online is not None and self.online.due(iteration):
            mask = self.online(to_rgb(restored))
        if mask is None:
            raise SAPDError('mask: the training batch holds no masks, expected an integer tensor (N,1,H,W).')
        if restored.shape != gt.shape or mask.shape[0] != gt.shape[0] or mask.shape[-2:] != gt.shape[-2:]:
            raise SAPDError(
                f'restored image {tuple(restored.shape)}, ground truth {tuple(gt.shape)} and mask {tuple(mask.shape)} '
                'do not belong together.'
            )
        with self.rng.active(iteration):
            z = to_single(self.spf(restored, mask))
        y, refined = to_single(restored), z.detach()
        losses = {'l_spf': self.reconstruction(z, gt)}
        if self.spd is not None:
            factor = self.spd.factor(iteration)
            losses['l_spd'] = factor * self.spd(y, refined, gt, mask) if factor else y.new_zeros(())
        if self.sgr is not None:
            factor = self.sgr.factor(iteration)
            losses['l_sgr'] = y.new_zeros(())
            if factor:
                losses['l_sgr'] = factor * self.sgr(to_rgb(y), to_rgb(refined), mask, to_rgb(gt))
        return StepRecord(losses, y.detach(), refined, gt, mask, to_rgb)

    def formula(self) -> str:
        """Return a line for the log that says which losses train which network."""
        losses = (('L_SPD', self.spd), ('L_SGR', self.sgr))
        terms = [f'{loss.loss_weight:g}*{name}' for name, loss in losses if loss is not None]
        parameters = sum(p.numel() for p in self.spf.parameters()) if isinstance(self.spf, nn.Module) else 0
        return (
            f'SAPD: L(student) = L(base) + {" + ".join(terms)}; L_recon2 trains SPF alone ({parameters:,d} parameters).'
        )


def check_finite(losses: Mapping[str, Tensor], iteration: int) -> None:
    """Raise an error if a loss is NaN or infinite; all losses are copied from the device at once.

    Raises:
        FloatingPointError: naming the first such loss, its value and the iteration.
    """
    values = torch.stack([loss.detach().float().mean() for loss in losses.values()])
    finite = torch.isfinite(values)
    if not finite.all():
        first = int(finite.int().argmin())
        raise FloatingPointError(f'{list(losses)[first]} is {values[first].item()} at iteration {iteration}.')

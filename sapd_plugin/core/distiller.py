"""The distiller: it takes restored images, ground truth and masks, and returns losses and refined images."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from sapd_plugin.core.color import ToRGB, to_single
from sapd_plugin.core.hints import HintLoss, captured_features
from sapd_plugin.core.online import OnlineMasks
from sapd_plugin.core.precision import full_precision
from sapd_plugin.core.record import StepRecord, Supervision
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.schedule import DistillationLoss
from sapd_plugin.core.settings import StepSettings
from sapd_plugin.core.sgr import SGRLoss
from sapd_plugin.core.spd import SPDLoss
from sapd_plugin.core.teacher import Branch, Teacher, bare
from sapd_plugin.errors import SAPDError


class Distiller(nn.Module):
    """Compute the losses that SAPD adds to a training step.

    The student minimizes ``L = L_recon^1 + lambda1 L_SPD + lambda2 L_SGR`` (paper's formula), where L_recon^1 are the
    framework's own losses. SPF minimizes L_recon^2 (our reading). SPD and SGR get z detached; SPF detaches y.

    A step is :meth:`prepare`, then :meth:`refine` and :meth:`compare`, for the whole batch or for one part of it after
    another. Calling the distiller does all three for the whole batch. Losses are computed without autocast.

    Args:
        spf: callable (restored, mask) -> refined; an SPF module, wrapped for distributed training or not. If it has
            parameters named ``degraded`` and ``context``, it gets those of the batch by name.
        reconstruction: callable (refined, gt) -> scalar, L_recon^2.
        spd: the distillation loss, or None.
        sgr: the relation loss, or None.
        to_rgb: converts the images to RGB in [0, 1] for SGR and ``online``.
        rng: random stream of the branch.
        online: extracts masks of the restored images every so many iterations; None means that each batch holds masks.
        settings: when the branch runs, and which SPF teaches.
        hint: the loss on features, or None.
    """

    def __init__(
        self,
        spf: Branch,
        reconstruction: Callable[[Tensor, Tensor], Tensor],
        spd: SPDLoss | None = None,
        sgr: SGRLoss | None = None,
        to_rgb: ToRGB | None = None,
        rng: BranchRNG | None = None,
        online: OnlineMasks | None = None,
        settings: StepSettings | None = None,
        hint: HintLoss | None = None,
    ) -> None:
        super().__init__()
        self.spf, self.reconstruction, self.spd, self.sgr, self.hint = spf, reconstruction, spd, sgr, hint
        self.losses: dict[str, DistillationLoss] = {
            name: loss for name, loss in (('l_spd', spd), ('l_sgr', sgr), ('l_hint', hint)) if loss is not None
        }
        self.to_rgb = to_rgb or ToRGB()
        self.rng = rng or BranchRNG(seed=0)
        self.online = online
        self.settings = settings or StepSettings()
        self.teacher = Teacher(spf, self.settings)
        module = bare(spf)
        parameters = inspect.signature(module.forward if isinstance(module, nn.Module) else module).parameters
        self._inputs = [name for name in ('degraded', 'context') if name in parameters]

    def due(self, iteration: int) -> bool:
        """Return whether the branch runs at ``iteration``, counted from 1; if not, the step is the stock model's."""
        return self.settings.due(iteration)

    def trains(self, iteration: int) -> bool:
        """Return whether SPF is trained at ``iteration``."""
        return self.due(iteration) and self.teacher.trains(iteration)

    def forward(
        self, restored: Tensor, supervision: Supervision, iteration: int, features: Tensor | None = None
    ) -> StepRecord:
        """Compute the losses of one batch.

        Args:
            restored: y, (N,C,H,W) floating, as the network returns it.
            supervision: ground truth, masks and what else belongs to the batch.
            iteration: counted from 1.
            features: the student's, from :meth:`watch`; None where hints do not act.

        Returns:
            The losses, not checked for NaN, and the images.

        Raises:
            SAPDError: images and masks differ in number or size, or there are no masks.
        """
        supervision = self.prepare(restored, supervision, iteration)
        with self.watch(iteration) as target:
            refined, loss = self.refine(restored, supervision, iteration)
        pair = None if features is None else (features, target[-1])
        losses = {'l_spf': loss, **self.compare(restored, refined, supervision, iteration, pair)}
        return self.record(losses, restored, refined, supervision)

    def prepare(self, restored: Tensor, supervision: Supervision, iteration: int) -> Supervision:
        """Return the supervision with the masks of this iteration.

        Raises:
            SAPDError: images and masks differ in number or size, or there are no masks.
        """
        if self.online is not None and self.online.due(iteration):
            cut = self.online(self.to_rgb(restored.detach(), supervision.order))
            supervision = replace(supervision, mask=cut)
        gt, masks = supervision.gt, supervision.mask
        if masks is None:
            raise SAPDError('mask: the training batch holds no masks, expected an integer tensor (N,1,H,W).')
        if restored.shape != gt.shape or masks.shape[0] != gt.shape[0] or masks.shape[-2:] != gt.shape[-2:]:
            raise SAPDError(
                f'restored image {tuple(restored.shape)}, ground truth {tuple(gt.shape)} and mask {tuple(masks.shape)} '
                'do not belong together.'
            )
        return supervision

    def refine(
        self, restored: Tensor, supervision: Supervision, iteration: int, part: int = 0
    ) -> tuple[Tensor, Tensor]:
        """Run SPF on a batch, or on a part of it.

        Args:
            restored: y, (N,C,H,W) floating.
            supervision: of these samples, from :meth:`prepare`.
            iteration: counted from 1.
            part: number of the part, for the random stream.

        Returns:
            The teacher's z, detached, float32 at least; and l_spf, attached to SPF's graph while SPF is trained.
        """
        options = {name: getattr(supervision, name) for name in self._inputs}
        with self.rng.active(iteration, part):
            z, refined = self.teacher.refine(self.spf, iteration, restored, supervision.mask, **options)
        with full_precision(restored.device):
            return refined, self.reconstruction(z, supervision.gt)

    def compare(
        self,
        restored: Tensor,
        refined: Tensor,
        supervision: Supervision,
        iteration: int,
        features: tuple[Tensor, Tensor] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the student's losses of a batch, or of a part of it.

        Args:
            restored: y, (N,C,H,W) floating.
            refined: z, same shape, detached.
            supervision: of these samples, from :meth:`prepare`.
            iteration: counted from 1.
            features: the student's and the second network's, from :meth:`watch`; None where hints do not act.

        Returns:
            'l_spd', 'l_sgr' and 'l_hint', as far as they are configured: weighted scalars, 0 where a schedule says so.
        """
        y, losses = to_single(restored), {}
        to_rgb = partial(self.to_rgb, order=supervision.order)
        with full_precision(restored.device):
            if self.spd is not None:
                factor = self.factor('l_spd', iteration)
                losses['l_spd'] = y.new_zeros(())
                if factor:
                    losses['l_spd'] = factor * self.spd(y, refined, supervision.gt, supervision.mask)
            if self.sgr is not None:
                factor = self.factor('l_sgr', iteration)
                losses['l_sgr'] = y.new_zeros(())
                if factor:
                    images = (to_rgb(image) for image in (y, refined))
                    losses['l_sgr'] = factor * self.sgr(*images, supervision.mask, to_rgb(supervision.gt))
            if self.hint is not None:
                losses['l_hint'] = y.new_zeros(())
                if features is not None:
                    losses['l_hint'] = self.factor('l_hint', iteration) * self.hint(*features, y.shape[-2:])
        return losses

    def watch(self, iteration: int, student: nn.Module | None = None) -> AbstractContextManager[list[Tensor]]:
        """Record the features that hints compare.

        Args:
            iteration: counted from 1.
            student: record the student's, which is called inside the block; None: those of the second network whose z
                teaches, in :meth:`refine`.

        Returns:
            A context with the list of features, which stays empty if no hints are given at this iteration.
        """
        if self.hint is None or not self.factor('l_hint', iteration):
            return nullcontext([])
        network = student or bare(self.teacher.average or self.spf).network
        return captured_features(network, self.hint.layer)

    def target(self, record: StepRecord, iteration: int) -> Tensor | None:
        """Return what the base's own losses compare y with, (N,C,H,W); None means the ground truth.

        Args:
            record: of the step.
            iteration: counted from 1.
        """
        if self.spd is None or self.spd.target != 'mix' or not self.teacher.teaches(iteration):
            return None
        return self.spd.mixed_target(record.restored, record.refined, record.gt, iteration, record.mask)

    def record(
        self, losses: dict[str, Tensor], restored: Tensor, refined: Tensor, supervision: Supervision
    ) -> StepRecord:
        """Return the record of a step, for the whole batch."""
        assert supervision.mask is not None
        images = to_single(restored.detach()), refined, supervision.gt, supervision.mask
        # The same names at each step and in all processes, whatever acts.
        none = refined.new_zeros((), dtype=torch.float32)
        shares = {f'share_{name[2:]}': none for name in self.losses}
        return StepRecord(losses, *images, partial(self.to_rgb, order=supervision.order), shares)

    def factor(self, name: str, iteration: int) -> float:
        """Return the factor of a student's loss at ``iteration``; 0 means that it is not computed.

        Args:
            name: of the loss, 'l_spd', 'l_sgr' or 'l_hint'.
            iteration: counted from 1.
        """
        loss = self.losses[name]
        acts = self.teacher.teaches(iteration) and loss.due(self.settings.step(iteration))
        return loss.factor(iteration) if acts else 0.0

    def share(self, name: str, iteration: int) -> float | None:
        """Return the share of the base's gradient that a loss's gradient gets at ``iteration``.

        It is the loss's weight times its factor; None for a loss whose gradient stays as it is (balance: none).
        Arguments as for :meth:`factor`.
        """
        loss = self.losses.get(name)
        if loss is None or loss.balance == 'none':
            return None
        return loss.loss_weight * self.factor(name, iteration)

    def formula(self) -> str:
        """Return a line for the log that says which losses train which network, and when."""
        spd, base = self.spd, 'L(base)'
        if spd is not None and spd.target == 'mix':
            place = {'advantage': 'images', 'region': 'regions', 'pixel': 'pixels'}.get(spd.gate)
            where = '' if place is None else f' in {place} where z is closer to gt than y'
            base = f'L(base, compared with {spd.mix:g}*z + {1 - spd.mix:g}*gt{where})'
            spd = None
        terms = [base]
        for name, loss in (('L_SPD', spd), ('L_SGR', self.sgr), ('L_hint', self.hint)):
            if loss is not None:
                share = ' (as a share of the gradient)' if loss.balance == 'gradient' else ''
                terms.append(f'{loss.loss_weight:g}*{name}{share}')
        parameters = sum(p.numel() for p in self.spf.parameters()) if isinstance(self.spf, nn.Module) else 0
        settings = self.settings
        times = [f'SPF {_every(settings.every)}']
        if self.sgr is not None and settings.accumulate == 1:
            times.append(f'SGR {_every(math.lcm(settings.every, self.sgr.every))}')
        details = {'ema': f', decay {settings.teacher_decay:g}', 'frozen': f' after iteration {settings.freeze_after}'}
        return (
            f'SAPD: L(student) = {" + ".join(terms)}; L_recon2 trains SPF alone ({parameters:,d} parameters). '
            f'{", ".join(times)}; teacher: {settings.teacher}{details.get(settings.teacher, "")}.'
        )


def _every(steps: int) -> str:
    return 'every step' if steps == 1 else f'every {steps} steps'

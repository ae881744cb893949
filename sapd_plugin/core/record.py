"""The record of one training step, for the framework's losses, log and pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class StepRecord:
    """Losses and images of one training step.

    Attributes:
        losses: {'l_spf', 'l_spd', 'l_sgr': scalar}, weighted, each attached to its graph. The keys are those of the
            configured losses, at every iteration.
        restored: y, (N,C,H,W), detached.
        refined: z, (N,C,H,W), detached.
        gt: ground truth, (N,C,H,W).
        mask: the label maps that were used, (N,1,H,W) integer.
        to_rgb: maps (N,C,H,W) of the training space to RGB (N,3,H,W), nominally in [0, 1].
    """

    losses: dict[str, Tensor]
    restored: Tensor
    refined: Tensor
    gt: Tensor
    mask: Tensor
    to_rgb: Callable[[Tensor], Tensor]

    def first(self) -> StepRecord:
        """Return a copy of the first sample alone, so that a kept record keeps neither batch nor graph alive."""
        images = {name: getattr(self, name)[:1].clone() for name in ('restored', 'refined', 'gt', 'mask')}
        return replace(self, losses={name: loss.detach() for name, loss in self.losses.items()}, **images)

    def psnrs(self) -> dict[str, Tensor]:
        """Return the PSNR in dB (RGB, peak 1, not clamped) of y and z: whether the teacher is ahead of the student.

        Returns:
            {'psnr_restored', 'psnr_refined': scalar}, over the whole batch; 100 at most.
        """
        gt = self.to_rgb(self.gt)
        errors = {'psnr_restored': self.to_rgb(self.restored) - gt, 'psnr_refined': self.to_rgb(self.refined) - gt}
        return {name: -10 * error.square().mean().clamp(min=1e-10).log10() for name, error in errors.items()}

    def photos(self, degraded: Tensor) -> list[Tensor]:
        """Return degraded, restored, refined and ground truth of the first sample, to be looked at.

        Args:
            degraded: (N,C,h,w) in the training space; scaled up to the ground truth's size by pixel repetition.

        Returns:
            Four (H,W,3) uint8 RGB tensors on the CPU.
        """
        degraded = F.interpolate(degraded[:1], size=self.gt.shape[-2:])
        images = (self.to_rgb(image[:1]) for image in (degraded, self.restored, self.refined, self.gt))
        return [(image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu() for image in images]

"""What one training step leaves behind for the log: losses, images, the mask."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.core.colour import ToRGB


class Step(NamedTuple):
    """One training step's losses (scalars by name), images (N,C,H,W), and mask (N,1,H,W) integer; all detached."""

    losses: dict[str, Tensor]
    restored: Tensor
    refined: Tensor
    gt: Tensor
    mask: Tensor

    def first(self) -> Step:
        """Return a copy of the first sample alone, so that a kept step keeps no batch alive."""
        return Step(self.losses, *(image[:1].clone() for image in self[1:]))  # type: ignore[attr-defined]

    def psnrs(self, to_rgb: ToRGB) -> dict[str, Tensor]:
        """PSNR in dB (RGB, peak 1, not clamped) of restored and refined: whether the teacher is ahead of the student.

        Returns:
            {'psnr_restored', 'psnr_refined': scalar}, over the whole batch; 100 at the most.
        """
        gt = to_rgb(self.gt)
        errors = {'psnr_restored': to_rgb(self.restored) - gt, 'psnr_refined': to_rgb(self.refined) - gt}
        return {name: -10 * error.square().mean().clamp(min=1e-10).log10() for name, error in errors.items()}

    def photos(self, degraded: Tensor, to_rgb: ToRGB) -> list[Tensor]:
        """Return degraded, restored, refined and ground truth of the first sample for looking at.

        Args:
            degraded: (N,C,h,w) in the training space; scaled up to the ground truth's size by pixel repetition.
            to_rgb: from the training space.

        Returns:
            Four (H,W,3) uint8 RGB tensors on the CPU.
        """
        degraded = F.interpolate(degraded[:1], size=self.gt.shape[-2:])
        images = (to_rgb(image[:1]) for image in (degraded, self.restored, self.refined, self.gt))
        return [(image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu() for image in images]

"""What a training step is given besides the restored image, and the record of it for losses, logs and images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Supervision:
    """What belongs to a batch of restored images.

    Attributes:
        gt: ground truth, (N,C,H,W) floating.
        mask: M, (N,1,H,W) integer, 0 = no mask; None if all masks are extracted online.
        degraded: x, (N,C,h,w) floating; None if it is not known.
        context: statistics of each region in the whole photo, (N,K+1,S) floating, row k for label k; or None.
        order: 'rgb' or 'bgr', the channel order of the images.
    """

    gt: Tensor
    mask: Tensor | None
    degraded: Tensor | None = None
    context: Tensor | None = None
    order: str = 'rgb'

    def part(self, samples: slice) -> Supervision:
        """Return some of the samples, without a copy."""
        tensors = {name: getattr(self, name) for name in ('gt', 'mask', 'degraded', 'context')}
        return replace(self, **{name: value[samples] for name, value in tensors.items() if value is not None})


@dataclass(frozen=True)
class StepRecord:
    """Losses and images of one training step.

    Attributes:
        losses: weighted scalars 'l_spf', 'l_spd', 'l_sgr' and 'l_hint', attached to their graphs. A configured loss is
            there at every iteration, and is 0 when its schedule says so.
        restored: y, (N,C,H,W), detached.
        refined: z, (N,C,H,W), detached.
        gt: ground truth, (N,C,H,W).
        mask: M, (N,1,H,W) integer.
        to_rgb: converts these images to RGB (N,3,H,W), nominally in [0, 1].
        shares: 'share_spd' and so on: the norm of a loss's gradient that was added to the student's, over the norm of
            the base's own gradient at the same tensor; 0 until the backward pass, and where nothing is added.
    """

    losses: dict[str, Tensor]
    restored: Tensor
    refined: Tensor
    gt: Tensor
    mask: Tensor
    to_rgb: Callable[[Tensor], Tensor]
    shares: dict[str, Tensor] = field(default_factory=dict)

    def first(self) -> StepRecord:
        """Return a copy of the first sample that keeps neither the batch nor the graph in memory."""
        images = {name: getattr(self, name)[:1].clone() for name in ('restored', 'refined', 'gt', 'mask')}
        return replace(self, losses={name: loss.detach() for name, loss in self.losses.items()}, **images)

    def psnrs(self) -> dict[str, Tensor]:
        """Return 'psnr_restored' and 'psnr_refined', the PSNR of y and z in dB over the whole batch, at most 100.

        The images are compared as RGB with peak 1, without clamping.
        """
        gt = self.to_rgb(self.gt)
        errors = {'psnr_restored': self.to_rgb(self.restored) - gt, 'psnr_refined': self.to_rgb(self.refined) - gt}
        return {name: -10 * error.square().mean().clamp(min=1e-10).log10() for name, error in errors.items()}

    def photos(self, degraded: Tensor) -> list[Tensor]:
        """Return the degraded, restored, refined and ground truth image of the first sample.

        Args:
            degraded: (N,C,h,w); enlarged to the size of the ground truth by nearest-neighbour interpolation.

        Returns:
            Four (H,W,3) uint8 RGB tensors on the CPU.
        """
        degraded = F.interpolate(degraded[:1], size=self.gt.shape[-2:])
        images = (self.to_rgb(image[:1]) for image in (degraded, self.restored, self.refined, self.gt))
        return [(image[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu() for image in images]

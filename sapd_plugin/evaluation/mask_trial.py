"""Do masks help a second network? SPF is trained on the images of a frozen student, with masks and without.

A network that was trained with masks is hurt by wrong ones, so its loss with another photo's masks overstates what
masks are worth. The measure is z with masks minus z of the mask-free twin: the same network, with the same initial
weights, patches and order, trained and tested with one region (docs/method.md, section Controls).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import check_count

# Which masks SPF gets in a test.
MASKS = ('own', 'shuffled', 'one_region')
# The error that rounding to 8 bits leaves: a smaller one does not count, or one perfect photo would rule the mean.
FINEST = 1 / (12 * 255**2)


@dataclass(frozen=True)
class Photo:
    """One photo for training or testing SPF.

    Attributes:
        name: for tables.
        gt: ground truth, (3,H,W) float in [0, 1], of any floating dtype.
        degraded: x, same shape and range, not clamped.
        restored: y, same shape.
        labels: M, (1,H,W) integer, 0 = no mask.
    """

    name: str
    gt: Tensor
    degraded: Tensor
    restored: Tensor
    labels: Tensor

    def images(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return gt, x and y in float32."""
        return self.gt.float(), self.degraded.float(), self.restored.float()


@dataclass(frozen=True)
class Plan:
    """Length and size of a trial's training.

    Args:
        iterations: number of steps.
        patch: side of the patches in pixels.
        batch: patches per step.
        lr: Adam's highest learning rate; it warms up over 50 steps and then falls as a cosine.

    Raises:
        SAPDError: a count below 1.
    """

    iterations: int = 700
    patch: int = 128
    batch: int = 4
    lr: float = 1.5e-3

    def __post_init__(self) -> None:
        for key in ('iterations', 'patch', 'batch'):
            check_count(key, getattr(self, key))


def log_mse(restored: Tensor, gt: Tensor) -> Tensor:
    """Return the mean over images of ``10 log10(MSE)``, in dB: the negative PSNR, as in NAFNet's PSNRLoss."""
    return (10 * ((restored - gt).square().mean((1, 2, 3)) + 1e-6).log10()).mean()


def train(
    network: nn.Module, loss: Callable[[tuple[Tensor, ...]], Tensor], photos: Sequence[Photo], plan: Plan, seed: int
) -> Iterator[int]:
    """Train a network on patches of the photos, and yield the number of finished steps.

    Two trainings with the same seed see the same patches in the same order, whatever their networks draw.

    Args:
        network: its parameters are trained.
        loss: maps a batch of gt, x, y, each (N,3,P,P), and labels (N,1,P,P) to a scalar.
        photos: to cut patches from; both sides are at least ``plan.patch``.
        plan: length and size.
        seed: of the patches, and of what the network draws.
    """
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(network.parameters(), plan.lr, betas=(0.9, 0.99))
    network.train()
    device = _device(network)
    for step in range(plan.iterations):
        rate = min(1.0, (step + 1) / 50) * (0.495 * (1 + np.cos(np.pi * step / plan.iterations)) + 0.01)
        for group in optimizer.param_groups:
            group['lr'] = plan.lr * rate
        batch = [_patch(photos[random.integers(len(photos))], plan.patch, random) for _ in range(plan.batch)]
        optimizer.zero_grad()
        loss(tuple(torch.stack(parts).to(device) for parts in zip(*batch))).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 5.0)
        optimizer.step()
        yield step + 1
    network.eval()


def spf_loss(spf: SPF) -> Callable[[tuple[Tensor, ...]], Tensor]:
    """Return the loss of SPF's own training on a frozen student: :func:`log_mse` of z."""

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        gt, degraded, restored, labels = batch
        return log_mse(spf(restored, labels, degraded), gt)

    return loss


@torch.no_grad()
def gains(spf: SPF, photos: Sequence[Photo], masks: str = 'own', patch: int | None = None) -> np.ndarray:
    """Return the PSNR of z minus that of y for each photo, in dB; images are clamped to [0, 1].

    Args:
        spf: in eval mode.
        photos: at least two for 'shuffled', all of one size.
        masks: 'own'; 'shuffled': those of a different photo; 'one_region': all pixels are one region.
        patch: refine tiles of this side, as training does, without what is left over at the bottom and on the right;
            None means complete photos, whose regions are larger than any in training.
    """
    found = []
    for index, photo in enumerate(photos):
        other = photos[(index + max(1, len(photos) // 2)) % len(photos)]
        labels = {'own': photo.labels, 'shuffled': other.labels, 'one_region': torch.ones_like(photo.labels)}[masks]
        parts = [_tiles(part, patch).to(_device(spf)) for part in (*photo.images(), labels.int())]
        gt, degraded, restored, mask = parts
        refined = spf(restored, mask, degraded)
        error_y, error_z = (float((image.clamp(0, 1) - gt).square().mean()) for image in (restored, refined))
        found.append(10 * np.log10(max(error_y, FINEST) / max(error_z, FINEST)))
    return np.array(found)


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters(), torch.empty(0)).device


def _tiles(image: Tensor, side: int | None) -> Tensor:
    """Cut (C,H,W) into tiles (N,C,side,side); None means one tile of the whole image."""
    if side is None:
        return image[None]
    tiles = image.unfold(1, side, side).unfold(2, side, side)
    return tiles.permute(1, 2, 0, 3, 4).flatten(0, 1)


def _patch(photo: Photo, side: int, random: np.random.Generator) -> tuple[Tensor, ...]:
    """Return a patch of gt, x, y and labels at a random place, flipped at random."""
    height, width = photo.gt.shape[-2:]
    top, left = random.integers(height - side + 1), random.integers(width - side + 1)
    flips = [axis for axis in (-1, -2) if random.integers(2)]
    parts = (*photo.images(), photo.labels.int())
    return tuple(part[..., top : top + side, left : left + side].flip(flips) for part in parts)

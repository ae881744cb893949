"""A training step of the core alone, which needs no framework: stock, or with SAM priors."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from functools import cache
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fixtures import photographs
from sapd_plugin.archs import NETWORKS
from sapd_plugin.core import (
    SPF,
    BranchRNG,
    DistillationHook,
    Distiller,
    SGRLoss,
    SPDLoss,
    StepSettings,
    Supervision,
    ToRGB,
    find_vgg,
)
from sapd_plugin.core.precision import GradScaler
from sapd_plugin.priors.segmenters import build_segmenter

GOPRO = {'enc_blk_nums': [1, 1, 1, 28], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1, 1, 1]}
# Name -> network and its settings. The sizes are those of the networks' authors.
STUDENTS: dict[str, tuple[str, dict[str, Any]]] = {
    'NAFNet-w32': ('NAFNet', {'width': 32, **GOPRO}),
    'HINet': ('HINet', {}),
    'Restormer': ('Restormer', {}),
}
TINY: dict[str, tuple[str, dict[str, Any]]] = {
    'NAFNet-w4': ('NAFNet', {'width': 4, 'enc_blk_nums': [1, 1], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1]}),
}


class Setting(NamedTuple):
    """Settings of the method that differ from its defaults, by the config block that they belong to."""

    spf: Mapping[str, Any] = {}
    spd: Mapping[str, Any] = {}
    sgr: Mapping[str, Any] = {}
    step: Mapping[str, Any] = {}


# What documentation and benchmarks compare.
SETTINGS = {
    'default': Setting(),
    'economy': Setting(sgr={'every': 10, 'image_scale': 0.5}, step={'every': 5}),
    'chunks: 4': Setting(step={'chunks': 4}),
    'every: 1': Setting(sgr={'every': 1}, step={'every': 1}),
}


class Batch(NamedTuple):
    """Degraded images, ground truth (N,3,H,W) in [0, 1], and masks (N,1,H,W) int32."""

    degraded: Tensor
    gt: Tensor
    mask: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""
        return Batch(*(tensor.to(device) for tensor in self))


@cache
def labelled_photographs() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return photographs, RGB uint8 (H,W,3), and felzenszwalb's label maps, int32 (H,W)."""
    segmenter = build_segmenter('felzenszwalb')
    return [(photo, segmenter(photo).labels.astype(np.int32)) for photo in photographs().values()]


def patches(count: int, side: int) -> Batch:
    """Return patches of photographs with noise of sigma 25, and their masks, on the CPU."""
    random, clean, masks = np.random.default_rng(0), [], []
    for photo, labels in islice(cycle(labelled_photographs()), count):
        top, left = (int(random.integers(length - side + 1)) for length in labels.shape)
        at = slice(top, top + side), slice(left, left + side)
        clean.append(torch.from_numpy(photo[at].copy()).permute(2, 0, 1))
        masks.append(torch.from_numpy(labels[at].copy())[None])
    gt = torch.stack(clean).float() / 255
    noise = torch.randn(gt.shape, generator=torch.Generator().manual_seed(0))
    return Batch((gt + noise * 25 / 255).clamp(0, 1), gt, torch.stack(masks))


class Training:
    """The training of one student on one batch.

    Args:
        student: builds the network; SPF's second network is another one.
        batch: on the training's device.
        setting: of SAPD; None trains the stock student.
        vgg: VGG-19 weights.
        dtype: half precision that the networks are autocast to; float16 is trained with a GradScaler.
        criterion: loss of (restored, ground truth).
        scale: the GradScaler's first loss scale; None means its default.
    """

    def __init__(
        self,
        student: Callable[[], nn.Module],
        batch: Batch,
        setting: Setting | None,
        vgg: Path,
        dtype: torch.dtype = torch.float32,
        criterion: Callable[[Tensor, Tensor], Tensor] = F.l1_loss,
        scale: float | None = None,
    ) -> None:
        self.batch, self.dtype, self.criterion = batch, dtype, criterion
        self.device = batch.gt.device
        torch.manual_seed(0)
        self.student = student().to(self.device).train()
        self.optimizer = torch.optim.AdamW(self.student.parameters(), lr=1e-4)
        scales = {} if scale is None else {'init_scale': scale}
        self.scaler = GradScaler(self.device.type, enabled=dtype == torch.float16, **scales)
        self.distiller: Distiller | None = None
        if setting is not None:
            self.branch = SPF(student(), **setting.spf).to(self.device).train()
            self.distiller = Distiller(
                self.branch,
                criterion,
                SPDLoss(**setting.spd),
                SGRLoss(weights=vgg, **setting.sgr),
                ToRGB(),
                BranchRNG(0, self.device),
                settings=StepSettings(**setting.step),
            ).to(self.device)
            find = {'find_scaler': lambda: self.scaler, 'device': self.device}
            self.hook = DistillationHook(self.student, self.distiller, 'student', **find)
            self.branch_optimizer = torch.optim.AdamW(self.branch.parameters(), lr=1e-4)

    def __call__(self, iteration: int) -> None:
        """Train for one step."""
        self.gradients(iteration)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.distiller is not None and self.distiller.due(iteration):
            self.hook.scaler.step(self.branch_optimizer)

    def gradients(self, iteration: int) -> None:
        """Compute the gradients of a step."""
        self.optimizer.zero_grad()
        attached: Any = nullcontext()
        if self.distiller is not None and self.distiller.due(iteration):
            self.branch_optimizer.zero_grad()
            attached = self.hook.attach(Supervision(self.batch.gt, self.batch.mask, self.batch.degraded), iteration)
        with attached:
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                restored = self.student(self.batch.degraded)
            images = restored if isinstance(restored, (list, tuple)) else [restored]
            loss = sum(self.criterion(image.float(), self.batch.gt) for image in images)
            self.scaler.scale(loss).backward()

    def networks(self) -> list[nn.Module]:
        """Return the modules that the training holds in memory."""
        return [self.student] if self.distiller is None else [self.student, self.distiller]

    def optimizers(self) -> list[torch.optim.Optimizer]:
        """Return the optimizers that the training holds in memory."""
        return [self.optimizer] if self.distiller is None else [self.optimizer, self.branch_optimizer]


def builder(network: str, settings: Mapping[str, Any]) -> Callable[[], nn.Module]:
    """Return a function that builds a network of the plugin."""
    return lambda: NETWORKS[network](**settings)


def vgg_weights(folder: Path | None = None) -> Path:
    """Return VGG-19 weights: the ones that SGR finds, or else random ones, which cost as much."""
    found = find_vgg()
    if found is not None:
        return found
    from torchvision.models import vgg19

    path = Path(folder or tempfile.mkdtemp()) / 'vgg19_random.pth'
    torch.manual_seed(0)
    torch.save({f'features.{name}': value for name, value in vgg19().features.state_dict().items()}, path)
    return path

"""What arrives of SPD's gradient at the student's image under autocast and loss scaling."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.fixtures import Row
from benchmarks.training import TINY, Batch, Setting, Training, builder, patches

SHARE = 0.1
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
SCALES = (1.0, 65536.0)


def psnr_loss(restored: Tensor, gt: Tensor) -> Tensor:
    """Return the negative PSNR, the loss of NAFNet and HINet, whose gradient is far larger than that of L1."""
    return 10 * F.mse_loss(restored, gt).log10()


CRITERIA: dict[str, Callable[[Tensor, Tensor], Tensor]] = {'L1': F.l1_loss, 'PSNR loss': psnr_loss}


class Case(NamedTuple):
    """One combination that is measured; ``scale`` is a GradScaler's, for float16."""

    dtype: torch.dtype
    scale: float
    criterion: str


CASES = [
    Case(dtype, scale, criterion)
    for dtype in DTYPES
    for scale in (SCALES if dtype == torch.float16 else SCALES[:1])
    for criterion in CRITERIA
]


def arrived(batch: Batch, case: Case, vgg: Path) -> float:
    """Return the norm of what SAPD adds to the gradient at the student's image, over the norm of the base's own.

    SPD is balanced to `SHARE`; SGR does not take part.
    """
    total, own = (_gradient(batch, case, vgg, weight) for weight in (SHARE, 0.0))
    return float(torch.linalg.vector_norm(total - own) / torch.linalg.vector_norm(own))


def _gradient(batch: Batch, case: Case, vgg: Path, weight: float) -> Tensor:
    [(network, settings)] = TINY.values()
    setting = Setting(
        {'mask_dropout': 0.0},
        {'loss_weight': weight, 'gate': 'none', 'balance': 'gradient'},
        {'loss_weight': 0.0},
        {'every': 1},
    )
    training = Training(
        builder(network, settings), batch, setting, vgg, case.dtype, CRITERIA[case.criterion], case.scale
    )
    images: list[Tensor] = []

    def keep(module: nn.Module, args: object, image: Tensor) -> None:
        if torch.is_grad_enabled():
            image.retain_grad()
            images.append(image)

    training.student.register_forward_hook(keep)
    training.gradients(iteration=1)
    gradient = images[0].grad
    assert gradient is not None
    return gradient.double()


def run(device: torch.device, vgg: Path) -> list[Row]:
    """Measure each dtype, loss scale and base loss."""
    batch = patches(2, 64).to(device)
    return [
        Row(f'{name_of(case)}: share of SPD (bar: {SHARE} +- 10 %)', arrived(batch, case, vgg), '') for case in CASES
    ]


def name_of(case: Case) -> str:
    """Return the case's name in a table."""
    scale = f', loss scale {case.scale:.0f}' if case.dtype == torch.float16 else ''
    return f'{str(case.dtype).removeprefix("torch.")}{scale}, {case.criterion}'

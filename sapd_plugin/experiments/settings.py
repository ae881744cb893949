"""What the command line says about all cells."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Launch:
    """How training is started: alone, on several GPUs by torchrun, or by Slurm's srun with the given arguments."""

    gpus: int = 1
    slurm: str | None = None

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that starts a training module of an adapter, which knows ``--launcher``."""
        if self.slurm is not None:
            srun = ['srun', *shlex.split(self.slurm), f'--ntasks={self.gpus}', '--kill-on-bad-exit=1']
            return [*srun, sys.executable, '-m', module, *arguments, '--launcher', 'slurm']
        if self.gpus > 1:
            torchrun = ['-m', 'torch.distributed.run', f'--nproc-per-node={self.gpus}']
            return [sys.executable, *torchrun, '-m', module, *arguments, '--launcher', 'pytorch']
        return [sys.executable, '-m', module, *arguments]


@dataclass(frozen=True)
class Settings:
    """What the command line says about all cells.

    Attributes:
        root: folder of results.
        data: the folder that ``datasets/`` stands for.
        checkpoints: folder of the authors' checkpoints.
        launch: how training is started; its processes share the batch.
        cuda: whether there is a GPU to train on.
        iterations: of a shorter or longer training, whose schedule is stretched; None: as published.
        batch: images per step in all processes; None: as published.
        tests: test sets to restrict tests to; empty: all of the table.
        masks: a mask store to use; None: masks are extracted.
        mask_source: the images that masks are extracted from: 'restored' by the stock student, 'target', 'input'.
        segmenter: arguments of ``sapd extract-masks`` that name the segmenter.
        vgg: VGG-19's weights; None: SGRLoss looks for them.
        save_images: keep the restored images.
    """

    root: Path
    data: Path
    checkpoints: Path
    launch: Launch
    cuda: bool = False
    iterations: int | None = None
    batch: int | None = None
    tests: tuple[str, ...] = ()
    masks: Path | None = None
    mask_source: str = 'restored'
    segmenter: tuple[str, ...] = ('--segmenter', 'sam')
    vgg: Path | None = None
    save_images: bool = False

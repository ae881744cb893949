"""What the command line of tools/reproduce.py says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sapd_plugin.experiments.framework import Launch


@dataclass(frozen=True)
class Settings:
    """What the command line says about all cells.

    Attributes:
        root: folder of results.
        data: the folder that ``datasets/`` stands for.
        checkpoints: folder of the authors' checkpoints.
        launch: how training is started.
        cuda: whether there is a GPU to train on.
        iterations, batch: of the training, in place of the published ones.
        tests: test sets to leave it at; empty: all of the table.
        masks: a mask store to use; None: cut masks.
        mask_source: which images are cut: 'restored' by the stock student, 'target', 'input'.
        segmenter: arguments of tools/extract_masks.py that say how.
        vgg: VGG-19's weights.
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

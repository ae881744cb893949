"""A picture of what two students restore: degraded, stock, SAPD, refined, ground truth, masks, a row per photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sapd_plugin.evaluation.teacher import Teacher
from sapd_plugin.experiments.run import Run
from sapd_plugin.metrics.quality import psnr
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlays import arrange, write_png
from sapd_plugin.priors.inspection.pictures import overlay
from sapd_plugin.priors.segmenters import Segmenter

TILE = 224  # side of what is shown of a photo, in pixels
_STEP = 32  # of the grid that the tile is looked for on


def draw_picture(path: Path, stock: Run, sapd: Run, segmenter: Segmenter, photos: int = 3) -> None:
    """Write one PNG with a row per test photo.

    Args:
        path: of the PNG.
        stock: a finished BasicSR run of the stock student.
        sapd: a finished run of the same network with SAM priors.
        segmenter: extracts the masks of what the SAPD student restores.
        photos: how many photos of the first test set are shown, by name.
    """
    spf, pairs = sapd.student.with_name('net_spf_latest.pth'), sapd.test_sets[0].folder
    teacher = Teacher(sapd.config, sapd.student, spf, stock.student)
    tiles = []
    for file in sorted((pairs / 'target').glob('*.png'))[:photos]:
        degraded, target = read_image(pairs / 'input' / file.name), read_image(file)
        labels = segmenter(_to_bytes(teacher.restore(degraded, {})['y'])).labels
        restored = {name: _to_bytes(image) for name, image in teacher.restore(degraded, {'z': labels}).items()}
        images = {'degraded': degraded, 'stock': restored['stock'], 'SAPD': restored['y'], 'refined z': restored['z']}
        window = _most_detailed(labels)
        for name, image in images.items():
            tiles.append((f'{name} {psnr(image.astype(float), target):.2f} dB', image[window]))
        tiles.append(('ground truth', target[window]))
        tiles.append((f'masks: {int(labels.max())} regions', overlay(target, labels)[window]))
    write_png(path, arrange(tiles, 6, TILE))


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return (image * 255).round().astype(np.uint8)


def _most_detailed(labels: np.ndarray) -> tuple[slice, slice]:
    """Return the tile that holds the most regions, on a coarse grid."""
    tops, lefts = (range(0, max(1, side - TILE + 1), _STEP) for side in labels.shape)
    tiles: Sequence[tuple[slice, slice]] = [
        (slice(top, top + TILE), slice(left, left + TILE)) for top in tops for left in lefts
    ]
    return max(tiles, key=lambda tile: len(np.unique(labels[tile])))

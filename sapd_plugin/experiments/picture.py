"""A picture of what two students restore: degraded, stock, SAPD, refined, ground truth, masks, a row per photo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from sapd_plugin.evaluation.teacher import Teacher
from sapd_plugin.experiments.run import Run
from sapd_plugin.priors.extraction.images import read_image
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
    rows = []
    for file in sorted((pairs / 'target').glob('*.png'))[:photos]:
        degraded, target = read_image(pairs / 'input' / file.name), read_image(file)
        labels = segmenter(_to_bytes(teacher.restore(degraded, {})['y'])).labels
        restored = {name: _to_bytes(image) for name, image in teacher.restore(degraded, {'z': labels}).items()}
        tiles = {
            'degraded': degraded,
            'stock': restored['stock'],
            'SAPD': restored['y'],
            'refined z': restored['z'],
            'ground truth': target,
        }
        window = _most_detailed(labels)
        row = [_captioned(tile[window], f'{name}{_psnr(tile, target)}') for name, tile in tiles.items()]
        row.append(_captioned(overlay(target, labels)[window], f'masks: {int(labels.max())} regions'))
        rows.append(np.concatenate(row, axis=1))
    Image.fromarray(np.concatenate(rows)).save(path)


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return (image * 255).round().astype(np.uint8)


def _psnr(image: np.ndarray, target: np.ndarray) -> str:
    error = np.square(image.astype(float) - target).mean()
    return f' {10 * np.log10(255**2 / error):.2f} dB' if error else ''


def _most_detailed(labels: np.ndarray) -> tuple[slice, slice]:
    """Return the tile that holds the most regions, on a coarse grid."""
    tops, lefts = (range(0, max(1, side - TILE + 1), _STEP) for side in labels.shape)
    tiles: Sequence[tuple[slice, slice]] = [
        (slice(top, top + TILE), slice(left, left + TILE)) for top in tops for left in lefts
    ]
    return max(tiles, key=lambda tile: len(np.unique(labels[tile])))


def _captioned(tile: np.ndarray, text: str) -> np.ndarray:
    canvas = Image.new('RGB', (TILE + 4, TILE + 20), 'white')
    canvas.paste(Image.fromarray(np.ascontiguousarray(tile)), (2, 18))
    ImageDraw.Draw(canvas).text((4, 3), text, fill='black')
    return np.asarray(canvas)

"""What the quickstart shows at its end: a table and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from basicsr.archs import build_network
from PIL import Image, ImageDraw
from torch import nn

from sapd_plugin.evaluation.cost import Cost
from sapd_plugin.priors.inspection.pictures import overlay
from sapd_plugin.priors.store import MaskStore

TILE = 224


def load(block: dict[str, Any], checkpoint: Path, key: str) -> nn.Module:
    """Build a registered network and load a checkpoint strictly."""
    network = build_network(block)
    network.load_state_dict(torch.load(checkpoint, map_location='cpu', weights_only=True)[key], strict=True)
    return network.eval()


def table(rows: list[tuple[str, dict[str, float], Cost]]) -> str:
    """Format (name, metrics, cost) as Markdown."""
    lines = [
        '| student | PSNR (dB) | SSIM | parameters | MACs (G) | time (ms) |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for name, metrics, cost in rows:
        lines.append(
            f'| {name} | {metrics["psnr"]:.4f} | {metrics["ssim"]:.4f} | {cost.parameters:,d} | {cost.macs / 1e9:.3f} '
            f'| {cost.milliseconds:.1f} |'
        )
    return '\n'.join(lines)


@torch.no_grad()
def picture(target: Path, pairs: Path, restored: dict[str, Path], spf: nn.Module, store: MaskStore) -> None:
    """Write one PNG, a row a test photo: degraded, baseline, SAPD, refined image z, ground truth, masks.

    Args:
        target: file to write.
        pairs: folder with degraded/ and clean/.
        restored: folder and name template of each student's restored images, by caption; the second one is refined.
        spf: the trained SPF branch.
        store: masks of the second student's restored images.
    """
    rows = []
    for clean_file in sorted((pairs / 'clean').glob('*.png'))[:3]:
        name = clean_file.stem
        clean = read(clean_file)
        tiles = {'degraded': read(pairs / 'degraded' / clean_file.name)}
        for caption, folder in restored.items():
            (file,) = folder.glob(f'{name}_*.png')
            tiles[caption] = read(file)
        labels = store.record(file.stem).labels()
        mask = torch.from_numpy(labels.astype(np.int32))[None, None]
        tiles['refined z'] = to_image(spf(to_tensor(tiles[caption]), mask))
        tiles['ground truth'] = clean
        window = _detailed(labels)
        row = [_caption(tile[window], f'{caption}{_psnr(tile, clean)}') for caption, tile in tiles.items()]
        row.append(_caption(overlay(clean, labels)[window], f'masks: {int(labels.max())} regions'))
        rows.append(np.concatenate(row, axis=1))
    width = max(row.shape[1] for row in rows)
    rows = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows]
    Image.fromarray(np.concatenate(rows)).save(target)


def read(file: Path) -> np.ndarray:
    """Read a photo as RGB uint8 (H,W,3)."""
    return np.ascontiguousarray(cv2.imread(str(file))[..., ::-1])


def to_tensor(photo: np.ndarray) -> torch.Tensor:
    """RGB uint8 (H,W,3) to (1,3,H,W) in [0, 1]."""
    return torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255


def to_image(tensor: torch.Tensor) -> np.ndarray:
    """(1,3,H,W) in [0, 1] to RGB uint8 (H,W,3)."""
    return (tensor[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def _psnr(image: np.ndarray, clean: np.ndarray) -> str:
    error = np.square(image.astype(float) - clean).mean()
    return f' {10 * np.log10(255**2 / error):.2f} dB' if error else ''


def _detailed(labels: np.ndarray) -> tuple[slice, slice]:
    """The window of side TILE that holds the most regions, on a coarse grid."""
    height, width = labels.shape
    tops = range(0, max(1, height - TILE + 1), 32)
    lefts = range(0, max(1, width - TILE + 1), 32)
    top, left = max(
        ((t, x) for t in tops for x in lefts),
        key=lambda at: len(np.unique(labels[at[0] : at[0] + TILE, at[1] : at[1] + TILE])),
    )
    return slice(top, top + TILE), slice(left, left + TILE)


def _caption(tile: np.ndarray, text: str) -> np.ndarray:
    canvas = Image.new('RGB', (TILE + 4, TILE + 20), 'white')
    canvas.paste(Image.fromarray(np.ascontiguousarray(tile)), (2, 18))
    ImageDraw.Draw(canvas).text((4, 3), text, fill='black')
    return np.asarray(canvas)

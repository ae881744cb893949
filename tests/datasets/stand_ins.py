"""Tiny stand-ins for downloaded datasets, in the layouts that the manifests describe."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import scipy.io

from sapd_plugin.datasets.manifest import Layout, Part, load_manifest

SAMPLES = ('{}', 'GOPR0372_07_0{}', '000{}_x')
"""Values for a field, the first that its expression accepts."""


def picture(seed: str, size: tuple[int, int] = (24, 32)) -> np.ndarray:
    """A smooth picture that differs from any other's, (H,W,3) uint8."""
    random = np.random.default_rng(list(seed.encode()))
    return cv2.resize(random.integers(0, 256, (4, 4, 3), dtype=np.uint8), size[::-1], interpolation=cv2.INTER_LINEAR)


def write(path: Path, size: tuple[int, int] = (24, 32), like: str | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture(like or str(path.name), size))
    return path


def fill(pattern: str, number: int) -> str:
    """A path that a pattern matches; equal fields get equal values."""

    def value(field: re.Match[str]) -> str:
        expression = field[2] or '.+?'
        choices = [] if re.search(r'[\\.+?*]', expression) else expression.split('|')
        samples = [*choices, *(sample.format(number) for sample in SAMPLES)]
        return next(sample for sample in samples if re.fullmatch(expression, sample))

    return re.sub(r'\{(\w+)(?::([^{}]*))?\}', value, pattern)


def make_part(root: Path, layout: Layout, count: int, size: tuple[int, int] = (24, 32)) -> None:
    """Write ``count`` images or pairs in a layout; for MATLAB blocks, ``count`` scenes of two blocks."""
    lines = []
    for number in range(1, count + 1):
        paths = [fill(pattern.text, number) for pattern in (layout.input, layout.target) if pattern is not None]
        if layout.blocks:
            continue
        for path in paths:
            write(root / f'{path}.png', size)
        lines.append(' '.join(f'{path}.png' for path in reversed(paths)) + '\n')
    if layout.pairs_file is not None:
        (root / layout.pairs_file).write_text(''.join(lines), encoding='utf-8')
    if layout.blocks:
        make_blocks(root / layout.input.text, root / layout.target.text, count)


def make_blocks(noisy: Path, clean: Path, scenes: int) -> dict[str, np.ndarray]:
    arrays = {}
    for path, variable in ((noisy, 'ValidationNoisyBlocksSrgb'), (clean, 'ValidationGtBlocksSrgb')):
        path.parent.mkdir(parents=True, exist_ok=True)
        array = np.random.default_rng(len(arrays)).integers(0, 256, (scenes, 2, 16, 16, 3), dtype=np.uint8)
        scipy.io.savemat(path, {variable: array})
        arrays[variable] = array
    return arrays


def make_split(root: Path, parts: tuple[Part, ...], layout: int, count: int) -> None:
    """Write a split's stand-in, each part in its layout of that number (or its last)."""
    for part in parts:
        make_part(root, part.layouts[min(layout, len(part.layouts) - 1)], count)


def gopro(folder: Path, count: int) -> list[str]:
    """Write pairs of GoPro's training split to folder/source; return the command that prepares them in folder/out."""
    make_split(folder / 'source', load_manifest('gopro').splits['train'], 0, count)
    places = ['--source', str(folder / 'source'), '--output', str(folder / 'out')]
    return ['gopro', *places, '--split', 'train', '--any-count']


def tree(folder: Path) -> dict[str, bytes]:
    """Contents of all files that a training would see, by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob('*'))
        if path.is_file() and not any(part.startswith('.') for part in path.relative_to(folder).parts)
    }

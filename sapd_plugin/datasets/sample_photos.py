"""Degraded/clean pairs for the quickstart: scikit-image's own photographs with noise, or a user's folder."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import skimage.data

from sapd_plugin.errors import SAPDError
from sapd_plugin.texts import read_record

FOLDERS = (
    ('degraded', 'clean'),
    ('input', 'target'),
    ('lq', 'gt'),
    ('noisy', 'clean'),
    ('rainy', 'clean'),
    ('blur', 'sharp'),
    ('blurred', 'sharp'),
)
SIDE = 448  # larger photos are center-cropped, so that testing on a CPU takes seconds
SIGMA = 25  # of the noise on the embedded photographs, on the 0-255 scale
IMAGES = ('.png', '.jpg', '.jpeg', '.bmp')


def embedded_photos() -> dict[str, dict[str, np.ndarray]]:
    """Return photographs that scikit-image ships, RGB uint8, by phase and name."""
    return {
        'train': {
            'coffee': skimage.data.coffee(),
            'chelsea': skimage.data.chelsea(),
            'motorcycle': skimage.data.stereo_motorcycle()[0],
            'hubble': skimage.data.hubble_deep_field(),
        },
        'test': {'astronaut': skimage.data.astronaut(), 'rocket': skimage.data.rocket()},
    }


def make_pairs(output: Path, data: Path | None, seed: int) -> str:
    """Write output/{train,test}/{input,target}/NAME.png, and return a one-line description of the pairs.

    Args:
        output: folder to write to.
        data: user's folder with two sub-folders (see FOLDERS) of files with equal names; the last fifth is for testing.
            None means the embedded photographs with Gaussian noise of SIGMA.
        seed: of the noise.

    Raises:
        SAPDError: no such folders, fewer than two pairs, names without a counterpart, or other pairs in ``output``.
    """
    source, record = {'data': data and str(data.resolve()), 'seed': seed}, output / 'source.json'
    if record.is_file():
        found = read_record(record, 'the source of the pairs beside it')
        for key, value in source.items():
            if found.get(key) != value:
                raise SAPDError(
                    f'--output: {output} holds pairs with {key} = {found.get(key)}, expected {value}. Name another '
                    'folder, or delete it.'
                )
    description = _embedded_pairs(output, seed) if data is None else _copy_pairs(output, data)
    record.write_text(json.dumps(source), encoding='utf-8')
    return description


def _embedded_pairs(output: Path, seed: int) -> str:
    for phase, photos in embedded_photos().items():
        for number, (name, photo) in enumerate(photos.items()):
            clean = _middle(photo[..., ::-1])
            noise = np.random.default_rng([seed, number]).normal(0, SIGMA, clean.shape)
            degraded = (clean + noise).round().clip(0, 255).astype(np.uint8)
            _write(output / phase, name, degraded, clean)
    return f"scikit-image's photographs with Gaussian noise, sigma {SIGMA}"


def _copy_pairs(output: Path, data: Path) -> str:
    if not data.is_dir():
        raise SAPDError(f'--data: no folder {data}.')
    found = next((pair for pair in FOLDERS if all((data / side).is_dir() for side in pair)), None)
    if found is None:
        inside = sorted(p.name for p in data.iterdir() if p.is_dir()) or 'no folders'
        expected = ', '.join(f'{a}/ and {b}/' for a, b in FOLDERS)
        raise SAPDError(f'--data: found {inside} in {data}, expected one of these pairs of folders: {expected}.')
    sides = [
        {p.stem: p for p in (data / side).iterdir() if p.suffix.lower() in IMAGES and p.is_file()} for side in found
    ]
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        raise SAPDError(f'--data: {len(alone)} images have no counterpart of the same name, the first: {alone[0]}.')
    names = sorted(sides[0])
    if len(names) < 2:
        raise SAPDError(f'--data: found {len(names)} pairs in {data}, expected at least 2 (one is for testing).')
    testing = max(1, len(names) // 5)
    for number, name in enumerate(names):
        phase = 'test' if number >= len(names) - testing else 'train'
        pair = [cv2.imread(str(side[name])) for side in sides]
        if any(image is None for image in pair) or pair[0].shape != pair[1].shape:
            raise SAPDError(f"--data: '{name}' is unreadable, or its two images differ in size.")
        _write(output / phase, name, *(_middle(image) for image in pair))
    return f'{len(names) - testing} training and {testing} test pairs of {data}'


def _middle(image: np.ndarray) -> np.ndarray:
    top, left = (max(0, (size - SIDE) // 2) for size in image.shape[:2])
    return np.ascontiguousarray(image[top : top + SIDE, left : left + SIDE])


def _write(folder: Path, name: str, degraded: np.ndarray, clean: np.ndarray) -> None:
    for side, image in (('input', degraded), ('target', clean)):
        (folder / side).mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / side / f'{name}.png'), image)

"""Overlays of a store's masks on their photos, and contact sheets of many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.sources import Photos
from sapd_plugin.priors.inspection.pictures import overlay, region_colours
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import nearest_keys

_CAPTION = 18


def choose_keys(store: MaskStore, wanted: Sequence[str], seed: int = 0) -> list[str]:
    """Return the keys that a user asked for: by name, or a number of random ones.

    Raises:
        SAPDError: the store has no mask with a name; the nearest names are listed.
    """
    keys = store.keys()
    if len(wanted) == 1 and wanted[0].isdecimal() and wanted[0] not in keys:
        count = min(int(wanted[0]), len(keys))
        return [keys[i] for i in sorted(np.random.default_rng(seed).permutation(len(keys))[:count])]
    for key in wanted:
        if key not in store:
            raise SAPDError(f"--overlays: found no mask for '{key}', expected a key like {nearest_keys(key, keys)}.")
    return list(wanted)


def draw(store: MaskStore, key: str, photos: Photos | None = None) -> np.ndarray:
    """Draw one mask over its photo, or only its colors without photos, as (H,W,3) uint8 RGB.

    A photo of a different size, such as the low-resolution one, is resized to the mask.

    Raises:
        SAPDError: the photo is missing or cannot be read.
    """
    labels = store.record(key).labels()
    if photos is None:
        return region_colours(labels)
    name = photos.names.get(key)
    if name is None:
        raise SAPDError(f"images: found no photo for '{key}' in {photos.place}, expected the images of the store.")
    photo = photos.read(name)
    if photo.shape[:2] != labels.shape:
        photo = cv2.resize(photo, labels.shape[::-1], interpolation=cv2.INTER_CUBIC)
    return overlay(photo, labels)


def write_overlays(store: MaskStore, keys: Sequence[str], folder: Path, photos: Photos | None = None) -> list[Path]:
    """Write a PNG for each key: ``folder/key.png``. Returns the files written. Raises as `draw` does."""
    written = []
    for key in keys:
        target = folder / f'{key}.png'
        target.parent.mkdir(parents=True, exist_ok=True)
        write_png(target, draw(store, key, photos))
        written.append(target)
    return written


def contact_sheet(
    store: MaskStore, keys: Sequence[str], photos: Photos | None = None, columns: int = 6, side: int = 200
) -> np.ndarray:
    """Draw masks as `draw` does and `arrange` them on one sheet, in the order of ``keys``, each with its key below.

    Raises:
        SAPDError: there are no keys, or as for `draw`.
    """
    if not keys:
        raise SAPDError(f'contact sheet: found no keys, expected some of the {len(store)} of {store.path}.')
    return arrange(((key, draw(store, key, photos)) for key in keys), columns, side)


def arrange(pictures: Iterable[tuple[str, np.ndarray]], columns: int, side: int) -> np.ndarray:
    """Put pictures on one sheet, row by row, each with its caption below.

    Args:
        pictures: (caption, (H,W,3) uint8 RGB) each, at least one. Long captions are cut at the start.
        columns: pictures per row.
        side: length in pixels of a picture's longer side.

    Returns:
        (H,W,3) uint8 RGB.
    """
    tiles = [_tile(caption, picture, side) for caption, picture in pictures]
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    sheet = np.full((sum(max(map(len, row)) for row in rows), len(rows[0]) * side, 3), 255, np.uint8)
    top = 0
    for row in rows:
        for i, tile in enumerate(row):
            sheet[top : top + len(tile), i * side : (i + 1) * side] = tile
        top += max(map(len, row))
    return sheet


def _tile(caption: str, picture: np.ndarray, side: int) -> np.ndarray:
    scale = side / max(picture.shape[:2])
    width, height = (max(1, round(length * scale)) for length in picture.shape[1::-1])
    tile = np.full((height + _CAPTION, side, 3), 255, np.uint8)
    tile[:height, :width] = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    # OpenCV draws only ASCII. The end of a path matters most.
    text = caption.encode('ascii', 'replace').decode()[-side // 7 :]
    at = (2, height + _CAPTION - 5)
    return cv2.putText(tile, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.38, (0, 0, 0), 1, cv2.LINE_AA)


def write_png(path: Path, image: np.ndarray) -> None:
    """Write an RGB image; the path may hold any characters."""
    path.write_bytes(cv2.imencode('.png', image[:, :, ::-1])[1].tobytes())

"""Folders of pairs, and the mask store that belongs to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.evaluation.arms import by_key
from sapd_plugin.priors.extraction.images import load_image
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import template_key
from sapd_plugin.priors.verification import ImageFile, verify_images

Pairs = Mapping[str, tuple[Path, Path]]
"""Degraded and clean image by name without extension."""


def find_pairs(folder: Path, limit: int | None = None, option: str = '--pairs') -> dict[str, tuple[Path, Path]]:
    """Pair ``input/X`` with ``target/X``, by name without extension; the first ``limit`` by name.

    Raises:
        SAPDError: a folder or a counterpart is missing, or two images of a folder have one name.
    """
    sides = []
    for side in ('input', 'target'):
        if not (folder / side).is_dir():
            raise SAPDError(f'{option}: found no folder {folder / side}, expected input/ and target/ in {folder}.')
        sides.append(by_key(option, folder / side))
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        raise SAPDError(f'{option}: found {alone[0]} in only one of input/ and target/ of {folder}, expected pairs.')
    return {key: (sides[0][key], sides[1][key]) for key in sorted(sides[0])[:limit]}


def match_masks(store: MaskStore, pairs: Pairs, template: str) -> tuple[dict[str, str], str]:
    """Return the key of each pair's mask, and a sentence on how far the images were compared with their masks.

    Args:
        store: of --masks, for messages.
        pairs: the images.
        template: how the store names an image called '{}'.

    Raises:
        SAPDError: the store lacks a mask, or holds that of a different image.
    """
    keys = {key: template_key(key, template) for key in pairs}
    missing = [key for key in keys.values() if key not in store]
    if missing:
        raise SAPDError(
            f'--masks: {store.path} has no masks for {len(missing)} of {len(keys)} images, among them '
            f"'{missing[0]}'.{nearest(missing[0], store.keys())}"
        )
    files = [
        (keys[key], [ImageFile(str(path), partial(load_image, path)) for path in reversed(pair)])
        for key, pair in pairs.items()
    ]
    return keys, verify_images('--masks', store, files)

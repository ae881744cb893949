"""The photos of the study, and which of them validate."""

from __future__ import annotations

from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import list_images

COUNT, EVERY, FIRST, VALIDATION = 365, 9, 4, 40
"""Of the sorted photos every 9th from the 5th on, the first 40 of these, is for validation."""

Photos = dict[str, Path]
"""Photos by name, sorted."""


def list_photos(option: str, folder: Path, count: int | None) -> Photos:
    """List a folder of images, sorted by name.

    Args:
        option: of the command line, for messages.
        folder: of images, without sub-folders of equal names.
        count: how many there have to be; None: any number.

    Raises:
        SAPDError: no such folder, another number, or two images of one name.
    """
    if not folder.is_dir():
        raise SAPDError(f'{option}: found no folder {folder}, expected one of images.')
    files, _ = list_images(folder)
    photos: Photos = {}
    for path in files:
        if photos.setdefault(path.stem, path) != path:
            raise SAPDError(f'{option}: found {photos[path.stem]} and {path}, expected one image of that name.')
    if count is not None and len(photos) != count:
        raise SAPDError(f'{option}: found {len(photos)} images in {folder}, expected {count}; --any-count takes them.')
    return dict(sorted(photos.items()))


def split_photos(photos: Photos) -> dict[str, Photos]:
    """Split the training photos into ``train`` and ``val``.

    >>> split = split_photos({f'{i:03}': Path(f'{i:03}.jpg') for i in range(365)})
    >>> len(split['train']), len(split['val']), list(split['val'])[:2]
    (325, 40, ['004', '013'])
    """
    names = sorted(photos)
    chosen = set(names[FIRST::EVERY][:VALIDATION])
    return {
        'train': {name: photos[name] for name in names if name not in chosen},
        'val': {name: photos[name] for name in names if name in chosen},
    }

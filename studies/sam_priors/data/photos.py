"""The photos of the study, and which of them validate."""

from __future__ import annotations

from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import list_images

COUNT = 365
# Of the sorted photos every 9th from the 5th on, the first 40 of these, validate.
EVERY, FIRST, VALIDATION = 9, 4, 40

Photos = dict[str, Path]
"""Photos by name, sorted."""


def list_photos(option: str, folder: Path, count: int | None) -> Photos:
    """List a folder of images, sorted by name.

    Args:
        option: of the command line, for messages.
        folder: searched with its sub-folders.
        count: number of images that there have to be; None: any.

    Raises:
        SAPDError: there is no such folder, a different number of images, or two images of one name.
    """
    if not folder.is_dir():
        raise SAPDError(f'{option}: found no folder {folder}, expected one of images.')
    photos: Photos = {}
    for path in list_images(folder)[0]:
        if photos.setdefault(path.stem, path) != path:
            raise SAPDError(f'{option}: found {photos[path.stem]} and {path}, expected one image of that name.')
    if count is not None and len(photos) != count:
        raise SAPDError(f'{option}: found {len(photos)} images in {folder}, expected {count}; --any-count takes them.')
    return dict(sorted(photos.items()))


def split_photos(photos: Photos) -> dict[str, Photos]:
    """Split sorted training photos into ``train`` and ``val``.

    >>> split = split_photos({f'{i:03}': Path(f'{i:03}.jpg') for i in range(365)})
    >>> len(split['train']), len(split['val']), list(split['val'])[:2]
    (325, 40, ['004', '013'])
    """
    chosen = set(list(photos)[FIRST::EVERY][:VALIDATION])
    return {
        'train': {name: path for name, path in photos.items() if name not in chosen},
        'val': {name: path for name, path in photos.items() if name in chosen},
    }

"""The images of an extraction: a folder, a list, or an LMDB folder of BasicSR or MMagic."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import lmdb
import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import ImageError, decode_image, list_images, read_image
from sapd_plugin.priors.store.keys import key_bytes, mask_key
from sapd_plugin.priors.store.meta_info import META_INFO


@dataclass
class Photos:
    """Images by mask key, in an order that depends only on their names.

    Attributes:
        place: folder, list or LMDB folder, as the user gave it.
        named: (key, name) of each photo; the name is its path, or its key in an LMDB.
        read: returns the image with a name, (H,W,3) uint8 RGB, or raises `ImageError`.
        failed: (name, reason) of each image that cannot have a mask, because its key is invalid or already used.
    """

    place: Path
    named: list[tuple[str, str]]
    read: Callable[[str], np.ndarray]
    failed: list[tuple[str, str]] = field(default_factory=list)

    @cached_property
    def names(self) -> dict[str, str]:
        """Map of keys to names."""
        return dict(self.named)


def open_photos(images: Path, root: Path | None = None) -> Photos:
    """List the photos of a folder (with its sub-folders), of a text file with one path per line, or of an LMDB folder.

    Args:
        images: a folder that holds ``data.mdb`` is read as an LMDB. Its keys are those in its meta_info.txt, cut at the
            first dot as BasicSR does; without meta_info.txt (MMagic), all keys are used.
        root: only for a list: the folder that its paths and the keys are relative to.

    Raises:
        SAPDError: there is nothing to segment.
    """
    if (images / 'data.mdb').is_file():
        if root is not None:
            raise SAPDError(f'--root: found {root} with the LMDB {images}, expected it only with a list of images.')
        reader = _LMDB(images)
        return _name(images, reader.names(), str, reader.read)
    files, folder = list_images(images, root)
    return _name(images, map(str, files), lambda name: mask_key(name, folder), read_image)


def _name(
    place: Path, names: Iterable[str], make_key: Callable[[str], str], read: Callable[[str], np.ndarray]
) -> Photos:
    failed: list[tuple[str, str]] = []
    named: dict[str, str] = {}
    for name in names:
        try:
            key = make_key(name)
            key_bytes(key)
        except SAPDError as error:
            failed.append((name, str(error)))
            continue
        if key in named:
            failed.append((name, f"has the same key '{key}' as {named[key]}, expected one image per key."))
        else:
            named[key] = name
    return Photos(place, list(named.items()), read, failed)


class _LMDB:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._env = lmdb.open(str(folder), readonly=True, create=False, lock=False, readahead=False)
        except lmdb.Error as error:
            raise SAPDError(f'images: the LMDB {folder} cannot be opened ({error}).') from error

    def names(self) -> list[str]:
        meta = self._folder / META_INFO
        if meta.is_file():
            lines = meta.read_text(encoding='utf-8').split('\n')
            names = sorted(line.split('.')[0] for line in lines if line.strip())
        else:
            with self._env.begin() as transaction:
                names = [bytes(key).decode('utf-8', 'surrogateescape') for key, _ in transaction.cursor()]
        if not names:
            raise SAPDError(f'images: found no image in the LMDB {self._folder}, expected at least one.')
        return names

    def read(self, name: str) -> np.ndarray:
        where = f"{self._folder}, key '{name}'"
        try:
            with self._env.begin() as transaction:
                data = transaction.get(name.encode('utf-8'))
        except lmdb.Error as error:
            raise ImageError(f'{where}: cannot be read ({error}).') from error
        if data is None:
            raise ImageError(f'{where}: not in the LMDB, although {META_INFO} lists it.')
        return decode_image(data, where)

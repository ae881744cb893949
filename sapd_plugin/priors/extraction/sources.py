"""The images of an extraction: a folder, a list, or an LMDB folder of BasicSR or MMagic."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import lmdb
import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import ImageError, decode_image, list_images, load_image, read_image
from sapd_plugin.priors.store.digests import ImageDigests, digest_file, digest_pixels
from sapd_plugin.priors.store.keys import key_bytes, mask_key
from sapd_plugin.priors.store.meta_info import META_INFO


@dataclass
class Photos:
    """Images by mask key, in an order that depends only on their names.

    Attributes:
        place: folder, list or LMDB folder, as the user gave it.
        named: (key, name) of each photo; the name is its path, or its key in an LMDB.
        read: returns the image with a name, (H,W,3) uint8 RGB, or raises `ImageError`.
        failed: (name, reason) of each image that cannot have a mask, because its key is invalid or not its own.
        load: returns the content of the file of an image whose pixels are all that `decode_image` makes of it, or
            raises `ImageError`; None if the images are more than that, such as resized.
    """

    place: Path
    named: list[tuple[str, str]]
    read: Callable[[str], np.ndarray]
    failed: list[tuple[str, str]] = field(default_factory=list)
    load: Callable[[str], bytes] | None = None

    @cached_property
    def names(self) -> dict[str, str]:
        """Map of keys to names."""
        return dict(self.named)

    def read_with_digests(self, name: str) -> tuple[np.ndarray, ImageDigests]:
        """Return the image with a name, (H,W,3) uint8 RGB, and its digests. Raises `ImageError`."""
        if self.load is None:
            image = self.read(name)
            return image, ImageDigests(digest_pixels(image))
        content = self.load(name)
        image = decode_image(content, name)
        return image, ImageDigests(digest_pixels(image), digest_file(content))

    def is_same(self, name: str, digests: ImageDigests) -> bool:
        """Return whether the image with a name has one of these digests. Raises `ImageError`."""
        if self.load is None:
            return digest_pixels(self.read(name)) == digests.pixels
        return is_same_image(digests, self.load(name), name)


def is_same_image(digests: ImageDigests, content: bytes, where: str | os.PathLike[str]) -> bool:
    """Return whether an image file has one of these digests; it is decoded only if its content differs.

    Args:
        digests: of a record.
        content: of the file.
        where: its name, for messages.

    Raises:
        ImageError: the file is not an image.
    """
    return digest_file(content) == digests.file or digest_pixels(decode_image(content, where)) == digests.pixels


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
        counts = Counter(reader.names())
        named, failed = _name(counts, str)
        reason = (
            f'{META_INFO} lists {{}} images with this key, which ends at the first dot; expected one image per key.'
        )
        failed += [(name, reason.format(count)) for name, count in counts.items() if count > 1]
        return Photos(images, named, reader.read, failed, reader.load)
    files, folder = list_images(images, root)
    named, failed = _name(map(str, files), lambda name: mask_key(name, folder))
    return Photos(images, named, read_image, failed, load_image)


Named = list[tuple[str, str]]


def _name(names: Iterable[str], make_key: Callable[[str], str]) -> tuple[Named, Named]:
    """Return (key, name) of each image, and (name, reason) of those without a key of their own."""
    failed: Named = []
    by_key: dict[str, list[str]] = {}
    for name in names:
        try:
            key = make_key(name)
            key_bytes(key)
        except SAPDError as error:
            failed.append((name, str(error)))
            continue
        by_key.setdefault(key, []).append(name)
    named: Named = []
    for key, sharing in by_key.items():
        # A list may name one file twice, as a/1.png and a/../a/1.png.
        files = list(dict.fromkeys(map(os.path.abspath, sharing)))
        if len(files) == 1:
            named.append((key, sharing[0]))
            continue
        for name in sharing:
            others = ', '.join(other for other in sharing if other != name)
            failed.append((name, f"has the same key '{key}' as {others}, expected one image per key: rename one."))
    return named, failed


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
        return decode_image(self.load(name), f"{self._folder}, key '{name}'")

    def load(self, name: str) -> bytes:
        where = f"{self._folder}, key '{name}'"
        try:
            with self._env.begin() as transaction:
                data = transaction.get(name.encode('utf-8'))
        except lmdb.Error as error:
            raise ImageError(f'{where}: cannot be read ({error}).') from error
        if data is None:
            raise ImageError(f'{where}: not in the LMDB, although {META_INFO} lists it.')
        return bytes(data)

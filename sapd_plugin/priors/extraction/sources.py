"""The images of an extraction: a folder, a list, or an LMDB folder of BasicSR or MMagic."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import ImageError, decode_image, list_images, load_image, read_image
from sapd_plugin.priors.image_lmdb import ImageLMDB
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
        skipped: names of files in the folder that are not images.
        load: returns the content of the file of an image whose pixels are all that `decode_image` makes of it, or
            raises `ImageError`; None if the images are more than that, such as resized.
    """

    place: Path
    named: list[tuple[str, str]]
    read: Callable[[str], np.ndarray]
    failed: list[tuple[str, str]] = field(default_factory=list)
    load: Callable[[str], bytes] | None = None
    skipped: list[str] = field(default_factory=list)

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
        return _open_lmdb(images)
    files, folder, skipped = list_images(images, root)
    named, failed = _name(map(str, files), lambda name: mask_key(name, folder))
    if not named:
        raise SAPDError(
            f'images: none of the {len(failed)} images of {images} can have a mask, among them {failed[0][0]}: '
            f'{failed[0][1]}'
        )
    return Photos(images, named, read_image, failed, load_image, [str(path) for path in skipped])


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


def _open_lmdb(folder: Path) -> Photos:
    images = ImageLMDB(folder)
    counts = Counter(images.names())
    if not counts:
        raise SAPDError(f'images: found no image in the LMDB {folder}, expected at least one.')

    def load(name: str) -> bytes:
        data = images.load(name)
        if data is None:
            raise ImageError(f"{folder}, key '{name}': not in the LMDB, although {META_INFO} lists it.")
        return data

    def read(name: str) -> np.ndarray:
        return decode_image(load(name), f"{folder}, key '{name}'")

    named, failed = _name(counts, str)
    reason = f'{META_INFO} lists {{}} images with this key, which ends at the first dot; expected one image per key.'
    failed += [(name, reason.format(count)) for name, count in counts.items() if count > 1]
    return Photos(folder, named, read, failed, load)

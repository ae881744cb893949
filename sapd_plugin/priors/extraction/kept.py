"""Masks that a store holds already, compared with the images that an extraction would make them from now."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from sapd_plugin.priors.extraction.images import ImageError
from sapd_plugin.priors.extraction.sources import Photos
from sapd_plugin.priors.store.digests import ImageDigests
from sapd_plugin.progress import Bar

# Reading and hashing release the GIL.
_THREADS = min(8, os.cpu_count() or 1)


@dataclass
class Kept:
    """The masks that a store holds of an extraction's images, by what is known of them.

    Attributes:
        same: number of masks of these very images.
        unverified: number of masks whose record holds no digests, or is being written by another process.
        other: (key, name) of each image whose mask is of another image.
        unreadable: (name, reason) of each image that cannot be read any more.
    """

    same: int = 0
    unverified: int = 0
    other: list[tuple[str, str]] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def compare_kept(
    kept: Sequence[tuple[str, str]], digests_of: Callable[[str], ImageDigests | None], photos: Photos, progress: bool
) -> Kept:
    """Compare each image that has a mask with the mask's digests.

    A file is read and hashed, and decoded only if its content differs.

    Args:
        kept: (key, name) of the images that the store holds a mask of.
        digests_of: returns the digests of a key's record, or None.
        photos: reads the images.
        progress: show a progress bar on stderr.
    """
    known = [(key, name, digests) for key, name in kept if (digests := digests_of(key)) is not None]
    found = Kept(unverified=len(kept) - len(known))
    with ThreadPoolExecutor(_THREADS) as pool:
        try:
            results = pool.map(partial(_compare, photos), known)
            for (key, name, _), result in zip(
                known, Bar(results, 'compare', len(known), unit='image', disable=not progress)
            ):
                if isinstance(result, ImageError):
                    found.unreadable.append((name, str(result).removeprefix(f'{name}: ')))
                elif result:
                    found.same += 1
                else:
                    found.other.append((key, name))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def _compare(photos: Photos, item: tuple[str, str, ImageDigests]) -> bool | ImageError:
    try:
        return photos.is_same(item[1], item[2])
    except ImageError as error:
        return error

"""Whether the masks of a store are those of the training images: their records hold digests of their images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import ImageError, decode_image
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.digests import ImageDigests, digest_file, digest_pixels

T = TypeVar('T')
# How many images are compared unless `mask_check` says otherwise.
SAMPLES = 32
# What `--source` says of images that were degraded or restored before they were segmented.
_DEGRADED, _RESTORED = ('input', 'degraded'), 'restored'


class ImageFile(NamedTuple):
    """An image file of a training set.

    Attributes:
        name: for messages.
        load: returns its content.
    """

    name: str
    load: Callable[[], bytes]


def read_count(key: str, value: object, images: int) -> int:
    """Return how many of the images to compare; ``value`` is that of config key ``key``.

    Raises:
        SAPDError: it is neither a number of images, 'all' nor nothing.
    """
    if value is None:
        return min(SAMPLES, images)
    if value == 'all':
        return images
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise SAPDError(f"{key}: found {value!r}, expected a number of images to compare, or 'all'.")
    return min(value, images)


def evenly_spread(items: Sequence[T], count: int) -> list[T]:
    """Return up to ``count`` of the items, evenly spread, the first among them.

    >>> evenly_spread('abcdefg', 3), evenly_spread('ab', 3)
    (['a', 'c', 'e'], ['a', 'b'])
    """
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def verify_images(
    where: str,
    store: MaskStore,
    targets: Sequence[tuple[str, Sequence[ImageFile]]],
    rank: int = 0,
    ranks: int = 1,
    switch: str | None = None,
) -> str:
    """Compare training images with the digests of their masks, and return a sentence for the log.

    A mask may be of the ground truth or of the degraded image, also if that was restored before it was segmented.

    Args:
        where: the config key or option that names the store, for messages.
        store: the masks.
        targets: those to compare, evenly spread over the training set: the key of the mask, and the files that it may
            be of: the ground truth, and the degraded image if training reads that from a file of its own.
        rank: of this process; it compares every ``ranks``-th image, from this one on.
        ranks: their number.
        switch: the config key that 0 turns the comparison off with, for messages.

    Raises:
        SAPDError: a mask is of a different image, or an image cannot be read.
    """
    begun, same, unknown = time.perf_counter(), 0, 0
    wrong: list[str] = []
    for key, files in targets[rank::ranks]:
        digests = store.record(key).digests
        if digests is None or not files:
            unknown += 1
        elif _is_one_of(digests, files):
            same += 1
        elif not _may_be_of_others(store.settings, len(files)):
            wrong.append(f"'{key}' ({' or '.join(file.name for file in files)})")
    seconds = f'in {time.perf_counter() - begun:.1f} s'
    compared = len(targets[rank::ranks]) - unknown
    if wrong:
        hint = f' If its images are meant to differ from these, set {switch}: 0.' if switch else ''
        raise SAPDError(
            f'{where}: {len(wrong)} of {compared} compared masks of {store.path} are of different images with the same '
            f'names, among them {wrong[0]}. The store was {store.settings.get("note", "made from unknown images")}. '
            f'Extract the masks of these images into a store of their own.{hint}'
        )
    if not targets:
        return 'masks and images were not compared (mask_check: 0).'
    if not compared:
        return (
            'the masks are unverified: an earlier version of `sapd extract-masks` made them, which stored no digest of '
            'the image, or the images are in no file that can be compared.'
        )
    if same < compared:
        return (
            f'the masks are unverified: those of {compared - same} of {compared} compared images were made from other '
            f"images (source '{store.settings.get('source')}'), which this data set does not hold; {seconds}."
        )
    return f'{compared} images compared with the digests of their masks {seconds}: the same.'


def _is_one_of(digests: ImageDigests, files: Sequence[ImageFile]) -> bool:
    contents = [_load(file) for file in files]
    if digests.file in map(digest_file, contents):
        return True
    # Files that were written again, such as those of an LMDB, are decoded.
    return any(
        digest_pixels(decode_image(content, file.name)) == digests.pixels for content, file in zip(contents, files)
    )


def _load(file: ImageFile) -> bytes:
    try:
        return file.load()
    except ImageError:
        raise
    except Exception as error:  # of whatever library reads it
        raise SAPDError(f'{file.name}: cannot be read ({error}), expected a training image.') from error


def _may_be_of_others(settings: Mapping[str, Any], files: int) -> bool:
    """Return whether a store may be of images that a training set with that many files per image does not hold."""
    source = settings.get('source')
    if source == _RESTORED and 'restored_by' not in settings:
        return True  # restored by another program
    # Training makes its degraded images itself, and the masks were made from others.
    return files == 1 and (source in (*_DEGRADED, _RESTORED) or 'restored_by' in settings)

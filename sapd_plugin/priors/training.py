"""Checks of a mask store against the images of a training set, before the first step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.home import expanded
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.codec import RecordError
from sapd_plugin.priors.verification import ImageFile, evenly_spread, read_count, verify_images
from sapd_plugin.values import File, Name, Template, Valid, check_values

# Config keys of a training dataset for masks, and their types.
MASK_KINDS: dict[str, Any] = {
    'mask_store': File | None,
    'mask_filename_tmpl': Template | None,
    'mask_fingerprint': Name | None,
    'mask_shuffle': int | None,
    'mask_context': bool | None,
    'mask_check': Annotated[int | str, Valid(read_count, images=0)] | None,
}
MASK_KEYS = tuple(MASK_KINDS)


class Target(NamedTuple):
    """A ground truth image.

    Attributes:
        key: of its mask.
        name: its path, for messages.
        size: reads (H, W) from the image's header; None if it is unknown.
        files: those that the mask may have been made from: the ground truth, and the degraded image if training reads
            that from a different file; none if they cannot be read here.
    """

    key: str
    name: str
    size: Callable[[], tuple[int, int] | None]
    files: Sequence[ImageFile] = ()


class CheckedMasks(NamedTuple):
    """The masks of a training set, and a sentence on what was checked, what it took, and which images were compared."""

    store: MaskStore | ShuffledMasks
    note: str


def open_training_store(
    where: str, config: Mapping[str, Any], targets: Sequence[Target], rank: int = 0, ranks: int = 1
) -> CheckedMasks:
    """Open a store and check that it has a complete mask of the right size for every image, and of these very images.

    Ranks of one training share the reading of masks and image headers, so that none waits long for another.

    Args:
        where: the config key that holds the dataset, for messages.
        config: of the dataset. ``mask_store`` is the folder; ``mask_fingerprint``, if given, is the expected
            fingerprint of the settings; ``mask_shuffle``, if given, is the seed that shuffles the masks between images;
            ``mask_context`` says whether each mask has to hold the colors of its regions; ``mask_check`` is the number
            of images to compare with the digests of their masks, or 'all'.
        targets: the ground truth images.
        rank: of this process, from 0.
        ranks: their number.

    Raises:
        SAPDError: no store, a different fingerprint, an invalid setting, two images with one key, or a mask that is
            missing, is damaged, has the wrong size, is of a different image or lacks the colors that ``mask_context``
            needs.
    """
    folder, fingerprint, seed = (config.get(key) for key in ('mask_store', 'mask_fingerprint', 'mask_shuffle'))
    check_values(where, config, MASK_KINDS)
    context = config.get('mask_context')
    count = read_count(f'{where}.mask_check', config.get('mask_check'), len(targets))
    if not folder:
        raise SAPDError(f'{where}.mask_store: missing, expected a folder made by `sapd extract-masks`.')
    _refuse_shared_keys(where, targets)
    begun = time.perf_counter()
    try:
        store = MaskStore(expanded(folder))
    except SAPDError as error:
        raise SAPDError(f'{where}.mask_store: {error}') from error
    if fingerprint and fingerprint != store.fingerprint:
        raise SAPDError(
            f'{where}.mask_fingerprint: {folder} has {store.fingerprint}, expected {fingerprint}. '
            f'Its settings: {store.settings}.'
        )
    missing = sorted(target.key for target in targets if target.key not in store)
    if missing:
        raise SAPDError(
            f'{where}.mask_store: {folder} has no masks for {len(missing)} of {len(targets)} images, '
            f"among them '{missing[0]}'.{nearest(missing[0], store.keys())} Run `sapd extract-masks` again, "
            'or set mask_filename_tmpl if the names differ.'
        )
    for target in targets[rank::ranks]:
        try:
            record = store.record(target.key)
            record.check()
        except RecordError as error:
            raise SAPDError(
                f"{where}.mask_store: {folder}, mask '{target.key}': {error} Delete the store and run "
                '`sapd extract-masks` again.'
            ) from error
        if context and not record.has_colors:
            raise SAPDError(
                f"{where}.mask_context: {folder}, mask '{target.key}' was made by an earlier version of "
                '`sapd extract-masks`, which stored no colors of regions. Delete the store and run it again, or leave '
                'mask_context out and set network_spf.context to patch.'
            )
        size = _size(where, target)
        if size is not None:
            check_size(where, target.name, record.shape[:2], size)
    checked = f'{len(targets[rank::ranks])} masks checked in {time.perf_counter() - begun:.1f} s'
    chosen = [(target.key, target.files) for target in evenly_spread(targets, count)]
    note = verify_images(f'{where}.mask_store', store, chosen, rank, ranks, f'{where}.mask_check')
    masks = store if seed is None else ShuffledMasks(store, (target.key for target in targets), seed)
    return CheckedMasks(masks, f'{checked}; {note}')


def _size(where: str, target: Target) -> tuple[int, int] | None:
    try:
        return target.size()
    except OSError as error:
        raise SAPDError(
            f'{where}: the ground truth {target.name} cannot be read ({error.strerror or error}), expected an image.'
        ) from error


def _refuse_shared_keys(where: str, targets: Sequence[Target]) -> None:
    """Refuse two images that would get one mask; an image may occur several times. Raises SAPDError naming both."""
    names: dict[str, str] = {}
    for target in targets:
        other = names.setdefault(target.key, target.name)
        if other != target.name:
            raise SAPDError(
                f"{where}: {other} and {target.name} have the same mask '{target.key}', expected one image per key. "
                'A key is the path below the folder without its extension, in mask_filename_tmpl. Rename or remove one.'
            )


def check_size(where: str, image: str, mask_size: tuple[int, int], image_size: tuple[int, int]) -> None:
    """Refuse a mask whose size (H, W) differs from that of its image. Raises SAPDError, which names both."""
    if tuple(mask_size) != tuple(image_size):
        raise SAPDError(
            f'{where}.mask_store: the mask of {image} is {mask_size[0]}x{mask_size[1]}, the image '
            f'{image_size[0]}x{image_size[1]} (height x width). Extract the masks from images '
            'that have the size of the ground truth.'
        )

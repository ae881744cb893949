"""Comparison of a store with images: whether its masks were made from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from sapd_plugin.priors.extraction.kept import compare_kept
from sapd_plugin.priors.extraction.sources import Photos
from sapd_plugin.priors.inspection.report import listed
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.codec import RecordError
from sapd_plugin.priors.store.digests import ImageDigests
from sapd_plugin.priors.verification import SAMPLES, evenly_spread


@dataclass
class ImageComparison:
    """The result of `compare_images`.

    Attributes:
        images: number of images that the store has a mask of.
        compared: number of those that were compared, apart from the unverified ones.
        unverified: number of those whose record holds no digests.
        different: (key, name) of each image whose mask is of another image.
        unreadable: (name, reason) of each image that cannot be read.
        restored: whether the masks are of restored images, so that the images before that are the ones to compare.
        made: what the store says of its images.
    """

    images: int
    compared: int
    unverified: int
    different: list[tuple[str, str]]
    unreadable: list[tuple[str, str]]
    restored: bool
    made: str

    @property
    def of_others(self) -> bool:
        """Whether these are not the images that were restored, but others with their names, such as the targets."""
        return self.restored and bool(self.different) and len(self.different) == self.compared

    @property
    def sound(self) -> bool:
        """True if no mask is of a wrong image, and all images could be read."""
        return not self.unreadable and (not self.different or self.of_others)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return {**asdict(self), 'sound': self.sound}

    def lines(self) -> Iterable[str]:
        """Yield the lines of the summary."""
        of = f'{self.compared:,} of {self.images:,} compared'
        if self.of_others:
            yield (
                f'images  {of}: unverified, because the masks are of restored images ({self.made}); to compare them, '
                'name the images that were restored'
            )
        elif self.compared:
            found = f'{len(self.different):,} are of different images ({self.made})' if self.different else 'the same'
            yield f'images  {of} with the digests of their masks: {found}'
        if self.unverified:
            yield f'images  {self.unverified:,} unverified: an earlier version made the masks, which stored no digests'
        if not self.of_others:
            yield from listed('different image', [f'{key}: {name}' for key, name in self.different])
        yield from listed('unreadable image', [f'{name}: {reason}' for name, reason in self.unreadable])


def compare_images(
    store: MaskStore, photos: Photos, everything: bool = False, progress: bool = True
) -> ImageComparison:
    """Compare images with the digests of their masks: `SAMPLES` of them, evenly spread, or all.

    Args:
        store: the masks.
        photos: the images, by the keys of their masks; those without a mask are left out.
        everything: compare all.
        progress: show a progress bar on stderr.
    """
    known = [item for item in photos.named if item[0] in store]
    chosen = known if everything else evenly_spread(known, SAMPLES)

    def digests_of(key: str) -> ImageDigests | None:
        try:
            return store.record(key).digests
        except RecordError:
            return None  # the inspection lists it

    found = compare_kept(chosen, digests_of, photos, progress)
    return ImageComparison(
        len(known),
        len(chosen) - found.unverified - len(found.unreadable),
        found.unverified,
        found.other,
        found.unreadable,
        'restored_by' in store.settings or store.settings.get('source') == 'restored',
        str(store.settings.get('note', 'made from unknown images')),
    )

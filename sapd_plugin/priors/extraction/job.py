"""The extraction job: images in, mask store out. It can be interrupted at any time and resumed."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import ImageError, say_skipped
from sapd_plugin.priors.extraction.kept import compare_kept
from sapd_plugin.priors.extraction.ranks import Rank
from sapd_plugin.priors.extraction.sources import Photos, open_photos
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import Segmenter
from sapd_plugin.priors.store import MaskStoreWriter, manifest
from sapd_plugin.priors.store.digests import ImageDigests
from sapd_plugin.progress import Bar


class Restorer(Protocol):
    """A pre-trained student that restores each image before it is segmented.

    Attributes:
        settings: JSON values that name the network and its weights; they go into the store's fingerprint.
    """

    settings: dict[str, Any]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restore an RGB uint8 (h,w,3) image to (H,W,3), larger for super-resolution, rounded as its test would."""
        ...


@dataclass
class Report:
    """The outcome of an extraction.

    Attributes:
        written, kept: masks extracted in this run, and those that the store held before.
        replaced: masks of other images that the store held under the same keys, and that are removed.
        unverified: kept masks that cannot be compared with their images.
        left: images of this rank that were not reached.
        failed: (file, reason) of each image without a mask.
        skipped: files in the folder of images that are not images.
        interrupted: whether the user stopped it.
        seconds: time from the first image to the last.
        pixels, covered, regions: sums over the masks of this run.
    """

    written: int = 0
    kept: int = 0
    replaced: int = 0
    unverified: int = 0
    left: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    pixels: int = 0
    covered: int = 0
    regions: int = 0

    @property
    def exit_status(self) -> int:
        """Return 130 if the user interrupted it, 1 if an image has no mask, else 0."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def lines(self) -> Iterable[str]:
        """Yield the lines of the summary: counts, rates, coverage, then each image that failed with its reason."""
        yield f'{self.written} masks written, {self.kept} kept, {len(self.failed)} failed, {self.left} left'
        if self.replaced:
            yield f'{self.replaced} masks of other images with the same names removed (--replace)'
        if self.unverified:
            yield (
                f'{self.unverified} kept masks are unverified: an earlier version made them, which stored no digest of '
                'the image, or another process is writing their shard'
            )
        if self.pixels:
            yield (
                f'{self.seconds / self.written:.3f} s per image, {self.regions / self.written:.1f} regions per image, '
                f'{100 * self.covered / self.pixels:.1f} % of the pixels covered'
            )
        if self.skipped:
            yield say_skipped(self.skipped)
        for path, reason in self.failed:
            yield f'failed: {path}: {reason}'


def extract_masks(
    images: Path | Photos,
    output: Path,
    segmenter: Segmenter,
    *,
    restorer: Restorer | None = None,
    root: Path | None = None,
    source: str | None = None,
    rank: Rank = Rank(),  # noqa: B008  (it is frozen)
    progress: bool = True,
    replace: bool = False,
) -> Report:
    """Segment the images of a folder, list or LMDB into a store; images that the store already holds are skipped.

    First, the images that have a mask already are compared with the digests of their masks.

    A file that cannot be read or segmented is reported, and the run continues. Ctrl-C drops the mask being extracted
    and ends the run; all earlier masks are in the store.

    Args:
        images: see `open_photos`; or photos already listed, with any keys.
        output: the store's folder, new or started with the same settings.
        segmenter: see `build_segmenter`.
        restorer: restores each image before it is segmented; the restored images are not kept.
        root: the folder that a list's paths and the keys are relative to.
        source: what kind of images are segmented (restored, clean, degraded); part of the fingerprint. By default
            'restored' with a restorer, else 'images'.
        rank: take every n-th image from the i-th on, and write shard i.
        progress: show a progress bar on stderr: count, total, rate and time left.
        replace: remove masks of other images with the same keys, and make them again.

    Raises:
        SAPDError: no images, a store with different settings, masks of other images without ``replace``, or a full
            disk.
    """
    output = Path(output)
    photos = images if isinstance(images, Photos) else open_photos(Path(images), None if root is None else Path(root))
    place = photos.place
    if place.is_file() and not any(os.path.exists(name) for _, name in photos.named):
        raise SAPDError(
            f'images: none of the {len(photos.named)} files that {place} lists exists, among them '
            f'{photos.named[0][1]}; expected one path per line, relative to --root.'
        )
    if place.is_dir() and output.resolve().is_relative_to(place.resolve()):
        raise SAPDError(f'--output: found {output} inside the image folder {place}, expected a folder outside it.')
    settings = {**segmenter.settings, 'source': source or ('images' if restorer is None else 'restored')}
    if restorer is not None:
        settings['restored_by'] = restorer.settings
    named = photos.named[rank.index :: rank.count]
    share = slice(rank.index, None, rank.count)
    report = Report(failed=photos.failed[share], skipped=photos.skipped[share])
    settings['note'] = f'made from {place}'
    keys = [key for key, _ in named]
    with MaskStoreWriter(output, settings, rank.index, rank.count, keys) as writer:
        todo = _resume(report, writer, photos, named, progress, replace)
        failed, begun = len(report.failed), time.perf_counter()
        with Bar(
            todo,
            str(rank) if rank.count > 1 else 'masks',
            len(named),
            unit='image',
            initial=report.kept,
            position=rank.local,
            disable=not progress,
        ) as bar:
            try:
                for key, name in bar:
                    found, digests = _segment(name, photos, segmenter, restorer)
                    if isinstance(found, str):
                        report.failed.append((name, found))
                    else:
                        writer.put(key, found, digests)
                        report.pixels += found.labels.size
                        report.covered += int((found.labels != 0).sum())
                        report.regions += len(found)
            except KeyboardInterrupt:
                report.interrupted = True
        report.seconds = time.perf_counter() - begun
        # Counted in the store: an interruption may follow the writing of a mask at once.
        report.written = sum(writer.done(key) for key, _ in todo)
        report.left += len(todo) - report.written - (len(report.failed) - failed)
    return report


def _resume(
    report: Report,
    writer: MaskStoreWriter,
    photos: Photos,
    named: Sequence[tuple[str, str]],
    progress: bool,
    replace: bool,
) -> list[tuple[str, str]]:
    """Compare the masks that the store holds, and return (key, name) of the images that are left to segment.

    Raises:
        SAPDError: masks of other images, without ``replace``.
    """
    present = [item for item in named if writer.done(item[0])]
    held = [key for key, _ in present if writer.is_held(key)]
    if held and replace:
        raise SAPDError(
            f"--replace: {len(held)} masks, among them '{held[0]}', are in shards that other processes are writing, so "
            'they cannot be compared. Expected one process, or as many ranks as the store was made with.'
        )
    try:
        kept = compare_kept(present, writer.digests, photos, progress)
    except KeyboardInterrupt:
        report.interrupted, report.kept, report.left = True, len(present), len(named) - len(present)
        return []
    if kept.other and not replace:
        names = ', '.join(repr(key) for key, _ in kept.other[:3])
        made = manifest.read_settings(writer.path).get('note', 'made from unknown images')
        raise SAPDError(
            f'--output: {len(kept.other)} of the {len(present)} masks that {writer.path} holds of these images are of '
            f'other images with the same names, among them {names}. The store was {made}; '
            f'these are in {photos.place}. Extract these images into a different store, or add --replace to remove '
            'those masks and make them again.'
        )
    writer.discard(key for key, _ in kept.other)
    report.failed += kept.unreadable
    report.kept, report.unverified, report.replaced = kept.same + kept.unverified, kept.unverified, len(kept.other)
    finished = {key for key, _ in present} - {key for key, _ in kept.other}
    return [item for item in named if item[0] not in finished]


def _segment(
    name: str, photos: Photos, segmenter: Segmenter, restorer: Restorer | None
) -> tuple[LabelMap | str, ImageDigests | None]:
    """Return the label map of a photo, or the reason why it has none; and the photo's digests."""
    stage = 'restorer' if restorer is not None else 'segmenter'
    try:
        image, digests = photos.read_with_digests(name)
        if restorer is not None:
            image, stage = restorer(image), 'segmenter'
        return segmenter(image).with_colors(image), digests
    except ImageError as error:
        return str(error).removeprefix(f'{name}: '), None
    except Exception as error:
        # One image that makes a segmenter fail must not end a long run; it is reported at the end.
        return f'the {stage} failed: {type(error).__name__}: {error}', None

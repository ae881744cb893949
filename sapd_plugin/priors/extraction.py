"""The extraction job: photos in, mask store out. It can be stopped at any moment and started again."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
from tqdm import tqdm

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.images import ImageError, list_images, read_image
from sapd_plugin.priors.keys import mask_key
from sapd_plugin.priors.pictures import overlay
from sapd_plugin.priors.segmenters import Segmenter
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter


@dataclass
class Report:
    """What an extraction did.

    Attributes:
        written: masks made in this run.
        kept: masks that were there before.
        left: images of this shard that were not reached.
        failed: (file, reason) of each image without a mask.
        interrupted: whether the user stopped it.
        seconds: time from the first image to the last.
        pixels, covered, regions: sums over the masks made in this run.
    """

    written: int = 0
    kept: int = 0
    left: int = 0
    failed: list[tuple[str, str]] = field(default_factory=list)
    interrupted: bool = False
    seconds: float = 0.0
    pixels: int = 0
    covered: int = 0
    regions: int = 0

    @property
    def exit_status(self) -> int:
        """130 where the user stopped it, 1 where an image has no mask, else 0."""
        return 130 if self.interrupted else 1 if self.failed else 0

    def lines(self) -> Iterable[str]:
        """Say it to the user: counts, rates, coverage; then each image that failed, with its reason."""
        if self.interrupted:
            yield 'Stopped. What was written is whole; run the same command again to go on.'
        yield f'{self.written} masks written, {self.kept} kept, {len(self.failed)} failed, {self.left} left'
        if self.written:
            yield (
                f'{self.seconds / self.written:.3f} s an image, {self.regions / self.written:.1f} regions an image, '
                f'{100 * self.covered / self.pixels:.1f} % of the pixels covered'
            )
        for path, reason in self.failed:
            yield f'failed: {path}: {reason}'


def parse_shard(text: str) -> tuple[int, int]:
    """Read 'i/n': this is part i, from 0, of n.

    Raises:
        SAPDError: for anything else.

    >>> parse_shard('0/4')
    (0, 4)
    """
    first, slash, second = text.partition('/')
    if not (slash and first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise SAPDError(f'--shard: found {text!r}, expected i/n with i from 0 to n-1, for example 0/4.')
    return int(first), int(second)


def extract_masks(
    images: Path,
    output: Path,
    segmenter: Segmenter,
    *,
    root: Path | None = None,
    source: str = 'images',
    shard: tuple[int, int] = (0, 1),
    progress: bool = True,
) -> Report:
    """Segment the images of a folder or list into a store. Images that are in the store already are skipped.

    A file that cannot be read or segmented is noted and the rest is done. Ctrl-C ends the run after the mask in work
    is dropped; everything before is in the store.

    Args:
        images: folder, or text file with a path a line.
        output: the store's folder, new or begun with the same settings.
        segmenter: see `build_segmenter`.
        root: the folder that a list's paths and the keys are relative to.
        source: what kind of images these are (restored, ground truth, degraded); part of the fingerprint.
        shard: (i, n): take every n-th image from the i-th on, and write shard i.
        progress: show a progress bar on stderr.

    Raises:
        SAPDError: where nothing can be done: no images, a store with other settings, a full disk.
    """
    files, root = list_images(Path(images), None if root is None else Path(root))
    if Path(images).is_dir() and Path(output).resolve().is_relative_to(Path(images).resolve()):
        raise SAPDError(f'--output: found {output} inside of the image folder {images}, expected it elsewhere.')
    report = Report()
    named = _name(files, root, report)[shard[0] :: shard[1]]
    settings = {**segmenter.settings, 'source': source, 'note': f'made from {images}'}
    with MaskStoreWriter(output, settings, shard[0]) as writer:
        begun = time.perf_counter()
        bar = tqdm(named, unit='image', disable=not progress)
        try:
            for key, path in bar:
                if writer.done(key):
                    report.kept += 1
                else:
                    _extract_one(key, path, segmenter, writer, report)
        except KeyboardInterrupt:
            report.interrupted = True
        finally:
            bar.close()
        report.seconds = time.perf_counter() - begun
    failed = {path for path, _ in report.failed}
    report.left = sum(str(path) not in failed for _, path in named) - report.written - report.kept
    return report


def write_overlays(store: MaskStore, images: Path, folder: Path, count: int, root: Path | None = None) -> list[Path]:
    """Write PNGs of the first ``count`` images that have masks: regions and boundaries over the photo.

    Returns:
        The files written, ``folder/key.png``.
    """
    files, root = list_images(Path(images), root)
    written: list[Path] = []
    for key, path in _name(files, root, Report()):
        if len(written) == count:
            break
        if key not in store:
            continue
        picture = overlay(read_image(path), store.record(key).labels())
        target = folder / f'{key}.png'
        target.parent.mkdir(parents=True, exist_ok=True)
        encoded = cv2.imencode('.png', picture[:, :, ::-1])[1]
        target.write_bytes(encoded.tobytes())
        written.append(target)
    return written


def _name(files: list[Path], root: Path, report: Report) -> list[tuple[str, Path]]:
    """Give each file its key; those without one, or with another file's, are noted as failed."""
    named: dict[str, Path] = {}
    for path in files:
        try:
            key = mask_key(path, root)
        except SAPDError as error:
            report.failed.append((str(path), str(error)))
            continue
        if key in named:
            report.failed.append((str(path), f"has the key '{key}' of {named[key]}, expected one image a key."))
        else:
            named[key] = path
    return list(named.items())


def _extract_one(key: str, path: Path, segmenter: Segmenter, writer: MaskStoreWriter, report: Report) -> None:
    try:
        label_map = segmenter(read_image(path))
    except ImageError as error:
        report.failed.append((str(path), str(error).removeprefix(f'{path}: ')))
        return
    except Exception as error:
        # One image that a segmenter trips over must not cost a night's run; it is named at the end.
        report.failed.append((str(path), f'the segmenter failed: {type(error).__name__}: {error}'))
        return
    writer.put(key, label_map)
    report.written += 1
    report.pixels += label_map.labels.size
    report.covered += int((label_map.labels != 0).sum())
    report.regions += len(label_map)

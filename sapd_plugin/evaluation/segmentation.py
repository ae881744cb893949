"""Downstream segmentation: masks of restored images against those of clean images and of annotators."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.agreement import against_clean, against_people, recoloured
from sapd_plugin.evaluation.arms import CLEAN, DEGRADED
from sapd_plugin.evaluation.people import People
from sapd_plugin.files import digest
from sapd_plugin.priors.extraction.job import extract_masks
from sapd_plugin.priors.extraction.sources import Photos
from sapd_plugin.priors.inspection.overlays import arrange
from sapd_plugin.priors.inspection.pictures import overlay
from sapd_plugin.priors.segmenters import Segmenter
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.progress import Bar
from sapd_plugin.texts import read_record


@dataclass
class Masks:
    """One arm: its photos and the store of their masks, both by the clean images' keys."""

    photos: Photos
    store: MaskStore

    def labels(self, key: str) -> np.ndarray:
        """Return the label map of an image, (H,W) integers."""
        return self.store.record(key).labels()


def extract_arms(arms: Mapping[str, Photos], output: Path, segmenter: Segmenter) -> dict[str, Masks]:
    """Extract the masks of each arm's photos into ``output/ARM``, or use those already there.

    Raises:
        SAPDError: an image gets no mask, or a store holds masks of different images or settings.
        KeyboardInterrupt: the user interrupted it; the same call resumes.
    """
    found = {}
    for name, photos in arms.items():
        store = output / name
        _record_images(output / f'{name}.images.json', name, photos)
        print(f'masks of {name}: {photos.place}', flush=True)
        source = name if name in (CLEAN, DEGRADED) else 'restored'
        report = extract_masks(photos, store, segmenter, source=source)
        if report.interrupted:
            raise KeyboardInterrupt
        if report.failed:
            raise SAPDError('\n'.join(report.lines()))
        found[name] = Masks(photos, MaskStore(store))
    return found


def _record_images(record: Path, name: str, photos: Photos) -> None:
    """Record the digests of the segmented files: a store only knows names, and an arm may be trained again."""
    known = read_record(record, 'the digests of the segmented images') if record.is_file() else {}
    bar = Bar(photos.named, f'files of {name}', unit='image', leave=False)
    now = {key: digest(Path(path)) for key, path in bar}
    other = [key for key, digest in now.items() if known.get(key, digest) != digest]
    if other:
        raise SAPDError(
            f'{name}: found {len(other)} images that differ from those segmented in {record.parent}, the first is '
            f"'{other[0]}' of {photos.place}; expected the same. Name another --output, or delete "
            f'{record.with_name(name)} and {record.name}.'
        )
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(json.dumps({**known, **now}, indent=1), encoding='utf-8')


def score(masks: Mapping[str, Masks], keys: Sequence[str], people: People | None) -> dict[str, dict[str, list[float]]]:
    """Measure every image of every arm; the clean arm is only measured against annotators.

    Returns:
        Arm -> measure -> one number per image.

    Raises:
        SAPDError: a record is damaged, or a segmentation has a different size.
    """
    scores: dict[str, dict[str, list[float]]] = {arm: {} for arm in masks}
    for key in Bar(keys, 'scores', unit='image', leave=False):
        clean = masks[CLEAN].labels(key)
        drawn = people.annotators(key) if people is not None else None
        for arm, found in masks.items():
            labels = clean if arm == CLEAN else found.labels(key)
            row = {} if arm == CLEAN else against_clean(labels, clean)
            if drawn is not None:
                try:
                    row.update(against_people(labels, drawn))
                except SAPDError as error:
                    message = f"--human: the segmentations of '{key}' are not of the clean image: {error}"
                    raise SAPDError(message) from error
            row['masks'] = float(len(np.unique(labels[labels != 0])))
            row['coverage'] = float((labels != 0).mean())
            for measure, value in row.items():
                scores[arm].setdefault(measure, []).append(value)
    return scores


def sheet(masks: Mapping[str, Masks], keys: Sequence[str], count: int, side: int = 320) -> np.ndarray:
    """Show ``count`` images, evenly spaced in ``keys``: one column per arm, photos above their masks.

    A region has the color of the clean region whose IoU with it is above 0.5, or else a color of its own. The longer
    side of a picture is ``side`` pixels; the sheet is (H,W,3) uint8 RGB.
    """
    chosen = [keys[i] for i in np.unique(np.linspace(0, len(keys) - 1, min(count, len(keys))).round().astype(int))]

    def pictures() -> Iterator[tuple[str, np.ndarray]]:
        for key in chosen:
            clean = masks[CLEAN].labels(key)
            photos = {arm: found.photos.read(found.photos.names[key]) for arm, found in masks.items()}
            yield from ((f'{key} {arm}', photo) for arm, photo in photos.items())
            for arm, photo in photos.items():
                labels = clean if arm == CLEAN else masks[arm].labels(key)
                caption = arm if arm == CLEAN else f'{arm}: mIoU {against_clean(labels, clean)["mIoU"]:.3f}'
                yield caption, overlay(photo, recoloured(labels, clean))

    return arrange(pictures(), len(masks), side)

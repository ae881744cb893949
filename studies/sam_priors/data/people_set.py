"""MiniHuman: rainy pairs of the photos that people segmented, with one person's segmentation of each as its masks.

A yardstick for the masks of a segmenter: priors cannot be much better than what people see.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from sapd_plugin.datasets.checks import source_shape
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.people import INDEX, People
from sapd_plugin.priors.inspection.overlap import segmentation_covering
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter
from studies.sam_priors.data.photos import Photos

SETTINGS = {
    'segmenter': 'people',
    'source': "BSDS, people's segmentations",
    'annotator': 'the one whose segmentation covers those of the others best, on average',
}
"""What the store says that its masks were made with."""


@dataclass(frozen=True)
class Segmented:
    """A photo with its set (``rain100l`` or ``cbsd68``) and name there, by which its segmentations are found."""

    photo: Path
    subset: str
    name: str


def segmented_photos(segmentations: Path, sets: Mapping[str, Photos], some: bool) -> dict[str, Segmented]:
    """Find a photo for each image of BSDS that people segmented, once, by its number.

    Args:
        segmentations: folder of ``ID.mat`` and an index.csv of ``set``, ``image`` and ``bsds_id``.
        sets: the photos of ``rain100l`` and ``cbsd68``, by name. The first photo in the index counts.
        some: leave out what has no photo.

    Raises:
        SAPDError: no index, another set than these, or a photo that is not there.
    """
    index = segmentations / INDEX
    if not index.is_file():
        raise SAPDError(f'--segmentations: found no {index}, expected an index of sets, images and BSDS numbers.')
    with index.open(encoding='utf-8', newline='') as file:
        rows = list(csv.DictReader(file))
    if not rows or not {'set', 'image', 'bsds_id'} <= rows[0].keys():
        raise SAPDError(f'--segmentations: found no columns set, image and bsds_id in {index}, expected them.')
    found: dict[str, Segmented] = {}
    for row in rows:
        name, subset = Path(row['image']).stem, row['set']
        photo = sets.get(subset, {}).get(name)
        if photo is not None:
            found.setdefault(row['bsds_id'], Segmented(photo, subset, name))
        elif not some:
            raise SAPDError(f'--segmentations: {index} names {row["image"]} of {subset}, expected one of {list(sets)}.')
    if not found:
        raise SAPDError(f'--segmentations: {index} names none of the photos of {list(sets)}.')
    return dict(sorted(found.items()))


def write_people(store: Path, segmentations: Path, photos: Mapping[str, Segmented]) -> None:
    """Write one label map a photo, under its BSDS number; what is there already is kept.

    Raises:
        SAPDError: for a file that is none of BSDS, a segmentation of another size than its photo, or a store of other
            masks.
    """
    people = {subset: People(segmentations, subset) for subset in {one.subset for one in photos.values()}}
    for one in photos.values():
        people[one.subset].check([one.name])
    with MaskStoreWriter(store, {**SETTINGS, 'note': f'{len(photos)} photos'}) as writer:
        left = [key for key in photos if not writer.done(key)]
        print(f'{store.parent.name}/{store.name}: {len(photos)} masks by people: {len(left)} to do')
        for key in tqdm(left, 'people', unit='image', disable=not left, mininterval=0.5):
            drawn = people[photos[key].subset].annotators(photos[key].name)
            size = source_shape(photos[key].photo)[:2]
            for one in drawn:
                if one.shape != size:
                    raise SAPDError(f'--segmentations: {key}.mat is of {one.shape}, its photo of {size}.')
            chosen = drawn[most_agreed(drawn)]
            # Each value is a segment, 0 as well; in a label map 0 is what has no mask.
            writer.put(key, LabelMap.from_labels(chosen - chosen.min() + 1))


def most_agreed(drawn: Sequence[np.ndarray]) -> int:
    """Tell whose segmentation covers those of the others best, on average; the first of equals.

    Args:
        drawn: (H,W) integers each, at least one.

    >>> halves, thirds = np.array([[1, 1, 1, 2, 2, 2]]), np.array([[1, 1, 2, 2, 3, 3]])
    >>> most_agreed([thirds, halves, halves])
    1
    """
    if len(drawn) < 2:
        return 0
    scores = [
        np.mean([segmentation_covering(mine, other) for i, other in enumerate(drawn) if i != own])
        for own, mine in enumerate(shifted - shifted.min() + 1 for shifted in drawn)
    ]
    return int(np.argmax(scores))

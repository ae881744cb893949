"""Annotators' masks of the photos of MiniHuman: for each photo, the segmentation that covers the others best.

They are a yardstick for a segmenter's masks: priors cannot be much better than the masks of annotators.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.people import INDEX, People
from sapd_plugin.experiments.results import read_csv
from sapd_plugin.image_header import image_size
from sapd_plugin.priors.inspection.overlap import segmentation_covering
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter
from studies.sam_priors.data.sets import Photos

# The settings in the store's manifest, which its fingerprint is made from.
SETTINGS = {
    'segmenter': 'people',
    'source': "BSDS, people's segmentations",
    'annotator': 'the one whose segmentation covers those of the others best, on average',
}


class Segmented(NamedTuple):
    """A photo, and the set (``rain100l`` or ``cbsd68``) and name by which its segmentations are found."""

    photo: Path
    subset: str
    name: str


def segmented_photos(segmentations: Path, sets: Mapping[str, Photos], any_count: bool) -> dict[str, Segmented]:
    """Find one photo for each BSDS number that annotators segmented.

    ``segmentations`` holds ``ID.mat`` files and an index.csv with ``set``, ``image`` and ``bsds_id``; a number's first
    photo is used. ``sets`` are ``rain100l`` and ``cbsd68``. With ``any_count``, rows without a photo are skipped.

    Raises:
        SAPDError: the index does not exist, or it names an unknown set or photo.
    """
    index = segmentations / INDEX
    photos: dict[str, Segmented] = {}
    try:
        rows = read_csv(index, ['set', 'image'], [], texts=['bsds_id'])
    except SAPDError as error:
        raise SAPDError(f'--segmentations: {error}') from error
    for image, subset, number in zip(rows['image'], rows['set'], rows['bsds_id']):
        name = Path(image).stem
        photo = sets.get(subset, {}).get(name)
        if photo is not None:
            photos.setdefault(number, Segmented(photo, subset, name))
        elif not any_count:
            raise SAPDError(f'--segmentations: {index} names {image} of {subset}, expected one of {list(sets)}.')
    if not photos:
        raise SAPDError(f'--segmentations: {index} names none of the photos of {list(sets)}.')
    return dict(sorted(photos.items()))


def write_masks(store: Path, segmentations: Path, photos: Mapping[str, Segmented]) -> None:
    """Write one label map per photo, under its BSDS number; existing ones are kept.

    Raises:
        SAPDError: a file is not a BSDS file, a segmentation and its photo have different sizes, or the store holds
            different masks.
    """
    readers = {subset: People(segmentations, subset) for subset in {one.subset for one in photos.values()}}
    for one in photos.values():
        readers[one.subset].check([one.name])
    with MaskStoreWriter(store, {**SETTINGS, 'note': f'{len(photos)} photos'}) as writer:
        missing = [key for key in photos if not writer.done(key)]
        print(f"{store.parent.name}/{store.name}: {len(photos)} annotators' masks: {len(missing)} to do")
        for key in tqdm(missing, 'annotators', unit='image', disable=not missing, mininterval=0.5):
            drawn = readers[photos[key].subset].annotators(photos[key].name)
            size = image_size(photos[key].photo)
            if wrong := [one.shape for one in drawn if one.shape != size]:
                raise SAPDError(f'--segmentations: {key}.mat has size {wrong[0]}, its photo {size}.')
            chosen = drawn[most_agreed(drawn)]
            # Each value is a segment, including 0; in a label map, 0 means no mask.
            writer.put(key, LabelMap.from_labels(chosen - chosen.min() + 1))


def most_agreed(drawn: Sequence[np.ndarray]) -> int:
    """Return the index of the segmentation that covers the others best on average; if several do, the first one.

    Args:
        drawn: segmentations, (H,W) integer each; at least one.

    >>> halves, thirds = np.array([[1, 1, 1, 2, 2, 2]]), np.array([[1, 1, 2, 2, 3, 3]])
    >>> most_agreed([thirds, halves, halves])
    1
    """
    if len(drawn) < 2:
        return 0
    scores = [
        np.mean([segmentation_covering(own - own.min() + 1, other) for i, other in enumerate(drawn) if i != number])
        for number, own in enumerate(drawn)
    ]
    return int(np.argmax(scores))

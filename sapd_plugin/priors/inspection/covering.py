"""Segmentation covering: how well a label map covers people's segmentations of the same photo.

Arbelaez, Maire, Fowlkes and Malik, "Contour Detection and Hierarchical Image Segmentation", TPAMI 2011, equation 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError


class Covering(NamedTuple):
    """Against several annotators, 0..1: the one who agrees most, and the mean over all."""

    best: float
    mean: float


class Overlaps(NamedTuple):
    """Each region of a segmentation against each of a label map.

    Attributes:
        labels: (L,) the map's labels, ascending, 0 among them where it occurs.
        truth: (T,) the segmentation's.
        iou: (T,L) float64.
        truth_areas: (T,) float64, pixels.
    """

    labels: np.ndarray
    truth: np.ndarray
    iou: np.ndarray
    truth_areas: np.ndarray


def segmentation_covering(labels: np.ndarray, truth: np.ndarray, rest: bool = False) -> float:
    """Cover one person's segmentation with a label map's regions.

    The mean over the pixels of ``truth`` of the largest IoU that its region has with any region of ``labels``.

    Args:
        labels: (H,W) integers; 0 = no mask.
        truth: (H,W) integers; each value is a region, 0 as well.
        rest: count the pixels without a mask as one region more; otherwise they cover nothing.

    Returns:
        0 (nothing in common) to 1 (the same regions).

    Raises:
        SAPDError: for arrays that are no two label images of one size.

    >>> truth = np.array([[1, 1, 2, 2]])
    >>> segmentation_covering(truth, truth), segmentation_covering(np.array([[5, 5, 5, 0]]), truth)
    (1.0, 0.4583333333333333)
    """
    table = overlaps(labels, truth)
    regions = table.iou * (rest | (table.labels != 0))
    return float(table.truth_areas @ regions.max(1) / table.truth_areas.sum())


def overlaps(labels: np.ndarray, truth: np.ndarray) -> Overlaps:
    """Intersect each region of a segmentation with each region of a label map.

    Args:
        labels: (H,W) integers.
        truth: the same size.

    Raises:
        SAPDError: for arrays that are no two label images of one size.
    """
    labels, truth = np.asarray(labels), np.asarray(truth)
    for name, array in (('labels', labels), ('truth', truth)):
        if array.ndim != 2 or array.size == 0 or array.dtype.kind not in 'ui':
            raise SAPDError(f'covering: {name}: found {array.dtype} {array.shape}, expected integers (H,W).')
    if labels.shape != truth.shape:
        raise SAPDError(f'covering: found labels {labels.shape} and truth {truth.shape}, expected equal sizes.')
    ours, columns = np.unique(labels, return_inverse=True)
    theirs, rows = np.unique(truth, return_inverse=True)
    pairs = np.bincount(rows.reshape(-1) * len(ours) + columns.reshape(-1), minlength=len(theirs) * len(ours))
    shared = pairs.reshape(len(theirs), len(ours)).astype(np.float64)
    areas = shared.sum(1)
    return Overlaps(ours, theirs, shared / (areas[:, None] + shared.sum(0) - shared), areas)


def covering(labels: np.ndarray, truths: Sequence[np.ndarray], rest: bool = False) -> Covering:
    """Cover each annotator's segmentation.

    Args:
        labels: (H,W) integers, 0 = no mask.
        truths: one (H,W) integer array an annotator.
        rest: see `segmentation_covering`.

    Raises:
        SAPDError: for no annotator, or what `segmentation_covering` refuses.
    """
    if not truths:
        raise SAPDError('covering: found no annotator, expected one or more.')
    scores = [segmentation_covering(labels, truth, rest) for truth in truths]
    return Covering(max(scores), float(np.mean(scores)))

"""Agreement of two label maps of one image: segmentation covering, and regions matched one to one.

Arbelaez, Maire, Fowlkes and Malik, "Contour Detection and Hierarchical Image Segmentation", TPAMI 2011, equation 9.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError


class MapAgreement(NamedTuple):
    """Agreement of two label maps.

    Attributes:
        matched_iou: sum of the IoUs of matched regions divided by the larger number of regions; 1 for equal maps, 0 if
            nothing overlaps, 1 if neither has a region.
        matched: number of matched pairs.
        coverage: of the first and of the second map, 0..1.
        regions: of the first and of the second map.
    """

    matched_iou: float
    matched: int
    coverage: tuple[float, float]
    regions: tuple[int, int]


def compare_maps(first: np.ndarray, second: np.ndarray) -> MapAgreement:
    """Match the regions of two label maps one to one, greedily by descending IoU; (H,W) integers, 0 = no mask.

    Raises:
        SAPDError: the sizes differ.

    >>> compare_maps(np.array([[1, 1, 2, 0]]), np.array([[3, 3, 3, 0]])).matched_iou
    0.3333333333333333
    """
    if first.shape != second.shape:
        raise SAPDError(f'comparison: found label maps of {first.shape} and {second.shape}, expected equal sizes.')
    (first_names, second_names), rows, columns, iou, _ = _intersect(first, second)
    inside = (first_names[rows] != 0) & (second_names[columns] != 0)
    rows, columns, iou = rows[inside], columns[inside], iou[inside]
    taken: tuple[set[int], set[int]] = (set(), set())
    total = 0.0
    for i in np.argsort(-iou, kind='stable'):
        if rows[i] not in taken[0] and columns[i] not in taken[1]:
            taken[0].add(rows[i])
            taken[1].add(columns[i])
            total += float(iou[i])
    regions = int((first_names != 0).sum()), int((second_names != 0).sum())
    coverage = float((first != 0).mean()), float((second != 0).mean())
    return MapAgreement(total / max(regions) if max(regions) else 1.0, len(taken[0]), coverage, regions)


class Covering(NamedTuple):
    """Covering over several annotators, 0..1: that of the one who agrees most, and the mean."""

    best: float
    mean: float


class Overlaps(NamedTuple):
    """IoU of each region of a segmentation with each region of a label map.

    Attributes:
        labels: (L,) the map's labels, ascending, including 0 if it occurs.
        truth: (T,) the segmentation's labels.
        iou: (T,L) float64.
        truth_areas: (T,) float64, pixels.
    """

    labels: np.ndarray
    truth: np.ndarray
    iou: np.ndarray
    truth_areas: np.ndarray


def segmentation_covering(labels: np.ndarray, truth: np.ndarray, rest: bool = False) -> float:
    """Return the mean over the pixels of ``truth`` of the largest IoU that its region has with a region of ``labels``.

    Args:
        labels: (H,W) integers; 0 = no mask.
        truth: (H,W) integers; each value is a region, including 0.
        rest: count the pixels without a mask as one additional region; otherwise they cover nothing.

    Returns:
        0 (nothing in common) to 1 (the same regions).

    Raises:
        SAPDError: the arrays are not two label images of one size.

    >>> truth = np.array([[1, 1, 2, 2]])
    >>> segmentation_covering(truth, truth), segmentation_covering(np.array([[5, 5, 5, 0]]), truth)
    (1.0, 0.4583333333333333)
    """
    table = overlaps(labels, truth)
    regions = table.iou * (rest | (table.labels != 0))
    return float(table.truth_areas @ regions.max(1) / table.truth_areas.sum())


def overlaps(labels: np.ndarray, truth: np.ndarray) -> Overlaps:
    """Intersect each region of a segmentation with each region of a label map, both (H,W) integers.

    Raises:
        SAPDError: the arrays are not two label images of one size.
    """
    labels, truth = np.asarray(labels), np.asarray(truth)
    for name, array in (('labels', labels), ('truth', truth)):
        if array.ndim != 2 or array.size == 0 or array.dtype.kind not in 'ui':
            raise SAPDError(f'covering: {name}: found {array.dtype} {array.shape}, expected integers (H,W).')
    if labels.shape != truth.shape:
        raise SAPDError(f'covering: found labels {labels.shape} and truth {truth.shape}, expected equal sizes.')
    (truth_names, names), rows, columns, iou, areas = _intersect(truth, labels)
    table = np.zeros((len(truth_names), len(names)))
    table[rows, columns] = iou
    return Overlaps(names, truth_names, table, areas.astype(np.float64))


def covering(labels: np.ndarray, truths: Sequence[np.ndarray], rest: bool = False) -> Covering:
    """Compute `segmentation_covering` with each annotator's segmentation, one (H,W) integer array each.

    Raises:
        SAPDError: there is no annotator, or as for `segmentation_covering`.
    """
    if not truths:
        raise SAPDError('covering: found no annotator, expected one or more.')
    scores = [segmentation_covering(labels, truth, rest) for truth in truths]
    return Covering(max(scores), float(np.mean(scores)))


def _intersect(
    first: np.ndarray, second: np.ndarray
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Intersect two label maps: labels of both; row, column and IoU of each overlapping pair; areas in the first."""
    (names, rows), (other_names, columns) = (np.unique(labels, return_inverse=True) for labels in (first, second))
    pairs, shared = np.unique(rows.reshape(-1) * len(other_names) + columns.reshape(-1), return_counts=True)
    rows, columns = np.divmod(pairs, len(other_names))
    areas, other_areas = np.bincount(rows, shared), np.bincount(columns, shared)
    return (names, other_names), rows, columns, shared / (areas[rows] + other_areas[columns] - shared), areas

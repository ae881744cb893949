"""How well masks cut from a restored image agree with those of the clean one, and with people's segmentations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sapd_plugin.priors.inspection.overlap import compare_maps, covering, overlaps, segmentation_covering

AGREEMENT = {
    'mIoU': 'mean over the masks of the clean image of the largest IoU with a mask of this one, each mask counting '
    'alike (mean best overlap: Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, section 5)',
    'covering': 'segmentation covering of the clean masks by these: the same with each pixel counting alike '
    '(Arbelaez et al., TPAMI 2011, equation 9)',
    'covered': 'the other direction: covering of these masks by the clean ones',
    'matched IoU': 'masks matched one to one, greedily by IoU: the sum of their IoU over the larger count of masks',
}
"""Measures of masks against the clean image's masks, and what they are. All are 0..1, more is better.

SAM's masks have no classes, so the mean IoU over classes of semantic segmentation does not apply; these are its usual
stand-ins. Regions are what is visible of the masks in a label map, small masks above large ones.
"""
PEOPLE = {
    'human best': 'covering of the segmentation of the one person who agrees most with the masks, of those who '
    'segmented the image',
    'human mean': 'the same, mean over these people',
}
"""Measures against people's segmentations."""
DESCRIPTIVE = {'masks': 'number of masks', 'coverage': 'share of the pixels that have a mask'}
"""Of the masks alone."""


def against_clean(labels: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """Measure one image's masks against those of its clean image, see `AGREEMENT`.

    In the two coverings the pixels without a mask are one region more.

    Args:
        labels: (H,W) integers, 0 = no mask.
        clean: the same size.

    Raises:
        SAPDError: for other sizes.

    >>> against_clean(np.array([[1, 1, 0, 0]]), np.array([[1, 1, 1, 2]]))['mIoU']
    0.3333333333333333
    """
    return {
        'mIoU': mean_best_iou(labels, clean),
        'covering': segmentation_covering(labels, clean, rest=True),
        'covered': segmentation_covering(clean, labels, rest=True),
        'matched IoU': compare_maps(labels, clean).matched_iou,
    }


def mean_best_iou(labels: np.ndarray, truth: np.ndarray) -> float:
    """Mean over the masks of ``truth`` of the largest IoU with a mask of ``labels``; 0 is no mask in either.

    Where ``truth`` has no mask: 1 if ``labels`` has none as well, else 0.
    """
    table = overlaps(labels, truth)
    iou = table.iou[table.truth != 0][:, table.labels != 0]
    if not len(iou):
        return float(iou.shape[1] == 0)
    return float(iou.max(1, initial=0.0).mean())


def against_people(labels: np.ndarray, people: Sequence[np.ndarray]) -> dict[str, float]:
    """Measure one image's masks against what people drew, see `PEOPLE`; pixels without a mask are one region more.

    Raises:
        SAPDError: for nobody, or other sizes.
    """
    scores = covering(labels, people, rest=True)
    return {'human best': scores.best, 'human mean': scores.mean}


def recoloured(labels: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Give regions the label of the clean image's region that they share more than half with; others get new ones.

    So that pictures show what is the same in the same colour. Returns (H,W) int64.
    """
    table = overlaps(clean, labels)
    names = np.where(table.iou.max(1) > 0.5, table.labels[table.iou.argmax(1)], int(clean.max()) + 1 + table.truth)
    # What has no mask must not take a region's colour, nor a region that of none.
    names = np.where((names == 0) & (table.truth != 0), int(clean.max()) + 1 + table.truth, names)
    names[table.truth == 0] = 0
    return names[np.searchsorted(table.truth, labels)]

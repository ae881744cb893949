"""Agreement of the masks of a restored image with those of the clean one, and with annotators' segmentations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sapd_plugin.priors.inspection.overlap import compare_maps, covering, overlaps, segmentation_covering

# Measures of masks against the clean image's masks, and their meaning. All are 0..1, higher is better.
# SAM's masks have no classes, so the mean IoU over classes of semantic segmentation does not apply; these are its
# usual stand-ins. Regions are the visible parts of the masks in a label map, small masks above large ones.
AGREEMENT = {
    'mIoU': 'mean over the masks of the clean image of the largest IoU with a mask of this one, with equal weight per '
    'mask (mean best overlap: Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, section 5)',
    'covering': 'segmentation covering of the clean masks by these: the same with equal weight per pixel '
    '(Arbelaez et al., TPAMI 2011, equation 9)',
    'covered': 'the other direction: covering of these masks by the clean ones',
    'matched IoU': 'masks matched one to one, greedily by IoU: the sum of their IoUs over the larger number of masks',
}
# Measures against annotators' segmentations.
PEOPLE = {
    'human best': 'covering of the segmentation by the annotator who agrees most with the masks',
    'human mean': 'its mean over all annotators of the image',
}
# Of the masks themselves.
DESCRIPTIVE = {'masks': 'number of masks', 'coverage': 'fraction of the pixels that have a mask'}


def against_clean(labels: np.ndarray, clean: np.ndarray) -> dict[str, float]:
    """Measure the masks of one image against those of its clean image, see `AGREEMENT`.

    Both are (H,W) integers, 0 = no mask. In the two coverings the pixels without a mask form an additional region.

    Raises:
        SAPDError: the sizes differ.

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
    """Return the mean over the masks of ``truth`` of the largest IoU with a mask of ``labels``; 0 = no mask in both.

    Without a mask in ``truth``: 0 if ``labels`` has masks, else 1.
    """
    table = overlaps(labels, truth)
    iou = table.iou[table.truth != 0][:, table.labels != 0]
    if not len(iou):
        return float(iou.shape[1] == 0)
    return float(iou.max(1, initial=0.0).mean())


def against_people(labels: np.ndarray, people: Sequence[np.ndarray]) -> dict[str, float]:
    """Measure the masks of one image against its annotators, see `PEOPLE`; unmasked pixels are an additional region.

    Raises:
        SAPDError: there are no annotators, or the sizes differ.
    """
    scores = covering(labels, people, rest=True)
    return {'human best': scores.best, 'human mean': scores.mean}


def recoloured(labels: np.ndarray, clean: np.ndarray) -> np.ndarray:
    """Give each region the label of the clean region whose IoU with it is above 0.5; others get new labels.

    Pictures then show equal regions in equal colors. Returns (H,W) int64.
    """
    table = overlaps(clean, labels)
    names = np.where(table.iou.max(1) > 0.5, table.labels[table.iou.argmax(1)], int(clean.max()) + 1 + table.truth)
    # Unmasked pixels and regions must not get each other's color.
    names = np.where((names == 0) & (table.truth != 0), int(clean.max()) + 1 + table.truth, names)
    names[table.truth == 0] = 0
    return names[np.searchsorted(table.truth, labels)]

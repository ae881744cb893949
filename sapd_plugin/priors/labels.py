"""Label maps: an integer image with each pixel's region, and tables of the regions.

This is the project's only label-map type: segmenters make it, the store keeps it, and training reads crops of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError

# One region: visible pixels; box (x0, y0, x1, y1) in pixels, x1 and y1 exclusive; scores, NaN if not given.
#
# Scores are half precision: steps of 0.0005 near 1, finer than any threshold in use, and the store keeps them exactly.
REGION_DTYPE = np.dtype([('area', '<u4'), ('box', '<u4', (4,)), ('predicted_iou', '<f2'), ('stability', '<f2')])

# Colors of a region over the whole photo, RGB: mean, 0..255, and twice the standard deviation, which is at most 127.5.
COLOR_DTYPE = np.dtype([('mean', 'u1', (3,)), ('deviation', 'u1', (3,))])

# Also the largest number of regions: a crop is passed to OpenCV, whose widest label type is int32.
MAX_PIXELS = 2**31 - 1


class Runs(NamedTuple):
    """Maximal runs of one label within a row, in raster order.

    start: int64, flat index of the first pixel; length: int64, pixels; value: the label, in the image's dtype.
    """

    start: np.ndarray
    length: np.ndarray
    value: np.ndarray


def row_runs(labels: np.ndarray) -> Runs:
    """Split a (H,W) label image into its runs; each row starts a new run.

    >>> row_runs(np.array([[4, 4, 0], [0, 0, 0]])).length.tolist()
    [2, 1, 3]
    """
    begins = np.ones(labels.shape, dtype=bool)
    np.not_equal(labels[:, 1:], labels[:, :-1], out=begins[:, 1:])
    start = np.flatnonzero(begins)
    return Runs(start, np.diff(start, append=labels.size), labels.reshape(-1)[start])


def smallest_dtype(regions: int) -> np.dtype:
    """Return the smallest unsigned dtype that holds the labels 0..``regions``; raise SAPDError above 2,147,483,647."""
    if regions > MAX_PIXELS:
        raise SAPDError(f'label map: found {regions} regions, expected at most {MAX_PIXELS}.')
    return np.dtype(np.uint8 if regions <= 0xFF else np.uint16 if regions <= 0xFFFF else np.uint32)


@dataclass(frozen=True, eq=False)
class LabelMap:
    """A label image and its regions. Make one with `from_masks` or `from_labels`; both arrays are read-only.

    Attributes:
        labels: (H,W) uint8, uint16 or uint32, the smallest that holds K. 0 = no mask, 1..K = regions by descending
            area; of equal areas the one whose first pixel comes first in raster order has the lower label.
        regions: (K,) of `REGION_DTYPE`; row k-1 is region k.
        colors: (K+1,) of `COLOR_DTYPE`; row k is region k, and row 0 the pixels without a mask (zeros if there are
            none). None before `with_colors`.

    >>> label_map = LabelMap.from_labels(np.array([[7, 7, 0], [3, 7, 0]]))
    >>> label_map.labels.tolist(), label_map.regions['area'].tolist(), label_map.regions['box'][0].tolist()
    ([[1, 1, 0], [2, 1, 0]], [3, 1], [0, 0, 2, 2])
    """

    labels: np.ndarray
    regions: np.ndarray
    colors: np.ndarray | None = None

    @classmethod
    def from_labels(
        cls,
        labels: np.ndarray,
        predicted_iou: Sequence[float] | None = None,
        stability: Sequence[float] | None = None,
    ) -> LabelMap:
        """Relabel any integer label image, 0 = no mask; the values of other labels are arbitrary.

        Args:
            labels: (H,W) or (H,W,1), any integer dtype or bool, no negative label.
            predicted_iou: score of label i at position i-1; None if the segmenter does not give scores.
            stability: likewise.

        Raises:
            SAPDError: a different shape or dtype, an empty image or a negative label.
        """
        labels = _checked(labels)
        runs = row_runs(labels)
        names, first, which = np.unique(runs.value, return_index=True, return_inverse=True)
        which = which.reshape(-1)
        area = np.bincount(which, weights=runs.length).astype(np.int64)
        order = np.lexsort((runs.start[first], -area))
        order = order[names[order] != 0]

        label_of_name = np.zeros(len(names), dtype=smallest_dtype(len(order)))
        label_of_name[order] = np.arange(1, len(order) + 1)
        relabelled = label_of_name[which]
        image = np.repeat(relabelled, runs.length).reshape(labels.shape)

        regions = np.zeros(len(order), dtype=REGION_DTYPE)
        regions['area'] = area[order]
        regions['box'] = _boxes(runs, relabelled, len(order), labels.shape)
        for field, scores in (('predicted_iou', predicted_iou), ('stability', stability)):
            regions[field] = np.nan if scores is None else np.asarray(scores, dtype=float)[names[order] - 1]
        image.flags.writeable = regions.flags.writeable = False
        return cls(image, regions)

    @classmethod
    def from_masks(
        cls,
        masks: Sequence[np.ndarray] | np.ndarray,
        predicted_iou: Sequence[float] | None = None,
        stability: Sequence[float] | None = None,
        shape: tuple[int, int] | None = None,
    ) -> LabelMap:
        """Paint overlapping masks from the largest to the smallest, so that small parts stay visible.

        Areas are counted again after painting; masks that are completely covered are dropped. Of equal areas the
        one whose first pixel comes first is painted first; of those, the earlier in the list.

        Args:
            masks: (N,H,W), or N arrays (H,W), bool (any nonzero value counts as inside).
            predicted_iou: N scores, or None.
            stability: N scores, or None.
            shape: (H,W), only needed for an empty list.

        Raises:
            SAPDError: unequal sizes, a different number of scores, or an empty list without ``shape``.
        """
        masks = [np.asarray(mask) != 0 for mask in masks]
        if shape is None and not masks:
            raise SAPDError('label map: found no mask and no shape, expected one of them to know the image size.')
        size = tuple(shape) if shape is not None else masks[0].shape
        for i, mask in enumerate(masks):
            if mask.shape != size:
                raise SAPDError(f'label map: mask {i} has shape {mask.shape}, expected {size}.')
        for name, scores in (('predicted_iou', predicted_iou), ('stability', stability)):
            if scores is not None and len(scores) != len(masks):
                raise SAPDError(f'label map: found {len(scores)} values of {name}, expected {len(masks)}.')
        painted = np.zeros(size, dtype=smallest_dtype(len(masks)))
        order = sorted(range(len(masks)), key=lambda i: (-int(masks[i].sum()), int(masks[i].argmax()), i))
        for i in order:
            painted[masks[i]] = i + 1
        return cls.from_labels(painted, predicted_iou, stability)

    def with_colors(self, image: np.ndarray) -> LabelMap:
        """Return this map with the colors of its regions.

        Args:
            image: the photo, (H,W,3) uint8 RGB.

        Raises:
            SAPDError: a different size or dtype.

        >>> photo = np.full((1, 2, 3), 9, np.uint8)
        >>> LabelMap.from_labels(np.array([[1, 0]])).with_colors(photo).colors['mean'].tolist()
        [[9, 9, 9], [9, 9, 9]]
        """
        if image.shape != (*self.shape, 3) or image.dtype != np.uint8:
            raise SAPDError(
                f'label map: found a photo of shape {image.shape} and dtype {image.dtype}, expected '
                f'{(*self.shape, 3)} and uint8.'
            )
        rows, which = len(self) + 1, self.labels.reshape(-1)
        pixels = np.maximum(np.bincount(which, minlength=rows), 1)[:, None]
        values = image.reshape(-1, 3).astype(np.float64).T
        sums, squares = (
            np.stack([np.bincount(which, channel, rows) for channel in power], axis=1) for power in (values, values**2)
        )
        mean = sums / pixels
        variance = np.maximum(squares / pixels - mean**2, 0)
        colors = np.zeros(rows, dtype=COLOR_DTYPE)
        colors['mean'], colors['deviation'] = np.rint(mean), np.rint(2 * np.sqrt(variance))
        colors.flags.writeable = False
        return replace(self, colors=colors)

    @property
    def shape(self) -> tuple[int, int]:
        """(H, W) in pixels."""
        return self.labels.shape[0], self.labels.shape[1]

    @property
    def coverage(self) -> float:
        """Fraction of the pixels that belong to a region, 0..1."""
        return int(self.regions['area'].sum(dtype=np.int64)) / self.labels.size

    def __len__(self) -> int:
        """Return the number of regions."""
        return len(self.regions)


def _checked(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim == 3 and labels.shape[2] == 1:
        labels = labels[:, :, 0]
    if labels.ndim != 2 or labels.size == 0:
        raise SAPDError(f'label map: found shape {labels.shape}, expected (H, W) with at least one pixel.')
    if labels.size > MAX_PIXELS:
        raise SAPDError(f'label map: found {labels.size} pixels, expected at most {MAX_PIXELS}.')
    if labels.dtype == bool:
        labels = labels.astype(np.uint8)
    if labels.dtype.kind not in 'ui':
        raise SAPDError(f'label map: found dtype {labels.dtype}, expected integers.')
    if labels.dtype.kind == 'i' and labels.min() < 0:
        raise SAPDError(f'label map: found the label {labels.min()}, expected 0 (no mask) or positive labels.')
    return labels


def _boxes(runs: Runs, value: np.ndarray, count: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return each region's box, from the ends of its runs: (count,4) of x0, y0, x1, y1."""
    y, x0 = np.divmod(runs.start, shape[1])
    low = np.full((count + 1, 2), max(shape), dtype=np.int64)
    high = np.zeros((count + 1, 2), dtype=np.int64)
    np.minimum.at(low, value, np.stack([x0, y], axis=1))
    np.maximum.at(high, value, np.stack([x0 + runs.length, y + 1], axis=1))
    return np.concatenate([low, high], axis=1)[1:]

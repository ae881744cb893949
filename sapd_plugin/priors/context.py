"""Context of regions: what a training patch does not show of them, their statistics over the whole photo."""

from __future__ import annotations

import numpy as np

# Columns: mean of R, G, B; standard deviation of R, G, B; share of the photo's area.
COLUMNS = 7
# Regions of a patch. Patches rarely hold more; a fixed number lets patches form a batch.
REGIONS = 64


def region_context(regions: np.ndarray, colors: np.ndarray, pixels: int) -> np.ndarray:
    """Return the statistics of a photo's regions.

    Args:
        regions: (K,) of `REGION_DTYPE`.
        colors: (K+1,) of `COLOR_DTYPE`.
        pixels: those of the photo.

    Returns:
        (K+1, COLUMNS) float32; row k is region k, row 0 the pixels without a mask. Means are in 0..1, deviations in
        0..0.5, shares in 0..1.
    """
    areas = np.concatenate([[pixels - regions['area'].sum(dtype=np.int64)], regions['area']])
    context = np.empty((len(colors), COLUMNS), dtype=np.float32)
    context[:, :3], context[:, 3:6], context[:, 6] = colors['mean'] / 255, colors['deviation'] / 510, areas / pixels
    return context


def patch_context(mask: np.ndarray, context: np.ndarray, limit: int = REGIONS) -> tuple[np.ndarray, np.ndarray]:
    """Number the labels of a patch 1..n anew, in the same order, and take their rows of the photo's context.

    Args:
        mask: any shape, integer labels 0..K of the photo.
        context: (K+1, COLUMNS) of the photo.
        limit: the number of regions kept, the largest in the patch; the pixels of the others become 0.

    Returns:
        The new mask, int32, and its context, (limit+1, COLUMNS) float32; rows that belong to no region are 0.

    >>> photo = np.arange(6)[:, None].repeat(COLUMNS, axis=1)
    >>> mask, rows = patch_context(np.array([[5, 5, 0], [2, 0, 4]]), photo, limit=2)
    >>> mask.tolist(), rows[:, 0].tolist()
    ([[2, 2, 0], [1, 0, 0]], [0.0, 2.0, 5.0])
    """
    pixels = np.bincount(mask.reshape(-1), minlength=len(context))[1:]
    largest = np.argsort(-pixels, kind='stable')[:limit]
    kept = 1 + np.sort(largest[pixels[largest] > 0])
    numbers = np.zeros(len(context), dtype=np.int32)
    numbers[kept] = np.arange(1, len(kept) + 1)
    rows = np.zeros((limit + 1, COLUMNS), dtype=np.float32)
    rows[0], rows[1 : len(kept) + 1] = context[0], context[kept]
    return numbers[mask], rows

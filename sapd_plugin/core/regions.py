"""Regions of label maps: order by area, majority downsampling, region means.

A label map is an integer tensor (N,1,H,W), 0 = no mask, 1..K = regions. The labels of a crop may have gaps. All
functions work on a whole batch without loops over images or regions.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def region_order(labels: Tensor, max_regions: int, min_size: int = 1, static: bool = False) -> tuple[Tensor, Tensor]:
    """Relabel each image's regions 1..R by descending area, regions of equal area by ascending label.

    Args:
        labels: (N,1,H,W), any integer dtype, 0 = no mask.
        max_regions: keep this many of the largest regions per image; the rest become 0.
        min_size: regions of fewer pixels become 0.
        static: R is ``max_regions`` for every batch. No value is read from the device, so that a GPU does not wait; a
            CPU takes a few milliseconds longer. The result is the same, with more sizes of 0.

    Returns:
        order (N,1,H,W) int64 in 0..R, and sizes (N,R) int64 in pixels. R is the largest number of regions of any image
        in the batch, at most ``max_regions``. Sizes are 0 for the regions that an image lacks.

    >>> order, sizes = region_order(torch.tensor([[[[7, 7, 7], [3, 0, 0]]]]), max_regions=8)
    >>> order.tolist(), sizes.tolist()
    ([[[[1, 1, 1], [2, 0, 0]]]], [[3, 1]])
    """
    if static:
        return _static_order(labels, max_regions, min_size)
    n = labels.shape[0]
    flat = labels.reshape(n, -1).long()
    width = int(flat.max()) + 1
    offset = torch.arange(n, device=flat.device).unsqueeze(1) * width
    sizes = torch.bincount((flat + offset).reshape(-1), minlength=n * width).view(n, width)
    sizes[:, 0] = 0
    sizes[sizes < min_size] = 0
    sizes, by_size = sizes.sort(dim=1, descending=True, stable=True)
    kept = min(int((sizes > 0).sum(dim=1).max()), max_regions)
    sizes, by_size = sizes[:, :kept], by_size[:, :kept]
    order_of_label = torch.zeros(n, width, dtype=torch.long, device=flat.device)
    order_of_label.scatter_(1, by_size, torch.arange(1, kept + 1, device=flat.device) * (sizes > 0))
    return order_of_label.gather(1, flat).view(labels.shape), sizes


def _static_order(labels: Tensor, max_regions: int, min_size: int) -> tuple[Tensor, Tensor]:
    pixels = labels[0].numel()
    run, values = _runs(labels)
    sizes = torch.zeros_like(run).scatter_add_(1, run, (values > 0).long())
    # One number a run, which sorts as (size, -label) does: runs have ascending labels.
    keys = sizes * pixels + torch.arange(pixels - 1, -1, -1, device=run.device)
    kept = min(max_regions, pixels)
    keys = keys.topk(kept, dim=1).values
    sizes = torch.div(keys, pixels, rounding_mode='floor')
    sizes = sizes * (sizes >= min_size)
    rank = torch.arange(1, kept + 1, device=run.device) * (sizes > 0)
    rank_of_run = torch.zeros_like(run).scatter_(1, pixels - 1 - keys % pixels, rank)
    return rank_of_run.gather(1, run).view(labels.shape), F.pad(sizes, (0, max_regions - kept))


def _runs(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Number each image's labels 0, 1, ... in ascending order, whatever their values and without reading them.

    Returns:
        Each pixel's number, (N,P) int64 below P, and the pixels' labels, (N,P).
    """
    flat = labels.reshape(labels.shape[0], -1)
    ordered, pixel = flat.int().sort(dim=1)  # int32 sorts several times faster than int64
    number = F.pad(ordered[:, 1:] != ordered[:, :-1], (1, 0)).cumsum(dim=1)
    return torch.empty_like(number).scatter_(1, pixel, number), flat


def painted_means(features: Tensor, labels: Tensor) -> Tensor:
    """Return a map in which each labelled pixel has the mean of its region, and the others 0.

    Args:
        features: (N,C,H,W) floating.
        labels: (N,1,H,W), any integer dtype, 0 = no mask.

    Returns:
        (N,C,H,W).
    """
    pixels = features.flatten(2)
    run, values = _runs(labels)
    sizes = torch.zeros_like(run).scatter_add_(1, run, torch.ones_like(run)).unsqueeze(1)
    index = run.unsqueeze(1).expand_as(pixels)
    means = torch.zeros_like(pixels).scatter_add(2, index, pixels) / sizes.clamp(min=1).to(pixels.dtype)
    return (means.gather(2, index) * (values > 0).unsqueeze(1)).view_as(features)


def majority_downsample(labels: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Downsample label maps to the size of a feature map: each cell gets the most frequent label of its pixels.

    A tie goes to the larger label. In a map ordered by descending area, this is the smaller region.

    Args:
        labels: (N,1,H,W), any integer dtype.
        stride: number of image pixels per feature cell, along each side.
        size: (h, w) of the feature map. Pixels beyond h*stride, w*stride are left out, as in pooling. Cells beyond the
            image are 0.

    Returns:
        (N,1,h,w) int32.

    >>> majority_downsample(torch.tensor([[[[5, 5, 0, 2], [5, 1, 0, 2]]]]), 2, (1, 2)).tolist()
    [[[[5, 2]]]]
    """
    height, width = size[0] * stride, size[1] * stride
    labels = labels.int()[:, :, :height, :width]  # int32 sorts several times faster than int64
    labels = F.pad(labels, (0, width - labels.shape[3], 0, height - labels.shape[2]))
    if stride == 1:
        return labels
    n, cells = labels.shape[0], stride * stride
    blocks = labels.view(n, size[0], stride, size[1], stride).permute(0, 1, 3, 2, 4).reshape(n, *size, cells)
    blocks = blocks.sort(dim=-1).values
    # After sorting, equal labels form a run. At the last position of a run, its length so far is the label's count.
    position = torch.arange(cells, dtype=torch.int32, device=labels.device)
    starts_run = F.pad(blocks[..., 1:] != blocks[..., :-1], (1, 0), value=True)
    run = position - (position * starts_run).cummax(dim=-1).values + 1
    base = blocks.max() + 1
    return ((run * base + blocks).amax(dim=-1) % base).unsqueeze(1)


def region_means(features: Tensor, order: Tensor, sizes: Tensor) -> Tensor:
    """Return the mean of a feature map over each region, v_k.

    Args:
        features: (N,C,h,w) floating.
        order: (N,1,h,w), from :func:`region_order`.
        sizes: (N,R), from :func:`region_order`.

    Returns:
        (N,R,C); zeros for a region of size 0.
    """
    pixels, regions = features.flatten(2), sizes.shape[1]
    # Pixels without a mask are summed as well and dropped, which is faster than leaving them out.
    index = order.flatten(2).expand(-1, pixels.shape[1], -1)
    sums = pixels.new_zeros(*pixels.shape[:2], regions + 1).scatter_add(2, index, pixels)[..., 1:]
    return (sums / sizes.clamp(min=1).unsqueeze(1).to(features.dtype)).transpose(1, 2)


def boundaries(labels: Tensor) -> Tensor:
    """Return a bool (N,1,H,W): pixels of ``labels`` with a neighbour, along a side, that has a different label."""
    edge = torch.zeros_like(labels, dtype=torch.bool)
    across = labels[..., :, 1:] != labels[..., :, :-1]
    down = labels[..., 1:, :] != labels[..., :-1, :]
    edge[..., :, 1:] |= across
    edge[..., :, :-1] |= across
    edge[..., 1:, :] |= down
    edge[..., :-1, :] |= down
    return edge

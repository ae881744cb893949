"""The regions of a batch of patches at the sizes of a network's feature maps: means over regions, and painting.

Sums over regions are products with a matrix that says which pixel belongs to which region. Its shape depends on the
sizes alone, so that nothing is read from the device, and its products are deterministic, forward and backward.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sapd_plugin.core.color import to_single
from sapd_plugin.core.regions import boundaries, region_order

CONTEXT_STATISTICS = 7  # mean (3) and deviation (3) of the region's colors in the whole photo, its share of the photo


class Level:
    """The regions at the size of one feature map.

    Region 0 holds all pixels without a mask, and is a region like any other. An image with fewer than R regions has
    empty ones, whose means are 0.

    Args:
        labels: (N,h,w) int64 in 0..R-1.
        regions: R.
        pixels: number of image pixels per feature cell.
        dtype: of sums over regions, float32 at least.
    """

    def __init__(self, labels: Tensor, regions: int, pixels: int, dtype: torch.dtype) -> None:
        flat = labels.flatten(1)
        self.members = (flat.unsqueeze(1) == torch.arange(regions, device=flat.device).view(1, -1, 1)).to(dtype)
        self.sizes = self.members.sum(dim=2, keepdim=True)
        self.log_area = (self.sizes * pixels + 1).log() / 8  # about 1 for a region of 55 x 55 pixels

    def means(self, values: Tensor) -> Tensor:
        """Return the means (N,R,C) over the regions of ``values`` (N,C,P), P = h*w."""
        return self.members @ values.transpose(1, 2) / self.sizes.clamp(min=1)

    def mean(self, means: Tensor) -> Tensor:
        """Return the mean over the image, (N,1,C), from those of its regions."""
        return (means * self.sizes).sum(dim=1, keepdim=True) / self.members.shape[2]

    def paint(self, values: Tensor) -> Tensor:
        """Return a map (N,C,P) in which each pixel has the ``values`` (N,R,C) of its region."""
        return values.transpose(1, 2) @ self.members


class Partition:
    """The regions of a batch of patches.

    Args:
        mask: M, (N,1,H,W) integer, 0 = no mask.
        max_regions: keep this many of the largest regions of each patch; the others become the region 0.
        dtype: of the images.
        context: (N,K+1,S), statistics of the whole photo's regions; row k is that of label k. None if unused.
    """

    def __init__(self, mask: Tensor, max_regions: int, dtype: torch.dtype, context: Tensor | None = None) -> None:
        self.order, _ = region_order(mask, max_regions, static=True)
        self.regions, self.dtype = max_regions + 1, dtype
        self.context = None if context is None else self._by_region(mask, context.to(dtype))
        self._levels: dict[tuple[int, int, int], Level] = {}

    def _by_region(self, mask: Tensor, context: Tensor) -> Tensor:
        """Return the rows of ``context`` (N,K+1,S) in the order of the regions, (N,R,S)."""
        label = torch.zeros(mask.shape[0], self.regions, dtype=torch.int64, device=mask.device)
        # Every pixel of a region writes the same label. Region 0 may be made of several: it has that of no mask.
        label = label.scatter_(1, self.order.flatten(1), mask.flatten(1).long())
        label[:, 0] = 0
        return context.gather(1, label.unsqueeze(2).expand(-1, -1, context.shape[2]))

    def at(self, stride: int, size: tuple[int, int]) -> Level:
        """Return the regions at the size (h,w) of a feature map that has one cell per ``stride`` x ``stride`` pixels.

        A cell belongs to the region of its central pixel. If a network pads its image on the right and at the bottom,
        the padding belongs to the region of the nearest pixel.
        """
        key = (stride, *size)
        if key not in self._levels:
            labels = fit(self.order, stride, size)[:, 0, stride // 2 :: stride, stride // 2 :: stride]
            self._levels[key] = Level(labels, self.regions, stride * stride, self.dtype)
        return self._levels[key]

    def boundaries(self) -> Tensor:
        """Return the plane (N,1,H,W) that is 1 at pixels with a neighbour in another region, else 0."""
        return boundaries(self.order).to(self.dtype)


def fit(image: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Repeat the last row and column of ``image`` (N,C,H,W), or cut it, to ``stride`` times the ``size`` (h,w).

    Replication padding would do the same, but has no deterministic backward on a GPU.
    """
    height, width = size[0] * stride, size[1] * stride
    image = image[..., :height, :width]
    if image.shape[2] < height:
        image = torch.cat([image, image[..., -1:, :].expand(-1, -1, height - image.shape[2], -1)], dim=2)
    if image.shape[3] < width:
        image = torch.cat([image, image[..., -1:].expand(-1, -1, -1, width - image.shape[3])], dim=3)
    return image


def moments(features: Tensor, level: Level, context: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return what describes each region of a feature map, and the features' scale.

    Args:
        features: (N,C,P) floating.
        level: the regions at this size.
        context: (N,R,S), statistics of the whole photo's regions, or None.

    Returns:
        (N,R,2C+1+S): mean and deviation of each channel over the region, divided by the scale, the logarithm of the
        region's area, and the context. (N,1,1): the scale, the root mean square of all features of the image, so that
        networks with features of any magnitude train alike.
    """
    features = to_single(features)
    mean, square = level.means(features), level.means(features.square())
    scale = (level.mean(square).mean(dim=2, keepdim=True) + 1e-12).sqrt()
    mean = mean / scale
    deviation = ((square / scale.square() - mean.square()).clamp(min=0) + 1e-6).sqrt()
    known = [] if context is None else [context]
    return torch.cat([mean, deviation, level.log_area, *known], dim=2), scale

"""SGR, semantic-guided relation: a loss on relations between regions in a frozen network's features.

The paper states the aim, a consistent semantic feature space. Region means as nodes and cosines as edges follow the
closest published loss, which shares an author (arXiv 2401.06370). The other terms are our reading (docs/method.md,
section SGR).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.core.perceptual import LAYERS, VGG19Features
from sapd_plugin.core.regions import majority_downsample, region_means, region_order
from sapd_plugin.core.schedule import BALANCES, DistillationLoss
from sapd_plugin.errors import SAPDError
from sapd_plugin.values import Count, File, Natural, Valid, Weight, check_names, checked, one_of

TARGETS = ('refined', 'gt', 'gated')
_SCALES = (1.0, 0.5, 0.25)


def _check_scale(key: str, value: object) -> None:
    if isinstance(value, bool) or value not in _SCALES:
        raise SAPDError(f'{key}: found {value!r}, expected 1, 0.5 or 0.25.')


def edges(nodes: Tensor) -> Tensor:
    """Return ``R_ij = cos(v_i, v_j)`` of region means v, (N,R,C), as (N,R,R,1)."""
    nodes = F.normalize(nodes, dim=2)
    return (nodes @ nodes.transpose(1, 2)).unsqueeze(3)


def pixel_cosines(features: Tensor, nodes: Tensor, order: Tensor) -> Tensor:
    """Return ``cos(F_p, v_k)`` of each pixel p with the mean of its region k.

    Args:
        features: F, (N,C,h,w).
        nodes: v, (N,R,C), the region means of ``features``.
        order: (N,1,h,w) integer, 0..R; the value of a pixel in no region means nothing.

    Returns:
        (N,h*w,1).
    """
    index = (order.flatten(1) - 1).clamp(min=0).unsqueeze(1)
    # The cosines with all regions (N,R,P) take less memory than the mean of each pixel's region (N,C,P).
    every = F.normalize(nodes, dim=2) @ F.normalize(features.flatten(2), dim=1)
    return every.gather(1, index).transpose(1, 2)


def squared_error(where: Tensor, own: Tensor, target: Tensor, truth: Tensor | None = None) -> Tensor:
    """Return each image's mean of ``(own - target)^2`` over the relations that it has.

    Args:
        where: (N,...) bool, which relations the image has.
        own: relations of the restored image, (N,...,D): numbers or, with D > 1, vectors.
        target: those of the refined image, same shape.
        truth: those of the ground truth, same shape. What ``target`` holds no nearer to it than ``own`` counts as 0.
            None: everything counts.

    Returns:
        (N,); 0 for an image without relations.
    """
    error = (own - target).square().mean(dim=-1)
    if truth is not None:
        with torch.no_grad():
            error_of_target, error_of_own = ((each - truth).square().mean(dim=-1) for each in (target, own))
            nearer = error_of_target < error_of_own
        error = error * nearer
    error, where = error.flatten(1), where.flatten(1)
    return (error * where).sum(dim=1) / where.sum(dim=1).clamp(min=1)


def sgr_loss(
    features: Tensor,
    target: Tensor,
    labels: Tensor,
    edge_weight: float = 1.0,
    node_weight: float = 0.0,
    pixel_weight: float = 0.0,
    min_region: int = 4,
    max_regions: int = 128,
    centre: bool = False,
    truth: Tensor | None = None,
) -> Tensor:
    """Return ``edge_weight * edge + node_weight * node + pixel_weight * pixel``, averaged over images.

    The three are :func:`squared_error` of :func:`edges` over pairs of different regions, of the region means, and of
    :func:`pixel_cosines` over pixels in a region.

    Args:
        features: F(y), (N,C,h,w) floating.
        target: F(z), (N,C,h,w); gets no gradient.
        labels: (N,1,h,w) integer, 0 = no mask.
        edge_weight: weight of the edge term.
        node_weight: weight of the node term.
        pixel_weight: weight of the pixel term.
        min_region: leave out regions with fewer feature cells.
        max_regions: use this many of the largest regions per image.
        centre: subtract the features' mean over the image, channel by channel, before anything else.
        truth: F(gt), (N,C,h,w). Relations that z holds no nearer to it than y count as 0. None: all relations count.

    Returns:
        Scalar. An image without relations counts as 0, so that the mean of two half batches is the value of the whole
        batch. Computed in float32 at least, also inside autocast, because rounding errors of cosines in half precision
        exceed the differences between relations.
    """
    maps = [to_single(features), *(to_single(each.detach()) for each in (target, truth) if each is not None)]
    with torch.autocast(features.device.type, enabled=False):
        # On a GPU, the number of regions would have to be waited for.
        order, sizes = region_order(labels, max_regions, min_region, static=features.device.type != 'cpu')
        if sizes.shape[1] == 0:
            return (maps[0] * 0).sum()
        if centre:
            maps = [each - each.mean(dim=(2, 3), keepdim=True) for each in maps]
        nodes = [region_means(each, order, sizes) for each in maps]
        present = sizes > 0
        loss = maps[0].new_zeros(features.shape[0])
        if edge_weight:
            same = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
            pairs = present.unsqueeze(2) & present.unsqueeze(1) & ~same
            loss = loss + edge_weight * squared_error(pairs, *(edges(each) for each in nodes))
        if node_weight:
            loss = loss + node_weight * squared_error(present, *nodes)
        if pixel_weight:
            cosines = (pixel_cosines(each, means, order) for each, means in zip(maps, nodes))
            loss = loss + pixel_weight * squared_error(order.flatten(1) > 0, *cosines)
        return loss.mean()


class SGRLoss(DistillationLoss):
    """Compute lambda2 L_SGR, :func:`sgr_loss` of VGG-19 features, summed over layers.

    ``balance``, ``start``, ``ramp``, ``stop`` and ``fall`` are those of :class:`DistillationLoss`.

    Args:
        loss_weight: lambda2. The paper's value is not public; 0.1 is that of arXiv 2401.06370.
        layers: feature layers, 'relu1_1' to 'relu5_4'.
        weights: VGG-19 checkpoint; None means that :func:`find_vgg` finds one.
        edge_weight: weight of the edge term.
        node_weight: weight of the node term.
        pixel_weight: weight of the pixel term.
        min_region: leave out regions with fewer feature cells.
        max_regions: use this many of the largest regions per patch.
        centre: subtract the features' mean over the image. Features of VGG-19 are non-negative and have a large common
            part, which makes all regions look alike.
        target: what the relations are pulled towards. 'refined': those of z; 'gt': those of the ground truth; 'gated':
            those of z that are nearer to the ground truth's than y's are.
        every: compute the loss in steps of the optimizer that are multiples of this number; in others it is 0.
        image_scale: side of the images that VGG-19 sees, relative to the patch: 1, 0.5 or 0.25.
        balance: see :class:`DistillationLoss`.
        start: see :class:`Schedule`.
        ramp: see :class:`Schedule`.
        stop: see :class:`Schedule`.
        fall: see :class:`Schedule`.

    Raises:
        SAPDError: all terms have weight 0, VGG-19 weights are missing, a layer, target or balance is unknown, a number
            is out of range, or an invalid schedule.
    """

    @checked
    def __init__(
        self,
        loss_weight: Weight = 0.1,
        layers: Annotated[Sequence[str], Valid(check_names, valid=LAYERS)] = ('relu3_1',),
        weights: File | None = None,
        edge_weight: Weight = 1.0,
        node_weight: Weight = 0.0,
        pixel_weight: Weight = 0.0,
        min_region: Count = 4,
        max_regions: Count = 128,
        centre: bool = True,
        target: Annotated[str, one_of(*TARGETS)] = 'refined',
        every: Count = 4,
        image_scale: Annotated[float, Valid(_check_scale)] = 1.0,
        balance: Annotated[str, one_of(*BALANCES)] = 'none',
        start: Natural = 0,
        ramp: Natural = 0,
        stop: Count | None = None,
        fall: Natural = 0,
    ) -> None:
        super().__init__(loss_weight, balance, start, ramp, stop, fall)
        if not any((edge_weight, node_weight, pixel_weight)):
            raise SAPDError('edge_weight, node_weight and pixel_weight: are all 0, expected a number > 0 for one.')
        self.edge_weight, self.node_weight, self.pixel_weight = edge_weight, node_weight, pixel_weight
        self.min_region, self.max_regions, self.centre = min_region, max_regions, centre
        self.target, self.every, self.shrink = target, every, round(1 / image_scale)
        self.analyser = VGG19Features(layers, weights)

    def due(self, step: int) -> bool:
        """Return whether the loss is computed in this step of the optimizer, counted from 1."""
        return step % self.every == 0

    def forward(self, restored: Tensor, refined: Tensor, mask: Tensor, gt: Tensor | None = None) -> Tensor:
        """Return the weighted loss, a scalar, without the schedule's factor.

        Args:
            restored: y, (N,3,H,W) RGB in [0, 1].
            refined: z, same shape; gets no gradient.
            mask: M, (N,1,H,W) integer, 0 = no mask.
            gt: ground truth, as ``restored``; only the targets 'gt' and 'gated' need it.

        Raises:
            SAPDError: ``target`` needs the ground truth, and ``gt`` is None.
        """
        if gt is None and self.target != 'refined':
            raise SAPDError(f"target: '{self.target}' needs the ground truth, found None.")
        features = self._analyse(restored)
        with torch.no_grad():
            target = self._analyse(gt if self.target == 'gt' else refined)  # type: ignore[arg-type]
            truth = self._analyse(gt) if self.target == 'gated' else {}  # type: ignore[arg-type]
        total = restored.new_zeros((), dtype=torch.float32)
        for layer, feature in features.items():
            height, width = feature.shape[-2:]
            labels = majority_downsample(mask, self.analyser.stride(layer) * self.shrink, (height, width))
            total = total + sgr_loss(
                feature,
                target[layer],
                labels,
                self.edge_weight,
                self.node_weight,
                self.pixel_weight,
                self.min_region,
                self.max_regions,
                self.centre,
                truth.get(layer),
            )
        return self.loss_weight * total

    def _analyse(self, image: Tensor) -> dict[str, Tensor]:
        """Return the features of the analyser at ``image_scale``."""
        # The mean over squares, because interpolation has no deterministic backward pass on CUDA.
        return self.analyser(F.avg_pool2d(to_single(image), self.shrink) if self.shrink > 1 else image)

"""SGR, semantic-guided relation: a loss on relations between regions in a frozen network's features.

The paper states the aim, a consistent semantic feature space. Region means as nodes and cosines as edges follow the
closest published loss, which shares an author (arXiv 2401.06370). The other terms are our reading (docs/method.md,
section SGR).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.core.perceptual import VGG19Features
from sapd_plugin.core.regions import majority_downsample, region_means, region_order
from sapd_plugin.core.schedule import Schedule
from sapd_plugin.errors import SAPDError


def edge_term(nodes: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Return the mean over pairs i != j of regions of ``(R_ij(y) - R_ij(z))^2``, ``R_ij = cos(v_i, v_j)``.

    Args:
        nodes: v(y), (N,R,C), the region means of the restored image.
        target: v(z), (N,R,C), the region means of the refined image.
        present: (N,R) bool, which regions the image has.

    Returns:
        (N,); 0 for an image with fewer than two regions.
    """
    nodes, target = F.normalize(nodes, dim=2), F.normalize(target, dim=2)
    difference = nodes @ nodes.transpose(1, 2) - target @ target.transpose(1, 2)
    same = torch.eye(present.shape[1], dtype=torch.bool, device=present.device)
    pairs = present.unsqueeze(2) & present.unsqueeze(1) & ~same
    return _masked_mean(difference.square(), pairs)


def node_term(nodes: Tensor, target: Tensor, present: Tensor) -> Tensor:
    """Return the mean over regions k and channels of ``(v_k(y) - v_k(z))^2``; arguments as for :func:`edge_term`."""
    return _masked_mean((nodes - target).square().mean(dim=2), present)


def pixel_term(features: Tensor, target: Tensor, nodes: Tensor, target_nodes: Tensor, order: Tensor) -> Tensor:
    """Return the mean over labelled pixels p, with label k, of ``(cos(F_p, v_k)(y) - cos(F_p, v_k)(z))^2``.

    Args:
        features: F(y), (N,C,h,w).
        target: F(z), (N,C,h,w).
        nodes: v(y), (N,R,C), the region means of ``features``.
        target_nodes: v(z), (N,R,C), the region means of ``target``.
        order: (N,1,h,w) integer, 0..R.

    Returns:
        (N,); 0 for an image without labelled pixels.
    """
    index, labelled = (order.flatten(1) - 1).clamp(min=0), order.flatten(1) > 0

    def cosine(pixels: Tensor, means: Tensor) -> Tensor:
        # The cosines with all regions (N,R,P) take less memory than the mean of each pixel's region (N,C,P).
        every = F.normalize(means, dim=2) @ F.normalize(pixels.flatten(2), dim=1)
        return every.gather(1, index.unsqueeze(1)).squeeze(1)

    return _masked_mean((cosine(features, nodes) - cosine(target, target_nodes)).square(), labelled)


def sgr_loss(
    features: Tensor,
    target: Tensor,
    labels: Tensor,
    edge_weight: float = 1.0,
    node_weight: float = 0.0,
    pixel_weight: float = 0.0,
    min_region: int = 4,
    max_regions: int = 128,
) -> Tensor:
    """Return ``edge_weight * edge + node_weight * node + pixel_weight * pixel``, averaged over images.

    Args:
        features: F(y), (N,C,h,w) floating.
        target: F(z), (N,C,h,w); gets no gradient.
        labels: (N,1,h,w) integer, 0 = no mask.
        edge_weight: weight of :func:`edge_term`.
        node_weight: weight of :func:`node_term`.
        pixel_weight: weight of :func:`pixel_term`.
        min_region: leave out regions with fewer feature cells.
        max_regions: use this many of the largest regions per image.

    Returns:
        Scalar. An image without relations counts as 0, so that the mean of two half batches is the value of the whole
        batch. Computed in float32 at least, also inside autocast, because rounding errors of cosines in half precision
        exceed the differences between relations.
    """
    features, target = to_single(features), to_single(target.detach())
    with torch.autocast(features.device.type, enabled=False):
        order, sizes = region_order(labels, max_regions, min_region)
        if sizes.shape[1] == 0:
            return (features * 0).sum()
        present = sizes > 0
        nodes, target_nodes = region_means(features, order, sizes), region_means(target, order, sizes)
        loss = features.new_zeros(features.shape[0])
        if edge_weight:
            loss = loss + edge_weight * edge_term(nodes, target_nodes, present)
        if node_weight:
            loss = loss + node_weight * node_term(nodes, target_nodes, present)
        if pixel_weight:
            loss = loss + pixel_weight * pixel_term(features, target, nodes, target_nodes, order)
        return loss.mean()


def _masked_mean(values: Tensor, where: Tensor) -> Tensor:
    """Return the mean of each image's ``values`` (N,...) where ``where`` is true, 0 if it never is."""
    values, where = values.flatten(1), where.flatten(1)
    return (values * where).sum(dim=1) / where.sum(dim=1).clamp(min=1)


class SGRLoss(nn.Module):
    """Compute lambda2 L_SGR, :func:`sgr_loss` of VGG-19 features, summed over layers.

    ``start``, ``ramp`` and ``stop`` are those of :class:`Schedule`.

    Args:
        loss_weight: lambda2. The paper's value is not public; 0.1 is that of arXiv 2401.06370.
        layers: feature layers, 'relu1_1' to 'relu5_4'.
        weights: VGG-19 checkpoint; None means that :func:`find_vgg` finds one.
        edge_weight: weight of the edge term.
        node_weight: weight of the node term.
        pixel_weight: weight of the pixel term.
        min_region: leave out regions with fewer feature cells.
        max_regions: use this many of the largest regions per patch.

    Raises:
        SAPDError: all terms have weight 0, VGG-19 weights are missing, a layer is unknown, or an invalid schedule.
    """

    def __init__(
        self,
        loss_weight: float = 0.1,
        layers: Sequence[str] = ('relu3_1',),
        weights: str | os.PathLike[str] | None = None,
        edge_weight: float = 1.0,
        node_weight: float = 0.0,
        pixel_weight: float = 0.0,
        min_region: int = 4,
        max_regions: int = 128,
        start: int = 0,
        ramp: int = 0,
        stop: int | None = None,
    ) -> None:
        super().__init__()
        if not (edge_weight or node_weight or pixel_weight):
            raise SAPDError('SGRLoss: edge_weight, node_weight and pixel_weight are all 0; give one a weight.')
        self.loss_weight = loss_weight
        self.terms = {
            'edge_weight': edge_weight,
            'node_weight': node_weight,
            'pixel_weight': pixel_weight,
            'min_region': min_region,
            'max_regions': max_regions,
        }
        self.schedule = Schedule(start, ramp, stop)
        self.analyser = VGG19Features(layers, weights)

    def forward(self, restored: Tensor, refined: Tensor, mask: Tensor) -> Tensor:
        """Return the weighted loss, a scalar, without the schedule's factor.

        Args:
            restored: y, (N,3,H,W) RGB in [0, 1].
            refined: z, same shape; gets no gradient.
            mask: M, (N,1,H,W) integer, 0 = no mask.
        """
        features = self.analyser(restored)
        with torch.no_grad():
            target = self.analyser(refined)
        total = restored.new_zeros(())
        for layer, feature in features.items():
            labels = majority_downsample(mask, self.analyser.stride(layer), feature.shape[-2:])
            total = total + sgr_loss(feature, target[layer], labels, **self.terms)  # type: ignore[arg-type]
        return self.loss_weight * total

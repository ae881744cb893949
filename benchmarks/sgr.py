"""SGR as batched tensor operations against a plain loop over images and regions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.fixtures import Row
from sapd_plugin.core.sgr import sgr_loss
from sapd_plugin.evaluation.cost import medians_ms


def plain_loop(
    features: Tensor,
    target: Tensor,
    labels: Tensor,
    edge_weight: float = 1.0,
    node_weight: float = 0.0,
    pixel_weight: float = 0.0,
    min_region: int = 4,
) -> Tensor:
    """Compute SGR by its definition, region by region; arguments and result are those of :func:`sgr_loss`."""
    target = target.detach()
    total = features.new_zeros(())
    for image, image_target, image_labels in zip(features, target, labels[:, 0]):
        nodes, target_nodes, pixels = [], [], []
        for label in image_labels.unique():
            where = image_labels == label
            if label == 0 or where.sum() < min_region:
                continue
            inside, target_inside = image[:, where], image_target[:, where]
            nodes.append(inside.mean(1))
            target_nodes.append(target_inside.mean(1))
            if pixel_weight:
                own = F.cosine_similarity(inside, nodes[-1][:, None], dim=0)
                other = F.cosine_similarity(target_inside, target_nodes[-1][:, None], dim=0)
                pixels.append((own - other).square())
        if edge_weight:
            edges = [
                (F.cosine_similarity(a, b, dim=0) - F.cosine_similarity(ta, tb, dim=0)).square()
                for i, (a, ta) in enumerate(zip(nodes, target_nodes))
                for j, (b, tb) in enumerate(zip(nodes, target_nodes))
                if i != j
            ]
            if edges:
                total = total + edge_weight * torch.stack(edges).mean()
        if node_weight and nodes:
            total = total + node_weight * (torch.stack(nodes) - torch.stack(target_nodes)).square().mean()
        if pixel_weight and pixels:
            total = total + pixel_weight * torch.cat(pixels).mean()
    return total / features.shape[0]


def looped_regions(features: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Loop only over images and regions; the edges of an image are one matrix product (a fairer comparison)."""
    total = features.new_zeros(())
    for image, image_target, image_labels in zip(features, target.detach(), labels[:, 0]):
        found = [label for label in image_labels.unique() if label != 0]
        nodes = F.normalize(torch.stack([image[:, image_labels == label].mean(1) for label in found]), dim=1)
        goals = F.normalize(torch.stack([image_target[:, image_labels == label].mean(1) for label in found]), dim=1)
        off_diagonal = ~torch.eye(len(found), dtype=torch.bool)
        total = total + (nodes @ nodes.T - goals @ goals.T)[off_diagonal].square().mean()
    return total / features.shape[0]


def run(batch: int = 8, channels: int = 128, size: int = 64, regions: int = 100, repeats: int = 7) -> list[Row]:
    """Measure forward and backward with ``regions`` regions per patch; medians over ``repeats``, taken in turn."""
    torch.manual_seed(0)
    features = torch.randn(batch, channels, size, size, requires_grad=True)
    target = torch.randn(batch, channels, size, size)
    side = int(regions**0.5)
    cell = torch.arange(size) * side // size
    labels = (cell[:, None] * side + cell[None, :] + 1).expand(batch, 1, size, size)

    def gradient(loss: Callable[..., Tensor]) -> Tensor:
        features.grad = None
        loss(features, target, labels).backward()
        assert features.grad is not None
        return features.grad

    ours, loop = (lambda: gradient(sgr_loss)), (lambda: gradient(looped_regions))
    difference = (ours() - loop()).abs().max().item() / loop().abs().max().item()
    ours_ms, loop_ms = medians_ms([ours, loop], repeats)
    return [
        Row('plain loop over images and regions', loop_ms, 'ms'),
        Row('batched (ours)', ours_ms, 'ms'),
        Row('ratio loop / ours (bar: >= 20)', loop_ms / ours_ms, 'x'),
        Row('largest gradient difference, relative', difference, ''),
    ]

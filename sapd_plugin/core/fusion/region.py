"""Masks in the features of the second network: regions pooled, and their statistics injected, at several sizes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.attend import RegionAttention
from sapd_plugin.core.fusion.injection import Injection
from sapd_plugin.core.fusion.modulate import Modulation
from sapd_plugin.core.fusion.partition import CONTEXT_STATISTICS, Partition
from sapd_plugin.core.fusion.stem import RegionMap, StemInjection
from sapd_plugin.core.fusion.trial import Site

LAYERS: dict[str, type[nn.Module]] = {'modulate': Modulation, 'attend': RegionAttention}
REGION_FUSIONS = ('modulate', 'map', 'attend')


class RegionFusion(nn.Module):
    """Fuse masks in the second network's features, whatever the network (our reading).

    A zero-started convolution adds planes to the output of its first convolution: the boundaries of the regions, those
    of the fusion `map`, and the difference between the degraded and the restored image. At its ``layers``, the fusions
    `modulate` and `attend` change the features by functions of each region's statistics. So training starts from the
    plain cascade. Regions have no order, and pixels without a mask are a region like any other.

    Args:
        kinds: names in :data:`REGION_FUSIONS`, applied in this order. Without any, no mask enters.
        stem: the second network's first convolution.
        layers: where `modulate` and `attend` act.
        image_channels: channels C of the restored image.
        degraded: whether the degraded image enters.
        max_regions: use this many of the largest regions of each patch.
        context: whether statistics of the whole photo's regions enter.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        stem: Site,
        layers: Sequence[Site],
        image_channels: int,
        degraded: bool = False,
        max_regions: int = 64,
        context: bool = False,
    ) -> None:
        super().__init__()
        self.max_regions, self.degraded = max_regions, degraded
        self.stem_site, self.sites = stem, list(layers)
        statistics = CONTEXT_STATISTICS if context else 0
        self.map = RegionMap(image_channels, statistics) if 'map' in kinds else None
        self.boundaries = bool(kinds)
        planes = self.boundaries + (self.map.planes if self.map else 0) + (image_channels if degraded else 0)
        self.stem = StemInjection(planes, stem.channels, stem.stride)
        layer_kinds = [LAYERS[kind] for kind in kinds if kind in LAYERS]
        self.layers = nn.ModuleList(
            nn.ModuleList(kind(site.channels, statistics) for kind in layer_kinds) for site in self.sites
        )

    def forward(
        self, restored: Tensor, mask: Tensor, degraded: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, Mapping[str, Injection]]:
        """Return the second network's input, (N,C,H,W), and what to inject at which of its modules.

        Args:
            restored: y, (N,C,H,W) floating.
            mask: M, (N,1,H,W) integer, 0 = no mask.
            degraded: (N,C,h,w), enlarged to the size of y where it is smaller; None if it does not enter.
            context: (N,K+1,S), statistics of the whole photo's regions by label; None if they do not enter.
        """
        call = _Call(restored, Partition(mask, self.max_regions, to_single(restored).dtype, context))
        planes = [call.partition.boundaries()] if self.boundaries else []
        if self.map is not None:
            planes.append(self.map(restored, call.partition))
        if self.degraded and degraded is not None:
            planes.append(enlarged(degraded, restored) - restored)
        at_stem = partial(call.at_stem, self.stem, torch.cat(planes, dim=1))
        at_layers = {site.name: partial(call.at_layer, site, layers) for site, layers in zip(self.sites, self.layers)}
        return restored, {self.stem_site.name: at_stem, **at_layers}


class _Call:
    """One call of the second network."""

    def __init__(self, restored: Tensor, partition: Partition) -> None:
        self.partition, self.side = partition, restored.shape[-2:]

    def at_stem(self, stem: StemInjection, planes: Tensor, features: Tensor) -> Tensor:
        # The size of the image as the network pads it.
        self.side = torch.Size(length * stem.stride for length in features.shape[-2:])
        return stem(features, planes)

    def at_layer(self, site: Site, layers: nn.Module, features: Tensor) -> Tensor:
        grid = [length // site.stride for length in self.side] if site.tokens else features.shape[-2:]
        level = self.partition.at(site.stride, (grid[0], grid[1]))
        pixels = features.transpose(1, 2) if site.tokens else features.flatten(2)
        # In half precision sums over large regions would overflow.
        with torch.autocast(features.device.type, enabled=False):
            for layer in layers.children():
                pixels = layer(pixels, level, self.partition.context)
        return pixels.transpose(1, 2) if site.tokens else pixels.view_as(features)


def enlarged(degraded: Tensor, restored: Tensor) -> Tensor:
    """Return the degraded image at the size of the restored one, by bicubic interpolation."""
    if degraded.shape[-2:] == restored.shape[-2:]:
        return degraded
    return F.interpolate(degraded, size=restored.shape[-2:], mode='bicubic', align_corners=False)

"""The fusion that a config names, built for its second network."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sapd_plugin.core.fusion.image import ImageFusion
from sapd_plugin.core.fusion.injection import Injection
from sapd_plugin.core.fusion.region import LAYERS, REGION_FUSIONS, RegionFusion
from sapd_plugin.core.fusion.settings import IMAGE_KEYS, FusionSettings
from sapd_plugin.core.fusion.trial import find_sites


class Cascade(nn.Module):
    """The fusion `none`: the second network gets the restored image, and no masks. A control."""

    def forward(
        self, restored: Tensor, mask: Tensor, degraded: Tensor | None = None, context: Tensor | None = None
    ) -> tuple[Tensor, Mapping[str, Injection]]:
        """Return ``restored`` and no injections; the other arguments are not read."""
        return restored, {}


def build_fusion(
    settings: FusionSettings, network: nn.Module, image_channels: int, output_index: int | None
) -> nn.Module:
    """Build a fusion for a second network, which is run once to find the layers at which masks enter.

    Args:
        settings: the fusion's settings.
        network: the second network.
        image_channels: channels of the restored image.
        output_index: which image to use if ``network`` returns several.

    Returns:
        A module (restored, mask, degraded, context) -> (the network's input, the injections at its modules by name).

    Raises:
        SAPDError: the network cannot be run on an image, or has no layers at which masks could enter.
    """
    kinds = settings.kinds
    if kinds == ('image',):
        given = {key: getattr(settings, key) for key in IMAGE_KEYS if getattr(settings, key) is not None}
        return ImageFusion(image_channels, **given)
    if kinds == ('none',) and not settings.degraded:
        return Cascade()
    kinds = tuple(kind for kind in kinds if kind in REGION_FUSIONS)
    names = settings.fusion_layers if any(kind in LAYERS for kind in kinds) else ()
    stem, layers = find_sites(network, image_channels, output_index, names)
    return RegionFusion(
        kinds, stem, layers, image_channels, settings.degraded, settings.max_regions, settings.context == 'image'
    )

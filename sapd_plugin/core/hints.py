"""Hints between twins: what a layer of the second network relates, the student's same layer should relate as well.

The second network is the student's architecture, so features of one name correspond. The loss compares how similar
places of the image look to a network (spatial affinity, FAKD, ICIP 2020), not the features themselves, so neither an
adaptor nor equal weights are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.trial import find_sites
from sapd_plugin.core.schedule import DistillationLoss
from sapd_plugin.core.spd import SPDLoss
from sapd_plugin.core.spf import SPF
from sapd_plugin.core.teacher import bare
from sapd_plugin.errors import SAPDError, nearest

_CELLS = 16  # along each side; their affinities cost less than 2 % of a training step


class HintLoss(DistillationLoss):
    """Compute the weighted :func:`affinity_loss` of one layer; balance and schedule are SPD's.

    Args:
        layer: the layer's name, from :func:`find_layer`.
        spd: SPD with a ``feature_weight``.
    """

    def __init__(self, layer: str, spd: SPDLoss) -> None:
        super().__init__(spd.feature_weight, spd.balance, **asdict(spd.schedule))
        self.layer = layer

    def forward(self, features: Tensor, target: Tensor) -> Tensor:
        """Return the weighted loss, a scalar, without the schedule's factor; arguments as for :func:`affinity_loss`."""
        return self.loss_weight * affinity_loss(features, target)


def build_hint(spd: SPDLoss | None, student: nn.Module, spf: nn.Module) -> HintLoss | None:
    """Build the loss on features that SPD's ``feature_weight`` asks for; return None if it does not.

    Args:
        spd: the distillation loss, or None.
        student: wrapped for distributed training or not.
        spf: SPF, wrapped for distributed training or not.

    Raises:
        SAPDError: as :func:`find_layer`.
    """
    if spd is None or not spd.feature_weight:
        return None
    return HintLoss(find_layer(student, spf, spd.feature_layer), spd)


@contextmanager
def captured_features(network: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """Record the output of a layer while ``network`` is called inside the block.

    Masks that enter at this layer have entered. The hooks are removed after the block, so that copies of the network do
    not get them.

    Args:
        network: wrapped for distributed training or not.
        layer: the layer's name in the network, from :func:`find_layer`.

    Yields:
        A list that gets the features of each call, attached to their graph.

    Raises:
        SAPDError: the network was called without the layer, or not at all.
    """
    captured: list[Tensor] = []
    module = bare(network).get_submodule(layer)

    def on_output(module: nn.Module, args: object, output: Tensor) -> None:
        captured.append(output)
        handles.pop().remove()

    def on_input(module: nn.Module, args: object) -> None:
        # Hooks run in the order of their registration: this one after those that let masks enter.
        handles.append(module.register_forward_hook(on_output))

    handles = [module.register_forward_pre_hook(on_input)]
    try:
        yield captured
    finally:
        for handle in handles:
            handle.remove()
    if not captured:
        raise SAPDError(f"feature_layer: '{layer}' was not run. Name a layer that every training step runs.")


def find_layer(student: nn.Module, spf: nn.Module, layer: str | None = None) -> str:
    """Find the layer at which twins are compared.

    Of the layers of the second network's trunk that the student has as well, it is the last one at the smallest size,
    where features have seen most of the image.

    Args:
        student: wrapped for distributed training or not.
        spf: SPF, wrapped for distributed training or not.
        layer: name of the layer to use instead.

    Raises:
        SAPDError: the branch is not SPF, or there is no such layer.
    """
    branch, own = bare(spf), dict(bare(student).named_modules())
    if not isinstance(branch, SPF):
        raise SAPDError(f"feature_weight: needs SPF's second network, found the branch {type(branch).__name__}.")
    if layer is not None:
        for name, known in (('student', own), ('second network', dict(branch.network.named_modules()))):
            if layer not in known:
                raise SAPDError(f"feature_layer: the {name} has no layer '{layer}'.{nearest(layer, known)}")
        return layer
    _, sites = find_sites(branch.network, branch.image_channels, branch.output_index)
    common = [site for site in sites if site.name in own]
    if not common:
        raise SAPDError(
            'feature_weight: the student and the second network have no layer of the same name, expected the same '
            'architecture. Leave network_spf.network out, or name a layer that both have in feature_layer.'
        )
    return max(reversed(common), key=lambda site: site.stride).name


def affinity_loss(features: Tensor, target: Tensor) -> Tensor:
    """Return ``mean |A(f) - sg A(g)|``, where A holds the cosines between the features of all pairs of cells.

    Feature maps are reduced to at most 16 x 16 cells by their means over squares.

    Args:
        features: f, of the student, (N,C,h,w) or tokens (N,P,C) of a square image.
        target: g, of the second network, of the same size; the number of channels may differ. Gets no gradient.

    Returns:
        Scalar, the mean over images and pairs of cells. Computed in float32 at least, also inside autocast.

    Raises:
        SAPDError: no feature maps, or of different numbers of cells.
    """
    for each in (features, target):
        if not isinstance(each, Tensor) or each.dim() not in (3, 4):
            found = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
            raise SAPDError(f'feature_layer: found {found} as its output, expected a feature map (N,C,h,w).')
    with torch.autocast(features.device.type, enabled=False):
        own, other = _affinities(features), _affinities(target.detach())
        if own.shape != other.shape:
            raise SAPDError(
                f'feature_layer: features of {tuple(features.shape)} in the student and {tuple(target.shape)} in the '
                'second network cannot be compared, expected the same size. Name another layer.'
            )
        return (own - other).abs().mean()


def _affinities(features: Tensor) -> Tensor:
    """Return the cosines between all pairs of cells, (N,P,P) with P <= 256."""
    features = to_single(features)
    if features.dim() == 3:
        side = math.isqrt(features.shape[1])
        features = features.transpose(1, 2).unflatten(2, (side, side))
    # Windows of one size, because the adaptive mean has no deterministic backward pass on CUDA.
    window = [-(-side // _CELLS) for side in features.shape[2:]]
    cells = F.normalize(F.avg_pool2d(features, window).flatten(2), dim=1)
    return cells.transpose(1, 2) @ cells

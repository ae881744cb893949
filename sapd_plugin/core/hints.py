"""Hints between twins: what a layer of the second network relates, the student's same layer should relate as well.

The second network is the student's architecture, so features of one name correspond. The loss compares how similar
places of the image look to a network (spatial affinity, FAKD, ICIP 2020), not the features themselves, so neither an
adaptor nor equal weights are needed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

import torch
from torch import Size, Tensor, nn
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.core.fusion.trial import find_sites, refusals
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.core.rehearsal import empty_images, rehearse_sizes, student_input
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

    def forward(self, features: Tensor, target: Tensor, size: Sequence[int] = (1, 1)) -> Tensor:
        """Return the weighted loss, a scalar, without the schedule's factor; arguments as for :func:`affinity_loss`."""
        return self.loss_weight * affinity_loss(features, target, size)


def build_hint(
    spd: SPDLoss | None,
    student: nn.Module,
    spf: nn.Module,
    output_index: int | None = None,
    scale: int | None = None,
) -> HintLoss | None:
    """Build the loss on features that SPD's ``feature_weight`` asks for; return None if it does not.

    Args:
        spd: the distillation loss, or None.
        student: wrapped for distributed training or not.
        spf: SPF, wrapped for distributed training or not.
        output_index: as for :func:`find_layer`.
        scale: as for :func:`find_layer`.

    Raises:
        SAPDError: as :func:`find_layer`.
    """
    if spd is None or not spd.feature_weight:
        return None
    return HintLoss(find_layer(student, spf, spd.feature_layer, output_index, scale), spd)


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


def find_layer(
    student: nn.Module,
    spf: nn.Module,
    layer: str | None = None,
    output_index: int | None = None,
    scale: int | None = None,
) -> str:
    """Find the layer at which twins are compared.

    Of the layers of the second network's trunk whose features have the same size in the student, it is the last one at
    the smallest size, where features have seen most of the image. Both networks are run once, the second one on an
    image of the size that the student restores.

    Args:
        student: wrapped for distributed training or not.
        spf: SPF, wrapped for distributed training or not.
        layer: name of the layer to use instead.
        output_index: which image the student restores if it returns several; None means its own ``output_index``.
        scale: restored pixels per pixel of the student's input, along each side; None if it is not known.

    Raises:
        SAPDError: the branch is not SPF, there is no such layer, or its features differ in size; or a network cannot be
            run on an image.
    """
    branch, own = bare(spf), dict(bare(student).named_modules())
    if not isinstance(branch, SPF):
        raise SAPDError(f"feature_weight: needs SPF's second network, found the branch {type(branch).__name__}.")
    if layer is not None:
        for name, known in (('student', own), ('second network', dict(branch.network.named_modules()))):
            if layer not in known:
                raise SAPDError(f"feature_layer: the {name} has no layer '{layer}'.{nearest(layer, known)}")
        ours, theirs = (shapes.get(layer) for shapes in _feature_shapes(student, branch, output_index, scale))
        if ours is None or theirs is None:
            raise SAPDError(
                f"feature_layer: '{layer}' was not run, or returned no tensor. Name a layer that every training step "
                'runs.'
            )
        if not _is_comparable(ours, theirs):
            raise SAPDError(
                f"feature_layer: '{layer}' returns {tuple(ours)} in the student and {tuple(theirs)} in the second "
                'network, expected feature maps of the same size. Name another layer.'
            )
        return layer
    _, sites = find_sites(branch.network, branch.image_channels, branch.output_index)
    common = [site for site in sites if site.name in own]
    if not common:
        raise SAPDError(
            'feature_weight: the student and the second network have no layer of the same name, expected the same '
            'architecture. Leave network_spf.network out, or name a layer that both have in feature_layer.'
        )
    own_shapes, shapes = _feature_shapes(student, branch, output_index, scale)
    fitting = [site for site in common if _is_comparable(own_shapes.get(site.name), shapes.get(site.name))]
    if not fitting:
        name = common[-1].name
        raise SAPDError(
            'feature_weight: no layer of the same name has features of the same size in both networks, such as '
            f"'{name}' of {_size_text(own_shapes.get(name))} in the student and {_size_text(shapes.get(name))} in the "
            'second network. A student that enlarges its input works at another size than the second network: leave '
            'feature_weight out, or name a layer in feature_layer.'
        )
    return max(reversed(fitting), key=lambda site: site.stride).name


def _feature_shapes(
    student: nn.Module, branch: SPF, output_index: int | None, scale: int | None
) -> tuple[dict[str, Size], dict[str, Size]]:
    """Return the shapes of all layers' features in the student, and in the second network for the restored image."""
    degraded = student_input(student, branch.image_channels, scale)
    try:
        output, own = rehearse_sizes(bare(student), degraded)
    except Exception as error:  # of a network that a user wrote: any
        raise SAPDError(
            f'feature_weight: the student does not take an image of {tuple(degraded.shape)} ({error}), so its layers '
            'cannot be compared with those of the second network. Leave feature_weight out.'
        ) from error
    size = select_image(output, image_index(student, output_index), 'the student').shape[-2:]
    restored = empty_images(branch.network, branch.image_channels, (size[0], size[1]))
    with refusals(tuple(restored.shape)):
        return own, rehearse_sizes(branch.network, restored)[1]


def _is_comparable(one: Size | None, other: Size | None) -> bool:
    """Return whether two layers return feature maps, or tokens, of the same size."""
    if one is None or other is None or len(one) != len(other) or len(one) not in (3, 4):
        return False
    return one[1] == other[1] if len(one) == 3 else one[2:] == other[2:]


def _size_text(shape: Size | None) -> str:
    return 'no tensor' if shape is None else str(tuple(shape))


def affinity_loss(features: Tensor, target: Tensor, size: Sequence[int] = (1, 1)) -> Tensor:
    """Return ``mean |A(f) - sg A(g)|``, where A holds the cosines between the features of all pairs of cells.

    Feature maps are reduced to at most 16 x 16 cells by their means over squares.

    Args:
        features: f, of the student, (N,C,h,w) or tokens (N,P,C).
        target: g, of the second network, of the same size; the number of channels may differ. Gets no gradient.
        size: (H,W) of the image; tokens are cells of a grid of the same proportions.

    Returns:
        Scalar, the mean over images and pairs of cells. Computed in float32 at least, also inside autocast.

    Raises:
        SAPDError: no feature maps, of different numbers of cells, or tokens that are no grid of these proportions.
    """
    for each in (features, target):
        if not isinstance(each, Tensor) or each.dim() not in (3, 4):
            found = tuple(each.shape) if isinstance(each, Tensor) else type(each).__name__
            raise SAPDError(f'feature_layer: found {found} as its output, expected a feature map (N,C,h,w).')
    with torch.autocast(features.device.type, enabled=False):
        own, other = _affinities(features, size), _affinities(target.detach(), size)
        if own.shape != other.shape:
            raise SAPDError(
                f'feature_layer: features of {tuple(features.shape)} in the student and {tuple(target.shape)} in the '
                'second network cannot be compared, expected the same size. Name another layer.'
            )
        return (own - other).abs().mean()


def _affinities(features: Tensor, size: Sequence[int]) -> Tensor:
    """Return the cosines between all pairs of cells, (N,P,P) with P <= 256."""
    features = to_single(features)
    if features.dim() == 3:
        tokens = features.shape[1]
        height = max(round(math.sqrt(tokens * size[0] / size[1])), 1)
        if tokens % height:
            raise SAPDError(
                f'feature_layer: returns {tokens} tokens, which are no grid of the proportions {size[0]}x{size[1]} of '
                'the image. Name a layer that returns (N,C,h,w), or train on square patches.'
            )
        features = features.transpose(1, 2).unflatten(2, (height, tokens // height))
    # Windows of one size, because the adaptive mean has no deterministic backward pass on CUDA.
    window = [-(-side // _CELLS) for side in features.shape[2:]]
    cells = F.normalize(F.avg_pool2d(features, window).flatten(2), dim=1)
    return cells.transpose(1, 2) @ cells

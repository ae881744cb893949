"""A trial run of the second network that finds the layers at which masks can enter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn

from sapd_plugin.core.outputs import select_image
from sapd_plugin.errors import SAPDError, describe, nearest

SIDE = 64  # of the patch that the network is run on
SPOT = (44, 20)  # where one of its two images differs
ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.GELU, nn.SiLU)


@dataclass(frozen=True)
class Site:
    """A layer at which features can be changed.

    Attributes:
        name: of the module in the network.
        channels: channels of its output.
        stride: image pixels per cell of its output, along each side.
        tokens: its output is (N,h*w,C) instead of (N,C,h,w).
    """

    name: str
    channels: int
    stride: int
    tokens: bool = False


@dataclass
class _Record:
    """The calls of one module; ``depth`` is the number of modules around its first call, sequences not counted."""

    name: str
    module: nn.Module
    depth: int
    outputs: list[object] = field(default_factory=list)


def find_sites(
    network: nn.Module, image_channels: int, output_index: int | None, names: Sequence[str] | None = None
) -> tuple[Site, list[Site]]:
    """Find the first convolution of a network, and layers whose outputs are its trunk, at most two at each size.

    The network is run once, on two patches of noise that differ in one spot. Of use are modules whose output changes
    most at this spot, so that a cell of the output belongs to a pixel of the image, and whose output the network's
    result depends on. The rest is preference: layers that the network itself calls come before the parts of these,
    which may be branches, and blocks before single layers; of the layers of one size, the first and the middle one. The
    largest size costs most: there, a network of several sizes gets the first one alone.

    Args:
        network: the second network; its state and its training mode stay as they are.
        image_channels: channels of the image.
        output_index: which image to use if ``network`` returns several.
        names: use these layers instead of the ones found.

    Returns:
        The first convolution that sees the image, and the layers, in the order of their calls.

    Raises:
        SAPDError: the network cannot be run on an image, no layer can be used, or a named one cannot.
    """
    records, image = _run(network, image_channels, output_index)
    usable = _usable(records, image, image_channels)
    stem = next((site for record, site in usable if _is_stem(record)), None)
    if stem is None:
        raise SAPDError(
            'fusion: no convolution of the second network sees the image as a whole. Use fusion: image, or another '
            'network.'
        )
    rest = [(record, site) for record, site in usable if site.name != stem.name]
    if names is None:
        layers = _trunk(rest)
        if not layers:
            raise SAPDError(
                'fusion: found no layer of the second network at which masks could enter. Name some in fusion_layers, '
                'or use fusion: image.'
            )
        return stem, layers
    sites = {site.name: site for _, site in rest}
    known = dict(network.named_modules())
    for name in names:
        if name not in known:
            raise SAPDError(f"fusion_layers: the network has no layer '{name}'.{nearest(name, known)}")
        if name not in sites:
            raise SAPDError(
                f"fusion_layers: '{name}' cannot be used: its output has to be a feature map of the whole image, and "
                f'the result has to depend on it. Layers that can be used: {", ".join(sites)}.'
            )
    return stem, [sites[name] for name in dict.fromkeys(names)]


def _trunk(usable: list[tuple[_Record, Site]]) -> list[Site]:
    """Return the preferred layers."""
    for depth in sorted({record.depth for record, _ in usable}):
        level = [(record, site) for record, site in usable if record.depth == depth]
        blocks = [site for record, site in level if _is_block(record.module)]
        sites = blocks or [site for record, site in level if isinstance(record.module, ACTIVATIONS)]
        if sites:
            strides = sorted({site.stride for site in sites})
            groups = [[site for site in sites if site.stride == stride] for stride in strides]
            chosen = {group[k].name for group in groups for k in (0, len(group) // 2)}
            if len(groups) > 1:
                chosen -= {site.name for site in groups[0][1:]}
            return [site for site in sites if site.name in chosen]
    return []


def _is_stem(record: _Record) -> bool:
    """Return whether a record is that of a convolution whose input changes where the image does, and nowhere else."""
    module, output = record.module, record.outputs[0]
    if not isinstance(module, nn.Conv2d) or not isinstance(output, Tensor):
        return False
    change = (output[1] != output[0]).any(0)
    for dim in (0, 1):
        reach = module.dilation[dim] * (module.kernel_size[dim] - 1) + 2
        if change.any(1 - dim).sum() > reach:
            return False
    return True


def _is_block(module: nn.Module) -> bool:
    """Return whether a module holds several layers with weights; one alone is a change of size or an embedding."""
    return sum(any(True for _ in part.parameters(recurse=False)) for part in module.modules()) > 1


def _is_sequence(module: nn.Module) -> bool:
    return isinstance(module, nn.Sequential) and type(module).forward is nn.Sequential.forward


def _run(network: nn.Module, image_channels: int, output_index: int | None) -> tuple[list[_Record], Tensor]:
    """Run the network on two patches; return the modules that were called, in order, and its image (2,C,h,w)."""
    weight = next(network.parameters(), torch.empty(0))
    patch = torch.rand(1, image_channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    patches = patch.repeat(2, 1, 1, 1)
    row, column = SPOT
    patches[1, :, row : row + 2, column : column + 2] = 1 - patches[1, :, row : row + 2, column : column + 2].round()
    patches = patches.to(weight).requires_grad_()
    records: dict[str, _Record] = {}
    depth = 0

    def enter(name: str, module: nn.Module, args: object) -> None:
        nonlocal depth
        records.setdefault(name, _Record(name, module, depth))
        depth += 1

    def leave(name: str, module: nn.Module, args: object, output: object) -> None:
        nonlocal depth
        depth -= 1
        # A checkpoint runs its layers without gradients, and once more during the backward pass, when no hook is there.
        records[name].outputs.append(output if torch.is_grad_enabled() else None)

    modes = [(module, module.training) for module in network.modules()]
    parameters = [(parameter, parameter.requires_grad) for parameter in network.parameters()]
    handles = []
    try:
        for name, module in network.named_modules():
            if name and not _is_sequence(module):
                handles.append(module.register_forward_pre_hook(partial(enter, name)))
                handles.append(module.register_forward_hook(partial(leave, name)))
        network.eval().requires_grad_(False)
        with torch.enable_grad(), refusals((1, image_channels, SIDE, SIDE)):
            image = select_image(network(patches * 1), output_index, 'network')
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in parameters:
            parameter.requires_grad_(requires_grad)
    return list(records.values()), image


def _usable(records: list[_Record], image: Tensor, image_channels: int) -> list[tuple[_Record, Site]]:
    """Return the records whose output can be changed, with their sites."""
    sites: list[tuple[_Record, Site]] = []
    flat: list[Tensor] = []
    for record in records:
        outputs = [output for output in record.outputs if isinstance(output, Tensor) and output.requires_grad]
        site = _site(record.name, outputs[0]) if len(outputs) == len(record.outputs) else None
        if site is None or site.channels <= image_channels:
            continue
        if all(_site(record.name, output) == site and _is_aligned(output, site) for output in outputs):
            sites.append((record, site))
            flat += outputs
    if not flat:
        return []
    for output in flat:
        output.retain_grad()
    # Not autograd.grad, with which reentrant checkpoints do not work.
    image.backward(torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).to(image))
    reached = {id(output) for output in flat if output.grad is not None and output.grad.any()}
    # A network that ends with a layer of zeros gives a gradient to none.
    return [pair for pair in sites if any(id(output) in reached for output in pair[0].outputs)] or sites


def _site(name: str, output: Tensor) -> Site | None:
    """Return the site of an output for two patches; None if it is no feature map, of square cells."""
    if output.dim() < 3 or output.shape[0] != 2:
        return None
    if output.dim() == 3:
        side = round(output.shape[1] ** 0.5)
        channels, size = output.shape[2], (side, output.shape[1] // max(side, 1))
    elif output.dim() == 4:
        channels, size = output.shape[1], (output.shape[2], output.shape[3])
    else:
        return None
    if size[0] != size[1] or not 1 < size[0] <= SIDE:
        return None
    return Site(name, channels, round(SIDE / size[0]), output.dim() == 3)


def _is_aligned(output: Tensor, site: Site) -> bool:
    """Return whether the output changes most where the image does."""
    change = (output[1] - output[0]).detach().float().square()
    change = change.sum(1).view(round(change.shape[0] ** 0.5), -1) if site.tokens else change.sum(0)
    weight = change.square()
    total = weight.sum()
    if not total > 0:
        return False
    for dim, spot in enumerate(SPOT):
        centre = (weight.sum(1 - dim) * torch.arange(weight.shape[dim], device=weight.device)).sum() / total
        if abs(float(centre) - (spot + 1) / site.stride + 0.5) > 1 + weight.shape[dim] / 32:
            return False
    return True


@contextmanager
def refusals(shape: tuple[int, ...]) -> Iterator[None]:
    """Turn errors of the second network in the block into a sentence.

    Args:
        shape: of the image that it is run on, for the message.

    Raises:
        SAPDError: the network raised an error.
    """
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:  # of a network that a user wrote: any
        raise SAPDError(
            f'network: does not take a restored image of {shape} ({describe(error)}). The second network works at the '
            'output size: name one that works at scale 1.'
        ) from error

"""SPF, semantic priors fusion: the training-only branch that refines the restored image with SAM's masks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sapd_plugin.core.encoding import ENCODINGS, encode_mask, encoding_channels
from sapd_plugin.errors import SAPDError, check_choice, check_keys


class SPF(nn.Module):
    """``z = network(y + fuse([y, encode(M)]))`` (paper: SPF unit and cascaded IR network; the layers are our reading).

    ``fuse`` ends in a convolution that starts at zero, so training starts from the plain cascade ``network(y)``.

    Args:
        network: the second IR network h, image in, image of the same size out.
        image_channels: channels of the restored image.
        encoding: one of 'planes', 'region_mean', 'boundary', 'none'; see :func:`encode_mask`.
        planes: number of mask planes K of 'planes' and 'none'.
        width: hidden channels of ``fuse``.
        detach: keep SPF's own loss from reaching the student through y.
        output_index: which image of ``network`` to use where it returns several; default: see :func:`image_index`.

    Raises:
        SAPDError: an unknown encoding, or a count below 1.
    """

    def __init__(
        self,
        network: nn.Module,
        image_channels: int = 3,
        encoding: str = 'planes',
        planes: int = 16,
        width: int = 32,
        detach: bool = True,
        output_index: int | None = None,
    ) -> None:
        super().__init__()
        check_choice('network_spf.encoding', encoding, ENCODINGS)
        for key, value in (('image_channels', image_channels), ('planes', planes), ('width', width)):
            if not isinstance(value, int) or value < 1:
                raise SAPDError(f'network_spf.{key}: found {value!r}, expected a whole number of at least 1.')
        self.image_channels, self.encoding, self.planes, self.detach = (
            image_channels,
            encoding,
            planes,
            detach,
        )
        inputs = image_channels + encoding_channels(encoding, planes, image_channels)
        last = nn.Conv2d(width, image_channels, 3, padding=1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.fuse = nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU(inplace=True), last)
        self.network, self.output_index = network, image_index(network, output_index)

    def forward(self, restored: Tensor, mask: Tensor) -> Tensor:
        """Refine a restored image.

        Args:
            restored: y, (N,C,H,W) floating.
            mask: M, (N,1,H,W) integer, 0 = no mask.

        Returns:
            z, (N,C,H,W).

        Raises:
            SAPDError: y and M differ in size, y has another number of channels, or the network changes the size.
        """
        if restored.shape[1] != self.image_channels:
            raise SAPDError(
                f'network_spf.image_channels: is {self.image_channels}, the restored image has {restored.shape[1]}.'
            )
        if mask.shape[-2:] != restored.shape[-2:]:
            raise SAPDError(
                f'mask: size {tuple(mask.shape[-2:])} differs from the restored image, {tuple(restored.shape[-2:])}. '
                'Masks are cut at the size of the ground truth.'
            )
        if self.detach:
            restored = restored.detach()
        planes = encode_mask(mask, restored, self.encoding, self.planes)
        outputs = self.network(restored + self.fuse(torch.cat([restored, planes], dim=1)))
        refined = select_image(outputs, self.output_index, 'network_spf.network')
        if isinstance(outputs, (list, tuple)):
            # Distributed training waits for the gradient of every parameter: those behind the other images get zero.
            refined = refined + 0 * torch.stack([image.mean() for image in outputs]).sum()
        if refined.shape != restored.shape:
            raise SAPDError(
                f'network_spf.network: turns a restored image of {tuple(restored.shape)} into '
                f'{tuple(refined.shape)}. The second network works at the output size: name one with scale 1.'
            )
        return refined


def build_spf(build_network: Callable[[Any], nn.Module], network: Any, settings: Mapping[str, Any]) -> SPF:
    """Build :class:`SPF` around a second network that a config block names.

    Args:
        build_network: a framework's builder of networks.
        network: block of any registered network at scale 1; the adapters fill in the student's own.
        settings: those of :class:`SPF`.

    Raises:
        SAPDError: no network, or an unknown setting.
    """
    check_keys('network_spf', settings, [*inspect.signature(SPF).parameters])
    if not network:
        raise SAPDError('network_spf.network: missing, expected the block of a registered network (type, ...).')
    return SPF(build_network(network), **settings)


def start_from(spf: nn.Module, student: Mapping[str, Tensor]) -> bool:
    """Give the second network a trained student's weights, for the stage 'two_stage' (our reading).

    From scratch it did not get ahead of a student that was trained already, and what is not ahead teaches nothing.

    Args:
        spf: SPF, or a user's own branch.
        student: state dict of the student.

    Returns:
        Whether it fits: ``spf.network`` has the student's parameters. Otherwise nothing is changed.
    """
    network = getattr(spf, 'network', None)
    if not isinstance(network, nn.Module):
        return False
    own = network.state_dict()
    fits = own.keys() == student.keys() and all(own[key].shape == student[key].shape for key in own)
    if fits:
        network.load_state_dict(student)
    return fits


@torch.no_grad()
def check_branch(spf: nn.Module, channels: int, size: int = 64) -> None:
    """Send an empty patch through, so that a second network of the wrong kind is refused before the first step.

    Args:
        spf: SPF, or a user's own branch (restored, mask) -> refined.
        channels: of the restored image.
        size: side of the patch in pixels.

    Raises:
        SAPDError: the branch takes no such image, or changes its size.
    """
    patch = torch.zeros(1, channels, size, size, device=next(spf.parameters()).device)
    training = spf.training
    try:
        spf.eval()(patch, patch[:, :1].int())
    except SAPDError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SAPDError(
            f'network_spf.network: does not take a restored image of {tuple(patch.shape)} ({error}). Name one '
            'that does.'
        ) from error
    finally:
        spf.train(training)


def image_index(network: nn.Module, index: int | None) -> int | None:
    """Return which image of a network that returns several is the restored one.

    Args:
        network: wrapped for distributed training or not.
        index: as configured; None takes the network's class attribute ``output_index``, where it has one (MPRNet: 0,
            HINet and MIMO-UNet: -1).
    """
    if index is not None:
        return index
    return getattr(network, 'output_index', getattr(getattr(network, 'module', None), 'output_index', None))


def select_image(output: object, index: int | None, network: str) -> Tensor:
    """Pick the image out of what a network returned.

    Args:
        output: an image (N,C,H,W), or a list or tuple of them.
        index: which one of several; not asked for where there is one image, as these networks return in testing.
        network: the network's config key, for the message.

    Raises:
        SAPDError: several images and no index or one beyond them, or no image at all.
    """
    if index is not None and isinstance(output, (list, tuple)):
        if not -len(output) <= index < len(output):
            raise SAPDError(f'output_index: is {index}, and {network} returns {len(output)} images.')
        output = output[index]
    if not isinstance(output, Tensor):
        raise SAPDError(
            f'{network}: returns {type(output).__name__}, expected an image (N,C,H,W). Where a network returns '
            'several, output_index names the one to distil.'
        )
    return output

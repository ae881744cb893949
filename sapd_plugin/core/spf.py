"""SPF, semantic priors fusion: the training-only branch that refines the restored image with SAM's masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sapd_plugin.core.encoding import ENCODINGS, encode_mask, encoding_channels
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.errors import SAPDError, check_choice, check_count


class SPF(nn.Module):
    """``z = network(y + fuse([y, encode(M)]))`` (paper: SPF unit and cascaded IR network).

    The paper does not name the layers; see docs/method.md, section SPF.
    ``fuse`` ends in a convolution that starts at zero, so training starts from the plain cascade ``network(y)``.

    Args:
        network: the second IR network h, image in, image of the same size out.
        image_channels: channels of the restored image.
        encoding: one of 'planes', 'region_mean', 'boundary', 'none'; see :func:`encode_mask`.
        planes: number of mask planes K of 'planes' and 'none'.
        width: hidden channels of ``fuse``.
        detach: keep SPF's own loss from reaching the student through y.
        output_index: which image of ``network`` to use if it returns several; default: see
            :func:`~sapd_plugin.core.outputs.image_index`.

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
        check_choice('encoding', encoding, ENCODINGS)
        for key, value in (('image_channels', image_channels), ('planes', planes), ('width', width)):
            check_count(key, value)
        self.image_channels, self.encoding, self.planes, self.detach = image_channels, encoding, planes, detach
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
            SAPDError: y and M differ in size, y has a different number of channels, or the network changes the size.
        """
        if restored.shape[1] != self.image_channels:
            raise SAPDError(f'image_channels: is {self.image_channels}, the restored image has {restored.shape[1]}.')
        if mask.shape[-2:] != restored.shape[-2:]:
            raise SAPDError(
                f'mask: size {tuple(mask.shape[-2:])} differs from the restored image, {tuple(restored.shape[-2:])}. '
                'Masks are extracted at the size of the ground truth.'
            )
        if self.detach:
            restored = restored.detach()
        planes = encode_mask(mask, restored, self.encoding, self.planes)
        outputs = self.network(restored + self.fuse(torch.cat([restored, planes], dim=1)))
        refined = select_image(outputs, self.output_index, 'network')
        if isinstance(outputs, (list, tuple)):
            # Distributed training waits for the gradient of every parameter: those behind the other images get zero.
            refined = refined + 0 * torch.stack([image.mean() for image in outputs]).sum()
        if refined.shape != restored.shape:
            raise SAPDError(
                f'network: turns a restored image of {tuple(restored.shape)} into {tuple(refined.shape)}. The second '
                'network works at the output size: name one with scale 1.'
            )
        return refined


def start_from(spf: nn.Module, student: Mapping[str, Tensor], name: str) -> str:
    """Give the second network a trained student's weights, for the stage 'two_stage' (our reading).

    A second network from scratch did not get ahead of a student that was trained already, so it had nothing to teach.

    Args:
        spf: SPF, or a user's own branch.
        student: state dict of the student; used if ``spf.network`` has the same parameters, else nothing is changed.
        name: the student's config key.

    Returns:
        A line for the log that says how the second network starts.
    """
    network = getattr(spf, 'network', None)
    own = network.state_dict() if isinstance(network, nn.Module) else {}
    if network is None or own.keys() != student.keys() or any(own[k].shape != student[k].shape for k in own):
        return f'SPF: the second network differs from {name}: it starts from scratch.'
    network.load_state_dict(student)
    return f'SPF: the second network starts with the weights of {name}.'


@torch.no_grad()
def check_branch(spf: nn.Module, channels: int, size: int = 64) -> None:
    """Run the branch on an empty patch, so that an unsuitable second network is refused before the first step.

    Args:
        spf: SPF, or a user's own branch (restored, mask) -> refined.
        channels: channels of the restored image.
        size: side of the patch in pixels.

    Raises:
        SAPDError: the branch does not take such an image, or changes its size.
    """
    patch = torch.zeros(1, channels, size, size, device=next(spf.parameters()).device)
    training = spf.training
    try:
        spf.eval()(patch, patch[:, :1].int())
    except SAPDError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        raise SAPDError(
            f'network: does not take a restored image of {tuple(patch.shape)} ({error}). Name one that does.'
        ) from error
    finally:
        spf.train(training)

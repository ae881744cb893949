"""SPF, semantic priors fusion: the training-only branch that refines the restored image with SAM's masks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from sapd_plugin.core.encoding import ENCODINGS, encode_mask, encoding_channels
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.errors import SAPDError, check_choice, check_count


class SPF(nn.Module):
    """Refine a restored image, ``z = network(y + fuse([y, E(M)]))`` (paper: SPF unit and cascaded network).

    The layers of ``fuse`` are our reading (docs/method.md, section SPF). Its last convolution starts at zero, so
    training starts from the plain cascade ``network(y)``.

    Args:
        network: the second network h, which returns an image of the same size.
        image_channels: channels of the restored image.
        encoding: 'planes', 'region_mean', 'boundary' or 'none'; see docs/method.md.
        planes: number of mask planes of 'planes' and 'none'.
        width: hidden channels of ``fuse``.
        detach: detach y, so that SPF's own loss does not train the student.
        output_index: which image to use if ``network`` returns several; None means its ``output_index`` attribute.

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
            # Distributed training needs a gradient for every parameter, so those of the other images get zero.
            refined = refined + 0 * torch.stack([image.mean() for image in outputs]).sum()
        if refined.shape != restored.shape:
            raise SAPDError(
                f'network: turns a restored image of {tuple(restored.shape)} into {tuple(refined.shape)}. The second '
                'network works at the output size: name one with scale 1.'
            )
        return refined


def start_from(spf: nn.Module, student: Mapping[str, Tensor], name: str) -> str:
    """Load a trained student's weights into the second network, for the stage 'two_stage' (our reading).

    In our experiments, a second network from scratch did not become better than a trained student.

    Args:
        spf: SPF, or a user's own branch.
        student: state dict of the student; not loaded if ``spf.network`` has different parameters.
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

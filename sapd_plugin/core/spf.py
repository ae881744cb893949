"""SPF, semantic priors fusion: the training-only branch that refines the restored image with SAM's masks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sapd_plugin.core.fusion import CONTEXT_STATISTICS, FusionSettings, build_fusion, injected
from sapd_plugin.core.outputs import image_index, select_image, with_zero_gradients
from sapd_plugin.errors import SAPDError
from sapd_plugin.values import Count, Share, checked


class SPF(nn.Module):
    """Refine a restored image with a second network into which masks are fused (paper: SPF unit and cascaded network).

    How masks enter is our reading (docs/method.md, section SPF). Every fusion ends with layers that start at zero, so
    training starts from the plain cascade ``network(y)``. ``fuse`` holds the fusion's parameters, ``network`` those of
    the second network.

    Args:
        network: the second network h, which returns an image of the same size.
        image_channels: channels of the restored image.
        fusion: one of, or a list of, 'modulate', 'map' and 'attend'; or 'image' (that of the first version) or 'none'
            (the cascade without masks).
        inputs: ('restored',), or ('restored', 'degraded') for the degraded image beside the restored one.
        context: 'image' adds statistics of the whole photo's regions to those of the patch's ('patch').
        max_regions: use this many of the largest regions of each patch; the others become the region 0.
        mask_dropout: in training, the probability with which all pixels of a patch are one region.
        one_region: all pixels are one region, in training and testing: the same network without masks, a control.
        fusion_layers: names of modules of ``network`` at which 'modulate' and 'attend' act; None means that a trial run
            finds them.
        encoding: of 'image' alone: 'planes' (default), 'region_mean', 'boundary' or 'none'.
        planes: of 'image' alone: number of mask planes of the encodings 'planes' and 'none', by default 16.
        width: of 'image' alone: hidden channels, by default 32.
        detach: detach y, so that SPF's own loss does not train the student.
        output_index: which image to use if ``network`` returns several; None means its ``output_index`` attribute.

    Raises:
        SAPDError: a setting of the wrong type or range, one that the fusion does not read, or a network that cannot be
            run on an image or has no layers at which masks could enter.
    """

    @checked
    def __init__(
        self,
        network: nn.Module,
        image_channels: Count = 3,
        fusion: str | Sequence[str] = 'modulate',
        inputs: Sequence[str] = ('restored',),
        context: str = 'patch',
        max_regions: Count = 64,
        mask_dropout: Share = 0.1,
        one_region: bool = False,
        fusion_layers: Sequence[str] | None = None,
        encoding: str | None = None,
        planes: Count | None = None,
        width: Count | None = None,
        detach: bool = True,
        output_index: int | None = None,
    ) -> None:
        super().__init__()
        self.settings = FusionSettings(
            fusion, inputs, context, max_regions, mask_dropout, one_region, fusion_layers, encoding, planes, width
        )
        self.image_channels, self.detach, self.output_index = image_channels, detach, image_index(network, output_index)
        self.fuse = build_fusion(self.settings, network, image_channels, self.output_index)
        self.network = network

    @property
    def needs_degraded(self) -> bool:
        """Whether the degraded image has to be passed."""
        return self.settings.degraded

    @property
    def needs_context(self) -> bool:
        """Whether statistics of the whole photo's regions have to be passed."""
        return self.settings.context == 'image'

    def forward(
        self, restored: Tensor, mask: Tensor, degraded: Tensor | None = None, context: Tensor | None = None
    ) -> Tensor:
        """Refine a restored image.

        Args:
            restored: y, (N,C,H,W) floating.
            mask: M, (N,1,H,W) integer, 0 = no mask.
            degraded: x, (N,C,h,w), enlarged to the size of y where it is smaller; read if ``inputs`` has it.
            context: (N,K+1,S), statistics of the whole photo's regions; row k is that of label k, row 0 that of the
                pixels without a mask. Read with ``context='image'``.

        Returns:
            z, (N,C,H,W).

        Raises:
            SAPDError: an input is missing or does not belong to y, or the network changes the size.
        """
        self._check(restored, mask, degraded, context)
        if self.detach:
            restored = restored.detach()
        mask, context = self._merged(mask, context)
        image, injections = self.fuse(restored, mask, degraded, context)
        with injected(self.network, injections):
            outputs = self.network(image)
        refined = select_image(outputs, self.output_index, 'network')
        if isinstance(outputs, (list, tuple)):
            refined = with_zero_gradients(refined, outputs)
        if refined.shape != restored.shape:
            raise SAPDError(
                f'network: turns a restored image of {tuple(restored.shape)} into {tuple(refined.shape)}. The second '
                'network works at the output size: name one with scale 1.'
            )
        return refined

    def _merged(self, mask: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Merge all regions of some patches into one, and empty their rows of ``context``."""
        if self.settings.one_region:
            keep = torch.zeros(mask.shape[0], dtype=torch.bool, device=mask.device)
        elif self.training and self.settings.mask_dropout:
            keep = torch.rand(mask.shape[0], device=mask.device) >= self.settings.mask_dropout
        else:
            return mask, context
        return mask * keep.view(-1, 1, 1, 1), None if context is None else context * keep.view(-1, 1, 1)

    def _check(self, restored: Tensor, mask: Tensor, degraded: Tensor | None, context: Tensor | None) -> None:
        if restored.shape[1] != self.image_channels:
            raise SAPDError(f'image_channels: is {self.image_channels}, the restored image has {restored.shape[1]}.')
        if mask.shape[-2:] != restored.shape[-2:]:
            raise SAPDError(
                f'mask: size {tuple(mask.shape[-2:])} differs from the restored image, {tuple(restored.shape[-2:])}. '
                'Masks are extracted at the size of the ground truth.'
            )
        if self.needs_degraded and (degraded is None or degraded.shape[:2] != restored.shape[:2]):
            found = None if degraded is None else tuple(degraded.shape)
            raise SAPDError(
                f'inputs: needs the degraded image, expected one of ({restored.shape[0]},{restored.shape[1]},h,w), '
                f'found {found}.'
            )
        if self.needs_context and (context is None or context.shape[::2] != (restored.shape[0], CONTEXT_STATISTICS)):
            found = None if context is None else tuple(context.shape)
            raise SAPDError(
                f'context: image needs statistics of the regions, expected ({restored.shape[0]},K+1,'
                f'{CONTEXT_STATISTICS}), found {found}. Set mask_context: true next to mask_store.'
            )


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

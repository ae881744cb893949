"""SAPDModel: BaseEditModel or a descendant, trained with SAM priors.

The base model's own forward and losses run unchanged. What its generator returned is handed to the
:class:`~sapd_plugin.core.Distiller`, whose losses join the base's: MMEngine sums, scales, accumulates, clips and logs
them like any other. Testing is the base model's, untouched.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from mmagic.registry import MODELS
from mmengine.dist import get_rank
from mmengine.logging import print_log
from torch import Tensor, nn

from sapd_plugin.core import (
    BranchRNG,
    Distiller,
    OnlineMasks,
    SGRLoss,
    SPDLoss,
    Step,
    ToRGB,
    check_branch,
    check_stage,
    tapped,
)
from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.options import base_model_class, check_config
from sapd_plugin.priors.segmenters import build_online_segmenter


def SAPDModel(
    base_model_type: str | type = 'BaseEditModel',
    network_spf: Mapping[str, Any] | None = None,
    spd_loss: Mapping[str, Any] | None = None,
    sgr_loss: Mapping[str, Any] | None = None,
    spf_loss: Mapping[str, Any] | None = None,
    stage: str = 'joint',
    output_index: int | None = None,
    online: Mapping[str, Any] | None = None,
    **base: Any,
) -> Any:
    """Build the model that ``base_model_type`` names with SAPD mixed in.

    Args:
        base_model_type: BaseEditModel or a descendant of it.
        network_spf: config of the SPF branch; its ``network`` is ``generator``'s twin unless named.
        spd_loss: config of SPDLoss, or None.
        sgr_loss: config of SGRLoss, or None.
        spf_loss: second reconstruction loss, which trains SPF alone; by default ``pixel_loss``, else L1.
        stage: 'joint', or 'two_stage': starts from a student that the stock config trained (``load_from``).
        output_index: which image to distil where the generator returns several; by default its class's
            ``output_index``.
        online: cut masks in the training loop: ``segmenter`` and its settings, and ``every``, in iterations.
        **base: the base model's own config, unchanged.

    Raises:
        SAPDError: a mistake in the config; see :mod:`sapd_plugin.mmagic.options`.
    """
    base_class = base_model_class(base_model_type)
    ours = {
        'network_spf': network_spf or {'type': 'SPF'},
        'spd_loss': spd_loss,
        'sgr_loss': sgr_loss,
        'spf_loss': spf_loss or base.get('pixel_loss') or {'type': 'L1Loss'},
        'stage': stage,
        'output_index': output_index,
        'online': online,
    }
    check_config(base_class, base, ours)
    return type(f'SAPD{base_class.__name__}', (SAPDMixin, base_class), {})(deepcopy(ours), **base)


class _Training:
    """What training adds, held outside of the module tree: in no state dict, and shared by copies of the model."""

    def __init__(self) -> None:
        self.distiller: Distiller | None = None
        self.iteration = 0
        self.latest: tuple[Tensor, Step] | None = None

    def __deepcopy__(self, memo: dict) -> _Training:
        return self


class SAPDMixin:
    """What SAPD adds to an MMagic model class. It goes before the base class, which does the restoration.

    ``spf`` is the one sub-module more; :class:`~sapd_plugin.mmagic.hook.SAPDHook` keeps it out of ``state_dict``.
    """

    def __init__(self, sapd: dict[str, Any], **base: Any) -> None:
        generator = deepcopy(base['generator'])
        super().__init__(**base)
        self.sapd, self.in_training = sapd, _Training()
        block = sapd['network_spf']
        block.setdefault('network', generator)
        block.setdefault('image_channels', _image_channels(self.generator))
        block.setdefault('output_index', sapd['output_index'])
        # A stream of its own: the student and the data see the draws of a stock run, whatever is built here.
        with BranchRNG(torch.initial_seed()).active():
            self.spf = MODELS.build(block)
            check_branch(self.spf, block['image_channels'])
            # Not SGR: testing needs no VGG-19.
            self.spd = _build_loss(SPDLoss, 'spd_loss', sapd['spd_loss'])

    def prepare_training(self, load_from: str | None, device: torch.device) -> None:
        """Build the distiller, before the first step (called by SAPDHook).

        Args:
            load_from: the checkpoint that training starts from.
            device: the model's.

        Raises:
            SAPDError: missing VGG-19 weights, a loss of another kind, or a stage that does not fit the run.
        """
        check_stage(self.sapd['stage'], 'model.stage', 'load_from', load_from)
        preprocessor = self.data_preprocessor
        mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
        rng = BranchRNG(torch.initial_seed() + get_rank(), device)
        with rng.active():
            self.in_training.distiller = Distiller(
                self.spf,
                MODELS.build(self.sapd['spf_loss']),
                self.spd,
                _build_loss(SGRLoss, 'sgr_loss', self.sapd['sgr_loss']),
                ToRGB(_unit(mean, 0.0), _unit(std, 1.0)),
                rng,
                _build_online(self.sapd['online'], device),
            ).to(device)
        print_log(self.in_training.distiller.formula(), logger='current')

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor', **kwargs: Any) -> Any:
        """Run the base's forward; in mode 'loss' add ``loss_spf``, ``loss_spd`` and ``loss_sgr`` to its losses.

        Args:
            inputs: degraded images, (N,C,h,w), as the data preprocessor gives them.
            data_samples: stacked; for mode 'loss' with ``gt_img`` (N,C,H,W) and ``sam_mask`` (N,1,H,W) integer.
            mode: 'tensor', 'predict' or 'loss'.
            **kwargs: the base's.

        Raises:
            SAPDError: the batch holds no masks, or the hook is missing.
            FloatingPointError: a loss is NaN or infinite; the message names it.
        """
        if mode != 'loss':
            return super().forward(inputs, data_samples, mode, **kwargs)
        training = self.in_training
        if training.distiller is None:
            raise SAPDError("default_hooks: SAPDHook is missing, add default_hooks=dict(sapd=dict(type='SAPDHook')).")
        gt, mask = _supervision(data_samples, self.sapd['online'])
        images: list[Tensor] = []
        with tapped(self.generator, images.append, 'generator', self.sapd['output_index']):
            losses = dict(super().forward(inputs, data_samples, mode, **kwargs))
        restored = images[0]
        _check_finite(losses, training.iteration)
        training.distiller.to_rgb.order = _channel_order(data_samples)
        distilled = training.distiller(restored, gt, mask, training.iteration)
        losses.update({f'loss_{name[2:]}': value for name, value in distilled.losses.items()})
        step = Step(distilled.losses, restored.detach(), distilled.refined, gt, distilled.mask)
        degraded = inputs['img'] if isinstance(inputs, dict) else inputs
        training.latest = degraded[:1].clone(), step.first()
        return {**losses, **step.psnrs(training.distiller.to_rgb)}

    def __deepcopy__(self, memo: dict) -> Any:
        """Copy the student alone: a moving average is for testing, and SPF goes on as it was trained."""
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        modules = {name: module for name, module in self._modules.items() if name != 'spf'}
        copied.__dict__.update(deepcopy({**self.__dict__, '_modules': modules}, memo))
        return copied


def _build_loss(kind: type, key: str, block: Any) -> Any:
    if not block:
        return None
    loss = MODELS.build(block)
    if not isinstance(loss, kind):
        raise SAPDError(f"model.{key}.type: found '{block['type']}', expected {kind.__name__} or a subclass of it.")
    return loss


def _build_online(block: Mapping[str, Any] | None, device: torch.device) -> OnlineMasks | None:
    if not block:
        return None
    settings = dict(block)
    every = settings.pop('every', 1)
    return OnlineMasks(build_online_segmenter('model.online', settings, device), every)


def _supervision(data_samples: Any, online: Any) -> tuple[Tensor, Tensor | None]:
    gt, mask = (getattr(data_samples, key, None) for key in ('gt_img', 'sam_mask'))
    if not isinstance(mask, Tensor) and (not online or online.get('every', 1) != 1):
        raise SAPDError(
            "train_dataloader.dataset.type: gives batches without 'sam_mask', expected 'PairedImageMaskDataset' and a "
            "'mask_store'."
        )
    if not isinstance(gt, Tensor):
        raise SAPDError(
            "model.data_preprocessor: gives no stacked 'gt_img', expected DataPreprocessor with stack_data_sample."
        )
    return gt, mask


def _channel_order(data_samples: Any) -> str:
    """The order of ``gt_img`` as the data preprocessor left it; it writes the order into the meta information."""
    order = data_samples.metainfo.get('gt_img_output_channel_order', 'BGR')
    order = order[0] if isinstance(order, list) else order
    return 'bgr' if order.lower() == 'bgr' else 'rgb'


def _check_finite(losses: dict[str, Any], iteration: int) -> None:
    """Stop at a loss of the base's own that is not finite, as the distiller does for ours."""
    for name, value in losses.items():
        values = value if isinstance(value, (list, tuple)) else [value]
        for part in values:
            if isinstance(part, Tensor) and 'loss' in name and not torch.isfinite(part.detach()).all():
                raise FloatingPointError(f'{name} is {part.detach().mean().item()} at iteration {iteration}.')


def _image_channels(generator: nn.Module) -> int:
    """1 for a network of grey images, else 3: networks name this argument in many ways."""
    convolutions = (m for m in generator.modules() if isinstance(m, nn.Conv2d))
    first = next(convolutions, None)
    return 1 if first is not None and first.in_channels == 1 else 3


def _unit(values: Any, default: float) -> list[float]:
    """A preprocessor's mean or deviation, which are on the 0-255 scale, for images in [0, 1]."""
    values = [default] if values is None else torch.as_tensor(values).flatten().tolist()
    return [value / 255 for value in values]

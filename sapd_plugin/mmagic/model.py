"""SAPDModel: BaseEditModel or a subclass, trained with SAM priors.

The base model's own forward and losses run unchanged; a :class:`~sapd_plugin.mmagic.step.SummedHook` on its generator
adds the gradient of SPD and SGR. MMEngine adds SPF's loss to the base's, and scales, accumulates, clips and logs both.
Testing is the base model's, unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from mmagic.registry import MODELS
from mmengine.dist import get_rank, is_distributed
from mmengine.logging import print_log
from torch import Tensor, nn

from sapd_plugin.core import (
    BranchRNG,
    Distiller,
    SGRLoss,
    SPDLoss,
    StepRecord,
    StepSettings,
    Supervision,
    ToRGB,
    build_branch,
    build_hint,
    build_online,
    build_typed_loss,
    check_frozen,
    check_image,
    check_stage,
    needs_stored_masks,
    read_settings,
)
from sapd_plugin.errors import SAPDError, describe, within
from sapd_plugin.mmagic.log import StepLog
from sapd_plugin.mmagic.options import base_model_class, check_config
from sapd_plugin.mmagic.step import Checkpointed, SummedHook, idle
from sapd_plugin.priors.segmenters import build_online_segmenter

if TYPE_CHECKING:  # at run time, the mixin precedes the user's class
    from mmagic.models.base_models import BaseEditModel as Base
else:
    Base = object


@MODELS.register_module(name='SAPDModel')
def build_sapd_model(
    base_model_type: str | type = 'BaseEditModel',
    network_spf: Mapping[str, Any] | None = None,
    spd_loss: Mapping[str, Any] | None = None,
    sgr_loss: Mapping[str, Any] | None = None,
    spf_loss: Mapping[str, Any] | None = None,
    stage: str = 'joint',
    output_index: int | None = None,
    online: Mapping[str, Any] | None = None,
    teacher: str = StepSettings.teacher,
    teacher_decay: float = StepSettings.teacher_decay,
    freeze_after: int = StepSettings.freeze_after,
    every: int = StepSettings.every,
    chunks: int = StepSettings.chunks,
    **base: Any,
) -> Any:
    """Build the model that ``base_model_type`` names with :class:`SAPDMixin` mixed in.

    Args:
        base_model_type: BaseEditModel or a subclass of it.
        network_spf: config of the SPF branch; its ``network`` is the config of ``generator`` by default.
        spd_loss: config of SPDLoss, or None.
        sgr_loss: config of SGRLoss, or None.
        spf_loss: second reconstruction loss, which trains only SPF; by default ``pixel_loss``, else L1.
        stage: 'joint', or 'two_stage': starts from a student that the stock config trained (``load_from``).
        output_index: which image to distil if the generator returns several; by default its class's ``output_index``.
        online: extract masks during training: ``segmenter`` and its settings, and ``every``, in iterations.
        teacher: this argument and the next four are those of :class:`~sapd_plugin.core.StepSettings`.
        teacher_decay: for the teacher 'ema'.
        freeze_after: for the teacher 'frozen'.
        every: steps of the optimizer from one run of the branch to the next.
        chunks: parts of the batch.
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
    }
    values = {
        'stage': stage,
        'output_index': output_index,
        'online': online,
        'teacher': teacher,
        'teacher_decay': teacher_decay,
        'freeze_after': freeze_after,
        'every': every,
        'chunks': chunks,
    }
    check_config(base_class, base, ours, values)
    settings = read_settings('model', values)
    return type(f'SAPD{base_class.__name__}', (SAPDMixin, base_class), {})(deepcopy(ours), settings, **base)


class _Training:
    """State of a training outside the module tree: not in any state dict, and shared by copies of the model."""

    def __init__(self) -> None:
        self.hook: SummedHook | None = None
        self.iteration = 0
        self.shares: dict[str, Tensor] = {}
        self.latest: tuple[Tensor, StepRecord] | None = None

    @property
    def distiller(self) -> Distiller:
        """The distiller of the hook."""
        if self.hook is None:
            raise SAPDError("default_hooks: SAPDHook is missing, add default_hooks=dict(sapd=dict(type='SAPDHook')).")
        return self.hook.distiller

    def spf_was_trained(self) -> bool:
        """Return whether SPF was trained in the optimizer's step that ends with this iteration."""
        first = self.iteration - (self.iteration - 1) % self.distiller.settings.accumulate
        return self.distiller.trains(first)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Training:
        return self


class SAPDMixin(Base):
    """SAPD for an MMagic model class. It precedes the base class, which does the restoration.

    ``spf`` is the one additional sub-module; :class:`~sapd_plugin.mmagic.hook.SAPDHook` keeps it out of ``state_dict``.
    """

    def __init__(self, sapd: dict[str, Any], settings: StepSettings, **base: Any) -> None:
        network = deepcopy(base['generator'])
        try:
            super().__init__(**base)
        except SAPDError:
            raise
        except Exception as error:  # of a model or network that a user wrote: any
            name = type(self).__name__.removeprefix('SAPD')
            raise SAPDError(f'model: {name} cannot be built from these arguments ({describe(error)}).') from error
        self.sapd, self.settings, self.in_training = sapd, settings, _Training()
        # A separate stream, so that the student and the data see the random draws of a stock run.
        with BranchRNG(torch.initial_seed()).active():
            self.spf = build_branch(
                'model.network_spf',
                MODELS.build,
                sapd['network_spf'],
                student='model.generator',
                network=network,
                image_channels=image_channels(self.generator),
                output_index=settings.output_index,
            )
            # Not SGR, because testing does not need VGG-19.
            self.spd = build_typed_loss('model.spd_loss', SPDLoss, sapd['spd_loss'], MODELS.build)

    def prepare_training(self, load_from: str | None, device: torch.device, accumulate: int = 1) -> None:
        """Build the distiller; called by SAPDHook before the first step.

        Args:
            load_from: the checkpoint from which training starts, or None.
            device: of the model.
            accumulate: number of iterations that make one step of the optimizer.

        Raises:
            SAPDError: missing VGG-19 weights, a loss of a different type, a stage, teacher or ``freeze_after`` that
                does not fit the run, or an image of the generator that cannot be distilled.
        """
        with within('model'):
            settings = replace(self.settings, accumulate=accumulate)
        check_stage(settings.stage, 'model.stage', 'load_from', load_from)
        check_frozen(settings, 'model', 'load_from', load_from)
        check_image(self.generator, 'generator', image_channels(self.generator), settings.output_index)
        preprocessor = self.data_preprocessor
        mean, std = (getattr(preprocessor, name, None) for name in ('mean', 'std'))
        rng = BranchRNG(torch.initial_seed() + get_rank(), device)
        segmenter = partial(build_online_segmenter, 'model.online', device=device)
        with rng.active():
            with within('model.spd_loss'):
                hint = build_hint(self.spd, self.generator, self.spf, settings.output_index)
            distiller = Distiller(
                Checkpointed(self.spf) if settings.chunks > 1 else self.spf,
                MODELS.build(self.sapd['spf_loss']),
                self.spd,
                build_typed_loss('model.sgr_loss', SGRLoss, self.sapd['sgr_loss'], MODELS.build),
                ToRGB(_unit(mean, 0.0), _unit(std, 1.0)),
                rng,
                build_online('model.online', settings.online, segmenter),
                settings,
                hint,
            ).to(device)
        self.in_training.hook = SummedHook(self.generator, distiller, 'generator', settings.output_index)
        print_log(distiller.formula(), logger='current')

    def forward(self, inputs: Any, data_samples: Any = None, mode: str = 'tensor', **kwargs: Any) -> Any:
        """Run the base's forward; in mode 'loss' add ``loss_spf``, ``loss_spd``, ``loss_sgr`` and ``loss_hint``.

        At the iterations at which the branch is not due, it is the base's forward alone.

        Args:
            inputs: degraded images, (N,C,h,w), as the data preprocessor returns them.
            data_samples: stacked; for mode 'loss' with ``gt_img`` (N,C,H,W), ``sam_mask`` (N,1,H,W) integer and, as far
                as SPF reads it, ``mask_context`` (N,K+1,S).
            mode: 'tensor', 'predict' or 'loss'.
            **kwargs: the base's.

        Raises:
            SAPDError: the batch holds no masks, or no context that SPF reads; or the hook is missing.
        """
        training = self.in_training
        training.shares = {}
        if mode != 'loss' or not training.distiller.due(training.iteration):
            return super().forward(inputs, data_samples, mode, **kwargs)
        assert training.hook is not None
        degraded = inputs['img'] if isinstance(inputs, dict) else inputs
        supervision = _supervision(data_samples, degraded, self.settings.online)
        retarget = partial(setattr, data_samples, 'gt_img')
        with training.hook.attach(supervision, training.iteration, retarget) as recorder:
            losses = super().forward(inputs, data_samples, mode, **kwargs)
        record = recorder.value
        training.latest, training.shares = (degraded[:1].clone(), record.first()), record.shares
        return {**losses, **training.hook.losses(record), **record.psnrs()}

    def parse_losses(self, losses: dict[str, Any]) -> tuple[Tensor, StepLog]:
        """Return the base's sum, and what it logs as a :class:`StepLog`, which SAPDHook checks after the step."""
        loss, values = super().parse_losses(losses)
        training = self.in_training
        if is_distributed() and not training.distiller.trains(training.iteration):
            loss = idle(loss, self.spf.parameters())
        return loss, StepLog(values, [name for name in losses if 'loss' in name], training.shares)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Copy only the student: a moving average is for testing, which does not use SPF."""
        copied = self.__class__.__new__(self.__class__)
        memo[id(self)] = copied
        modules = {name: module for name, module in self._modules.items() if name != 'spf'}
        copied.__dict__.update(deepcopy({**self.__dict__, '_modules': modules}, memo))
        return copied


def _supervision(data_samples: Any, degraded: Tensor, online: Mapping[str, Any] | None) -> Supervision:
    gt, mask, context = (getattr(data_samples, key, None) for key in ('gt_img', 'sam_mask', 'mask_context'))
    if not isinstance(mask, Tensor) and needs_stored_masks(online):
        raise SAPDError(
            "train_dataloader.dataset.type: gives batches without 'sam_mask', expected 'PairedImageMaskDataset' and a "
            "'mask_store'."
        )
    if not isinstance(gt, Tensor):
        raise SAPDError(
            "model.data_preprocessor: gives no stacked 'gt_img', expected DataPreprocessor with stack_data_sample."
        )
    return Supervision(gt, mask, degraded, context, _channel_order(data_samples))


def _channel_order(data_samples: Any) -> str:
    """Return the channel order of ``gt_img``, which the data preprocessor writes into the meta information."""
    order = data_samples.metainfo.get('gt_img_output_channel_order', 'BGR')
    order = order[0] if isinstance(order, list) else order
    return 'bgr' if order.lower() == 'bgr' else 'rgb'


def image_channels(generator: nn.Module) -> int:
    """Return 1 for a network of gray images, else 3: networks have many names for this argument."""
    convolutions = (m for m in generator.modules() if isinstance(m, nn.Conv2d))
    first = next(convolutions, None)
    return 1 if first is not None and first.in_channels == 1 else 3


def _unit(values: Any, default: float) -> list[float]:
    """Convert a preprocessor's mean or deviation from the 0-255 scale to [0, 1]."""
    values = [default] if values is None else torch.as_tensor(values).flatten().tolist()
    return [value / 255 for value in values]

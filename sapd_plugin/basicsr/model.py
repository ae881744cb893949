"""SAPDModel: any BasicSR model, trained with SAM priors.

The base model's own training step runs unchanged; a :class:`~sapd_plugin.core.DistillationHook` on ``net_g`` adds the
gradient of SPD and SGR and trains the SPF branch. Testing is the base model's, unchanged.
"""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger, imwrite
from torch import Tensor, nn

from sapd_plugin.basicsr.base_models import base_model_class, check_base_losses
from sapd_plugin.basicsr.blame import named_blocks
from sapd_plugin.basicsr.options import check_options
from sapd_plugin.basicsr.resume import RunState, fitting
from sapd_plugin.core import (
    BranchRNG,
    DistillationHook,
    Distiller,
    FiniteCheck,
    GradScaler,
    SGRLoss,
    ShareWatch,
    SPDLoss,
    StepRecord,
    StepSettings,
    Supervision,
    ToRGB,
    build_branch,
    build_hint,
    build_online,
    build_typed_loss,
    check_image,
    read_settings,
    read_values,
    start_from,
)
from sapd_plugin.errors import SAPDError, describe, within
from sapd_plugin.metrics import canonical_color
from sapd_plugin.priors.inspection.pictures import strip
from sapd_plugin.priors.segmenters import build_online_segmenter

if TYPE_CHECKING:  # at run time, the mixin precedes the user's class
    from basicsr.models.base_model import BaseModel as Base
else:
    Base = object


def build_sapd_model(opt: dict[str, Any]) -> Any:
    """Build the model that ``base_model_type`` names (default SRModel) with :class:`SAPDMixin` mixed in.

    Args:
        opt: BasicSR's options. For training: ``network_spf``, ``train.spd_opt`` and/or ``train.sgr_opt``; optional
            ``base_model_type``, ``train.spf_opt`` (second reconstruction loss; default ``pixel_opt``, else L1),
            ``train.optim_spf`` (default ``optim_g``), ``train.sapd_opt``
            (:class:`~sapd_plugin.core.StepSettings`).

    Raises:
        SAPDError: a mistake in the options; see :mod:`sapd_plugin.basicsr.options`.
    """
    base = base_model_class(opt)
    if opt['is_train']:
        check_options(opt)
    model = type(f'SAPD{base.__name__}', (SAPDMixin, base), {'base_name': base.__name__})
    with named_blocks(opt) if opt['is_train'] else nullcontext():
        return model(opt)


class SAPDMixin(Base):
    """SAPD for a BasicSR model class. It precedes the base class, which does the restoration."""

    base_name: str

    def init_training_settings(self) -> None:
        """Build the SPF branch before the base builds its optimizers (called by the base's constructor)."""
        train, dataset = self.opt['train'], self.opt['datasets']['train']
        self.run_state = RunState(self.opt)
        rank = self.opt.get('rank', 0)
        # A separate stream, so that the base's networks and data see the random draws of a stock run.
        self.branch_rng = BranchRNG((self.opt.get('manual_seed') or 0) + rank, self.device)
        settings = read_settings('train.sapd_opt', train.get('sapd_opt'))
        online, scale = 'train.sapd_opt.online', self.opt.get('scale')
        channels = self._image_channels()
        check_image(self.net_g, 'network_g', channels, settings.output_index, scale, 'datasets.train.color')
        with self.branch_rng.active():
            self.net_spf = self._build_branch(settings)
            reconstruction = train.get('spf_opt') or train.get('pixel_opt') or {'type': 'L1Loss'}
            spd = build_typed_loss('train.spd_opt', SPDLoss, train.get('spd_opt'), build_loss)
            with within('train.spd_opt'):
                hint = build_hint(spd, self.net_g, self.net_spf, settings.output_index, scale)
            self.distiller = Distiller(
                self.net_spf,
                build_loss(reconstruction),
                spd,
                build_typed_loss('train.sgr_opt', SGRLoss, train.get('sgr_opt'), build_loss),
                ToRGB(dataset.get('mean') or (), dataset.get('std') or ()),
                self.branch_rng,
                build_online(online, settings.online, partial(build_online_segmenter, online, device=self.device)),
                settings,
                hint,
            ).to(self.device)
        average = self.distiller.teacher.average
        if average is not None and self.opt['path'].get('pretrain_network_spf') is not None:
            self._load_spf(average, 'params_ema')
        self.hook = DistillationHook(
            self.net_g, self.distiller, 'network_g', settings.output_index, self._scaler, self.device
        )
        self.check_finite = FiniteCheck()
        self.watch_shares = ShareWatch(self.distiller, get_root_logger().warning)
        self.latest: tuple[Tensor, StepRecord] | None = None
        self.latest_log: dict[str, float] = {}
        super().init_training_settings()
        check_base_losses(self, channels)
        if not hasattr(self, 'optimizer_spf'):
            raise SAPDError(
                f'base_model_type: {self.base_name} does not call setup_optimizers() from init_training_settings(), '
                'so SPF would not be trained.'
            )
        # No gradients, so no change. Without a step before the schedulers' first one, PyTorch warns, and with `every`
        # SPF's own first step comes later.
        self.optimizer_spf.step()
        get_root_logger().info(self.distiller.formula())

    def setup_optimizers(self) -> None:
        """Add SPF's optimizer to the base's, before the base creates a scheduler for each."""
        train = self.opt['train']
        settings = deepcopy(train.get('optim_spf') or train['optim_g'])  # the base pops its own type
        super().setup_optimizers()
        self.optimizer_spf = self.get_optimizer(settings.pop('type'), self.net_spf.parameters(), **settings)
        self.optimizers.append(self.optimizer_spf)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Keep the batch for the training step; the base takes the entries that it knows."""
        super().feed_data(data)
        self._batch = data

    def optimize_parameters(self, current_iter: int, *args: Any, **kwargs: Any) -> None:
        """Run the base's training step with the distillation hook attached, then SPF's optimizer.

        At the iterations at which the branch is not due, it is the base's step alone.

        Raises:
            SAPDError: the batch holds no masks, or the base model has replaced the images of the batch.
            FloatingPointError: a loss is NaN or infinite; the message names it.
        """
        self.run_state.batches.use()
        if self.distiller.due(current_iter):
            self._distil(current_iter, *args, **kwargs)
        else:
            super().optimize_parameters(current_iter, *args, **kwargs)
        self.log_dict.update(self.latest_log)

    def _distil(self, iteration: int, *args: Any, **kwargs: Any) -> None:
        """Run a step of both networks."""
        supervision = self._supervision()
        settings = self.distiller.settings
        if settings.begins_step(iteration):
            self.optimizer_spf.zero_grad()
        with self.hook.attach(supervision, iteration, self._retarget) as recorder:
            super().optimize_parameters(iteration, *args, **kwargs)
        record = recorder.value
        values = read_values({**record.losses, **record.psnrs(), **record.shares})
        self.check_finite({name: values[name] for name in record.losses}, iteration, self.hook.float16)
        self.watch_shares(values, iteration)
        if settings.ends_step(iteration) and self.distiller.trains(iteration):
            self.hook.scaler.step(self.optimizer_spf)
            self.distiller.teacher.update(self.net_spf)
        assert supervision.degraded is not None
        self.latest, self.latest_log = (supervision.degraded[:1].clone(), record.first()), values

    def _supervision(self) -> Supervision:
        """Return the images that the base has moved to the device, and the rest of the batch.

        Raises:
            SAPDError: the base model has replaced the images of the batch, or has no ground truth to mix with z.
        """
        gt, lq = (getattr(self, key, self._batch[key]) for key in ('gt', 'lq'))
        gt, lq = (image.to(self.device, non_blocking=True) for image in (gt, lq))
        if self.latest is None and not torch.equal(gt, self._batch['gt'].to(self.device)):
            raise SAPDError(
                f'base_model_type: {self.base_name} changes the batch in feed_data(), so masks lose their images.'
            )
        spd = self.distiller.spd
        if spd is not None and spd.target == 'mix' and not hasattr(self, 'gt'):
            raise SAPDError(
                f"train.spd_opt.target: 'mix' needs a base model that keeps the ground truth in its attribute gt, and "
                f"{self.base_name} does not. Use 'refined'."
            )
        mask, context = (
            self._batch[key].to(self.device, non_blocking=True) if key in self._batch else None
            for key in ('mask', 'mask_context')
        )
        return Supervision(gt, mask, lq, context)

    def _retarget(self, target: Tensor) -> None:
        """Let the base's losses compare the student's image with ``target`` (train.spd_opt.target: mix)."""
        self.gt = target

    def _scaler(self) -> Any:
        """Return the first GradScaler that the base model keeps, or None: stock BasicSR has none, forks have."""
        return next((value for value in vars(self).values() if isinstance(value, GradScaler)), None)

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Run the base's validation; in training, also show the latest patch: degraded, y, z, gt, mask."""
        super().validation(dataloader, current_iter, tb_logger, save_img)
        if self.is_train:
            self.run_state.after_validation(current_iter)
        if self.is_train and self.latest is not None and self.opt.get('rank', 0) == 0:
            degraded, record = self.latest
            photos = [photo.numpy() for photo in record.photos(degraded)]
            picture = strip(photos, record.mask[0, 0].cpu().numpy())
            if tb_logger is not None:
                name = 'sapd/degraded_restored_refined_gt_mask'
                tb_logger.add_image(name, picture, current_iter, dataformats='HWC')
            if save_img:
                file = Path(self.opt['path']['visualization']) / 'sapd' / f'patch_{current_iter}.png'
                imwrite(picture[..., ::-1], str(file))

    def save(self, epoch: int, current_iter: int) -> None:
        """Save what the base saves, unchanged, and before it the branch as ``net_spf_{iter}.pth``.

        Its moving average, if there is one, is the entry ``params_ema`` of that file. The base's training state, which
        a run is resumed from, comes last, so that a state is complete if it is there.
        """
        average = self.distiller.teacher.average
        networks = {'params': self.net_spf, **({} if average is None else {'params_ema': average})}
        self.save_network(list(networks.values()), 'net_spf', current_iter, list(networks))
        if current_iter != -1:
            within = not self.distiller.settings.ends_step(current_iter)
            gradients = [parameter.grad for parameter in self._trained()] if within else []
            self.run_state.save(current_iter, self.hook.scaler.state_dict(), gradients)
        super().save(epoch=epoch, current_iter=current_iter)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume optimizers, schedulers and random-number-generator states.

        Raises:
            SAPDError: the state comes from a stock run or does not fit, or its masks have a different fingerprint.
        """
        with fitting(resume_state, self.optimizers, self.schedulers):
            super().resume_training(resume_state)
        scaler, gradients = self.run_state.load(resume_state['iter'])
        self.hook.scaler.load_state_dict(scaler)
        for parameter, gradient in zip(self._trained(), gradients):
            parameter.grad = None if gradient is None else gradient.to(parameter.device)

    def _trained(self) -> list[nn.Parameter]:
        """Return the parameters of all optimizers."""
        return [each for optimizer in self.optimizers for group in optimizer.param_groups for each in group['params']]

    def _build_branch(self, settings: StepSettings) -> nn.Module:
        dataset, path = self.opt['datasets']['train'], self.opt['path']
        branch = build_branch(
            'network_spf',
            build_network,
            self.opt['network_spf'],
            min(int(dataset.get('gt_size') or 64), 64),
            'network_g',
            network=self.opt['network_g'],
            image_channels=self._image_channels(),
            output_index=settings.output_index,
        ).to(self.device)
        if path.get('pretrain_network_spf') is not None:
            self._load_spf(branch, 'params')
        elif settings.stage == 'two_stage':
            get_root_logger().info(start_from(branch, self.get_bare_model(self.net_g).state_dict(), 'network_g'))
        branch = self.model_to_device(branch.train())
        self.print_network(branch)
        return branch

    def _image_channels(self) -> int:
        return 1 if canonical_color(self.opt['datasets']['train'].get('color')) in ('y', 'gray') else 3

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Load a checkpoint as the base does.

        Raises:
            SAPDError: the file cannot be read, or does not fit the network.
        """
        try:
            super().load_network(net, load_path, strict, param_key)
        except Exception as error:  # torch and pickle raise many kinds
            keys = [key for key, value in self.opt['path'].items() if value == load_path]
            raise SAPDError(
                f'path.{" or ".join(keys)}: {load_path} does not fit {type(self.get_bare_model(net)).__name__} with '
                f"the entry '{param_key}' ({describe(error)[:400]})."
            ) from error

    def _load_spf(self, network: nn.Module, key: str) -> None:
        path = self.opt['path']
        self.load_network(network, path['pretrain_network_spf'], path.get('strict_load_spf', True), key)

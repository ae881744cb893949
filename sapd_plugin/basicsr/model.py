"""SAPDModel: any BasicSR model, trained with SAM priors.

The base model's own training step runs unchanged; a :class:`~sapd_plugin.core.Graft` on ``net_g`` adds SPD's and
SGR's gradient to it and trains the SPF branch beside it. Testing is the base model's, untouched.
"""

from __future__ import annotations

from collections import OrderedDict
from copy import deepcopy
from typing import Any

import torch
from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from torch import Tensor, nn

from sapd_plugin.basicsr.options import base_model_class, check_options
from sapd_plugin.basicsr.pictures import log_pictures
from sapd_plugin.basicsr.resume import load_branch_state, save_branch_state
from sapd_plugin.core import (
    BranchRNG,
    Distiller,
    Graft,
    OnlineMasks,
    SGRLoss,
    SPDLoss,
    Step,
    ToRGB,
    check_branch,
    start_from,
)
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters import build_online_segmenter


def SAPDModel(opt: dict[str, Any]) -> Any:
    """Build the model that ``base_model_type`` names (default SRModel) with SAPD mixed in.

    Args:
        opt: BasicSR's options. For training: ``network_spf``, ``train.spd_opt`` and/or ``train.sgr_opt``; optional
            ``base_model_type``, ``train.spf_opt`` (second reconstruction loss; default ``pixel_opt``, else L1),
            ``train.optim_spf`` (default ``optim_g``), ``train.sapd_opt`` (``stage``, ``online``,
            ``output_index``: which image to distil where network_g returns several; default: its class's own).

    Raises:
        SAPDError: a mistake in the options; see :mod:`sapd_plugin.basicsr.options`.
    """
    base = base_model_class(opt)
    if opt['is_train']:
        check_options(opt)
    return type(f'SAPD{base.__name__}', (SAPDMixin, base), {})(opt)


class SAPDMixin:
    """What SAPD adds to a BasicSR model class. It goes before the base class, which does the restoration."""

    opt: dict[str, Any]
    device: torch.device
    is_train: bool
    net_g: nn.Module
    optimizers: list[torch.optim.Optimizer]
    log_dict: dict[str, float]

    def init_training_settings(self) -> None:
        """Build the SPF branch before the base builds its optimizers (called by the base's constructor)."""
        train, dataset = self.opt['train'], self.opt['datasets']['train']
        rank = self.opt.get('rank', 0)
        # A stream of its own: the base's networks and data see the draws of a stock run, whatever is built here.
        self.branch_rng = BranchRNG((self.opt.get('manual_seed') or 0) + rank, self.device)
        sapd = train.get('sapd_opt') or {}
        output_index = sapd.get('output_index')
        with self.branch_rng.active():
            self.net_spf = self._build_spf(output_index)
            reconstruction = train.get('spf_opt') or train.get('pixel_opt') or {'type': 'L1Loss'}
            self.distiller = Distiller(
                self.net_spf,
                build_loss(reconstruction).to(self.device),
                self._build_loss(SPDLoss, 'spd_opt'),
                self._build_loss(SGRLoss, 'sgr_opt'),
                ToRGB(dataset.get('mean') or (), dataset.get('std') or ()).to(self.device),
                self.branch_rng,
                _build_online(sapd.get('online'), self.device),
            )
        self.graft = Graft(self.net_g, self.distiller, 'network_g', output_index)
        self.latest: tuple[Tensor, Step] | None = None
        super().init_training_settings()  # type: ignore[misc]
        if not hasattr(self, 'optimizer_spf'):
            raise SAPDError(
                f'base_model_type: {type(self).__bases__[1].__name__} does not call setup_optimizers() from '
                'init_training_settings(), so SPF would not be trained.'
            )
        get_root_logger().info(self.distiller.formula())

    def setup_optimizers(self) -> None:
        """Add SPF's optimizer to the base's, before the base gives each of them a scheduler."""
        train = self.opt['train']
        settings = deepcopy(train.get('optim_spf') or train['optim_g'])  # the base pops the type of its own
        super().setup_optimizers()  # type: ignore[misc]
        self.optimizer_spf = self.get_optimizer(settings.pop('type'), self.net_spf.parameters(), **settings)
        self.optimizers.append(self.optimizer_spf)

    def feed_data(self, data: dict[str, Any]) -> None:
        """Keep the batch for the training step; the base takes what it knows of it."""
        super().feed_data(data)  # type: ignore[misc]
        self._batch = data

    def optimize_parameters(self, current_iter: int, *args: Any, **kwargs: Any) -> None:
        """Run the base's training step with SAPD grafted on, then SPF's optimizer.

        Raises:
            SAPDError: the batch holds no masks, or the base model has exchanged the images of the batch.
            FloatingPointError: a loss is NaN or infinite; the message names it.
        """
        lq, gt = (self._batch[key].to(self.device) for key in ('lq', 'gt'))
        mask = self._batch['mask'].to(self.device) if 'mask' in self._batch else None
        fed = getattr(self, 'gt', gt)
        if fed is not gt and not torch.equal(fed, gt):
            raise SAPDError(
                f'base_model_type: {type(self).__bases__[1].__name__} changes the batch in feed_data(), so masks lose '
                'their images.'
            )
        self.optimizer_spf.zero_grad()
        with self.graft.armed(gt, mask, current_iter) as done:
            super().optimize_parameters(current_iter, *args, **kwargs)  # type: ignore[misc]
        self.optimizer_spf.step()
        step = done[0]
        self.latest = lq[:1].clone(), step.first()
        psnrs = step.psnrs(self.distiller.to_rgb)
        self.log_dict.update(self.reduce_loss_dict(OrderedDict(step.losses, **psnrs)))

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Run the base's validation; in training, also show the latest patch: degraded, y, z, gt, mask."""
        super().validation(dataloader, current_iter, tb_logger, save_img)  # type: ignore[misc]
        if self.is_train and self.latest is not None and self.opt.get('rank', 0) == 0:
            folder = self.opt['path']['visualization'] if save_img else None
            log_pictures(*self.latest, self.distiller.to_rgb, current_iter, tb_logger, folder)

    def save(self, epoch: int, current_iter: int) -> None:
        """Save what the base saves, unchanged, and the branch beside it as ``net_spf_{iter}.pth``."""
        super().save(epoch=epoch, current_iter=current_iter)  # type: ignore[misc]
        self.save_network(self.net_spf, 'net_spf', current_iter)
        if current_iter != -1:
            save_branch_state(self.opt, current_iter)

    def resume_training(self, resume_state: dict[str, Any]) -> None:
        """Resume optimizers, schedulers and random streams.

        Raises:
            SAPDError: the state is a stock run's, or its masks were cut with other settings.
        """
        found, expected = len(resume_state['optimizers']), len(self.optimizers)
        if found != expected:
            raise SAPDError(
                f'path.resume_state: holds {found} optimizers, expected {expected}. A stock run cannot be resumed as '
                'a SAPD run: start one with its student in path.pretrain_network_g (train.sapd_opt.stage: two_stage).'
            )
        super().resume_training(resume_state)  # type: ignore[misc]
        load_branch_state(self.opt, resume_state['iter'])

    def _build_spf(self, output_index: int | None) -> nn.Module:
        block = deepcopy(self.opt['network_spf'])
        block.setdefault('network', deepcopy(self.opt['network_g']))
        block.setdefault('image_channels', 1 if self.opt['datasets']['train'].get('color') in ('y', 'grey') else 3)
        block.setdefault('output_index', output_index)
        spf = build_network(block).to(self.device)
        check_branch(spf, block['image_channels'], min(int(self.opt['datasets']['train'].get('gt_size') or 64), 64))
        load_path = self.opt['path'].get('pretrain_network_spf')
        if load_path is not None:
            self.load_network(spf, load_path, self.opt['path'].get('strict_load_spf', True), 'params')
        elif (self.opt['train'].get('sapd_opt') or {}).get('stage') == 'two_stage':
            fits = start_from(spf, self.get_bare_model(self.net_g).state_dict())
            start = 'starts with the weights of network_g' if fits else 'is another network: from scratch'
            get_root_logger().info(f'network_spf: the second network {start}.')
        spf = self.model_to_device(spf.train())
        self.print_network(spf)
        return spf

    def _build_loss(self, kind: type, key: str) -> Any:
        block = self.opt['train'].get(key)
        if not block:
            return None
        loss = build_loss(block).to(self.device)
        if not isinstance(loss, kind):
            raise SAPDError(f"train.{key}.type: found '{block['type']}', expected {kind.__name__} or a subclass of it.")
        return loss


def _build_online(block: dict[str, Any] | None, device: torch.device) -> OnlineMasks | None:
    if not block:
        return None
    settings = dict(block)
    every = settings.pop('every', 1)
    return OnlineMasks(build_online_segmenter('train.sapd_opt.online', settings, device), every)

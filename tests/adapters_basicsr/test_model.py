"""SAPDModel on real pairs, built and stepped as BasicSR's train_pipeline does."""

from __future__ import annotations

import copy
import random
import warnings
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, set_random_seed
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from torch.utils.flop_counter import FlopCounterMode

from sapd_plugin.basicsr.resume import RunState
from sapd_plugin.core.shares import WINDOW
from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import parsed, sapd_options, stock_options, training_set
from tests.networks import DropoutNet, ScalesNet, assert_equal_states
from tests.recipes import DELETE, update

ZERO = {'train:spd_opt': {'type': 'SPDLoss', 'loss_weight': 0}, 'train:sgr_opt': {'type': 'SGRLoss', 'loss_weight': 0}}
GAN = {
    'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8},
    'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
    'train:optim_d': {'type': 'Adam', 'lr': 1e-3},
}
SWINIR = {
    'type': 'SwinIR',
    'upscale': 1,
    'img_size': 48,
    'window_size': 8,
    'depths': [2],
    'embed_dim': 12,
    'num_heads': [2],
}
# As MIMO-UNet and NAFNet are trained: several outputs, AdamW, clipping.
SCALES = {
    'network_g': {'type': 'ScalesNet'},
    'train:pixel_opt': {
        'type': 'MultiOutputLoss',
        'criteria': [{'type': 'L1Loss'}, {'type': 'FrequencyLoss', 'loss_weight': 0.1}],
    },
}
ADAMW = {'type': 'AdamW', 'lr': 1e-3, 'betas': [0.9, 0.9], 'weight_decay': 0.5, 'clip_grad_norm': 0.01}
PROTOCOL = {**SCALES, 'train:optim_g': ADAMW}

ARCH_REGISTRY.register(ScalesNet)


@MODEL_REGISTRY.register()
class UsersOwnModel(SRModel):
    """A model class that only a user has: another loss, another step."""

    def optimize_parameters(self, current_iter):
        self.optimizer_g.zero_grad()
        restored = self.net_g(self.lq)
        loss = (restored - self.gt).square().mean()
        loss.backward()
        self.optimizer_g.step()
        self.output = restored
        self.log_dict = self.reduce_loss_dict({'l_mine': loss})
        if self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)


def session(opt: dict, root: Path, steps: int, resume: dict | None = None, start: int = 0):
    """Build and train a model as train_pipeline does."""
    opt = parsed(opt, root)
    if resume:
        opt['path'].update(resume)
    set_random_seed(opt['manual_seed'])
    dataset = build_dataset(opt['datasets']['train'])
    model = build_model(opt)
    if resume:
        model.resume_training(torch.load(resume['resume_state']))
    train(model, dataset, range(start + 1, start + steps + 1))
    return model


def train(model, dataset, iterations: range) -> None:
    """Train as train_pipeline does; batches depend on the iteration alone."""
    for iteration in iterations:
        python = random.getstate()
        random.seed(iteration)
        batch = torch.utils.data.default_collate([dataset[(2 * iteration + k) % len(dataset)] for k in (0, 1)])
        random.setstate(python)
        model.update_learning_rate(iteration)
        model.feed_data(batch)
        model.optimize_parameters(iteration)


CASES = {
    'SRModel': {},
    'SRModel, dropout and batch norm': {'network_g': {'type': 'DropoutNet'}},
    'SRModel, Gaussian noise': {
        'datasets:train:type': 'GaussianNoiseDataset',
        'datasets:train:sigma': [0, 50],
        'network_g': {'type': 'DropoutNet'},  # draws from torch's stream, as the noise does
    },
    'SRModel, published protocol': PROTOCOL,
    'SwinIRModel, stochastic depth': {'network_g': {**SWINIR, 'drop_path_rate': 0.5}},
    'SRGANModel': GAN,
    'ESRGANModel': GAN,
    'UsersOwnModel': {},
}


def case(name: str) -> tuple[str, dict]:
    return name.split(',')[0], CASES[name]


@pytest.mark.parametrize('name', CASES)
def test_weights_zero_is_the_stock_run_bit_for_bit(pairs, store, vgg_weights, tmp_path, name):
    base, changes = case(name)
    stock = session(stock_options(pairs, model_type=base, **changes), tmp_path, 5)
    stream = torch.get_rng_state()
    zero = {**ZERO, 'train:sgr_opt': {**ZERO['train:sgr_opt'], 'weights': str(vgg_weights)}}
    sapd = session(sapd_options(pairs, store, base_model_type=base, **changes, **zero), tmp_path, 5)
    assert_equal_states(stock.net_g, sapd.net_g)
    assert_equal_states(stock.net_g_ema, sapd.net_g_ema)
    assert sapd.log_dict['l_spd'] == sapd.log_dict['l_sgr'] == 0
    assert sapd.log_dict.items() >= stock.log_dict.items()
    assert torch.equal(torch.get_rng_state(), stream)


@pytest.mark.parametrize('name', CASES)
def test_losses_act_are_logged_and_train_both_networks(pairs, store, vgg_weights, tmp_path, name):
    base, changes = case(name)
    options = sapd_options(pairs, store, base_model_type=base, **changes, **{'train:spd_opt:loss_weight': 0})
    zero = session(options, tmp_path, 3)
    sapd = session(sapd_options(pairs, store, vgg_weights, base_model_type=base, **changes), tmp_path, 3)
    assert any(not torch.equal(a, b) for a, b in zip(zero.net_g.parameters(), sapd.net_g.parameters()))
    assert {'l_spf', 'l_spd', 'l_sgr', 'psnr_restored', 'psnr_refined'} <= sapd.log_dict.keys()
    assert all(np.isfinite(v) for v in sapd.log_dict.values())
    assert sapd.log_dict['l_sgr'] > 0
    assert isinstance(sapd, MODEL_REGISTRY.get(base))
    # L_recon2 trains SPF alone and does not depend on the weights of the others: fuse has left zero.
    assert sapd.net_spf.fuse[2].weight.abs().sum() > 0
    assert sapd.net_g_ema._forward_hooks == {}


def resume_paths(opt: dict, root: Path, iteration: int) -> dict:
    folder = root / 'experiments' / opt['name']
    names = ['g', 'spf', *(['d'] if 'network_d' in opt else [])]
    paths = {f'pretrain_network_{name}': str(folder / f'models/net_{name}_{iteration}.pth') for name in names}
    return {'resume_state': str(folder / f'training_states/{iteration}.state'), **paths}


@pytest.mark.parametrize('name', ['SRModel, dropout and batch norm', 'SRModel, published protocol', 'SRGANModel'])
def test_resume_equals_an_uninterrupted_run(pairs, store, vgg_weights, tmp_path, name):
    base, changes = case(name)
    opt = sapd_options(pairs, store, vgg_weights, base_model_type=base, **changes)
    whole = session(opt, tmp_path / 'whole', 6)
    half = session(opt, tmp_path / 'half', 3)
    half.save(epoch=0, current_iter=3)
    resumed = session(opt, tmp_path / 'half', 3, resume_paths(opt, tmp_path / 'half', 3), start=3)
    for net in ('net_g', 'net_g_ema', 'net_spf') + (('net_d',) if 'network_d' in opt else ()):
        assert_equal_states(getattr(whole, net), getattr(resumed, net))
    for steppers in ('optimizers', 'schedulers'):
        assert_equal_states(*([each.state_dict() for each in getattr(m, steppers)] for m in (whole, resumed)))


@pytest.mark.parametrize(
    'teacher', [{'teacher': 'ema', 'teacher_decay': 0.5}, {'teacher': 'frozen', 'freeze_after': 3}]
)
def test_a_teacher_is_resumed(pairs, store, tmp_path, teacher):
    opt = sapd_options(
        pairs, store, **{'train:sapd_opt': {'every': 1, **teacher}, **CASES['SRModel, dropout and batch norm']}
    )
    whole, half = session(opt, tmp_path / 'whole', 5), session(opt, tmp_path / 'half', 3)
    half.save(epoch=0, current_iter=3)
    resumed = session(opt, tmp_path / 'half', 2, resume_paths(opt, tmp_path / 'half', 3), start=3)
    assert_equal_states(whole.net_g, resumed.net_g)
    assert_equal_states(whole.net_spf, resumed.net_spf)
    assert_equal_states(whole.distiller.teacher, resumed.distiller.teacher)
    assert whole.log_dict == resumed.log_dict
    average = whole.distiller.teacher.average
    assert (average is not None) == (teacher['teacher'] == 'ema')
    if average is None:
        assert_equal_states(half.net_spf, whole.net_spf)


def test_between_due_steps_the_step_is_stock(pairs, store, vgg_weights, tmp_path):
    opt = sapd_options(pairs, store, vgg_weights, **{'train:sapd_opt': DELETE})  # the default: every second step
    opt = update(opt, CASES['SRModel, dropout and batch norm'])
    model = session(opt, tmp_path, 0)
    start = copy.deepcopy(model.net_spf)
    dataset = training_set(opt, tmp_path)
    train(model, dataset, range(1, 2))
    stock = session(stock_options(pairs, **CASES['SRModel, dropout and batch norm']), tmp_path, 1)
    assert_equal_states(stock.net_g, model.net_g)
    assert_equal_states(start, model.net_spf)
    assert model.log_dict == stock.log_dict
    with warnings.catch_warnings():
        warnings.simplefilter('error')  # schedulers step before SPF's optimizer does
        model.update_learning_rate(2)
    train(model, dataset, range(2, 3))
    second = dict(model.log_dict)
    assert second['l_spd'] > 0
    assert not torch.equal(
        torch.cat([p.flatten() for p in start.parameters()]),
        torch.cat([p.flatten() for p in model.net_spf.parameters()]),
    )
    train(model, dataset, range(3, 4))
    assert model.log_dict.keys() == second.keys()
    assert model.log_dict['l_spd'] == second['l_spd']  # the latest


def test_a_generator_that_waits_for_its_discriminator(pairs, store, tmp_path):
    """SRGANModel may train the discriminator alone first: nothing arrives at the generator, and SPF is trained."""
    changes = {**GAN, 'train:net_d_init_iters': 1, 'train:spd_opt:balance': 'gradient'}
    model = session(sapd_options(pairs, store, base_model_type='SRGANModel', **changes), tmp_path, 1)
    assert model.log_dict['share_spd'] == 0
    assert model.log_dict['l_spd'] > 0
    train(model, training_set(sapd_options(pairs, store), tmp_path), range(2, 3))
    assert model.log_dict['share_spd'] == pytest.approx(0.5, rel=1e-3)


def test_the_bases_own_loss_sees_the_mixed_target(pairs, store, tmp_path):
    changes = {'train:spd_opt': {'type': 'SPDLoss', 'target': 'mix', 'mix': 1.0, 'gate': 'none'}}
    model = session(sapd_options(pairs, store, **changes), tmp_path, 1)
    assert model.log_dict['l_pix'] != pytest.approx(model.log_dict['l_spf'])
    assert torch.equal(model.gt, model._batch['gt'])
    assert model.log_dict['l_spd'] == model.log_dict['share_spd'] == 0


def test_a_weight_that_does_nothing_is_reported(pairs, store, tmp_path, caplog):
    changes = {'train:pixel_opt': {'type': 'PSNRLoss'}, 'train:spd_opt:loss_weight': 1e-4}
    get_root_logger().addHandler(caplog.handler)
    try:
        session(sapd_options(pairs, store, **changes), tmp_path, WINDOW)
    finally:
        get_root_logger().removeHandler(caplog.handler)
    assert sum('share_spd: the gradient that reached the student was' in text for text in caplog.messages) == 1


def test_states_are_saved_on_a_node_without_the_main_processs_disk(pairs, store, tmp_path):
    opt = parsed(sapd_options(pairs, store), tmp_path)
    folder = tmp_path / 'elsewhere/training_states'
    opt['path']['training_states'], opt['rank'] = str(folder), 1
    RunState(opt).save(1, {})
    assert [path.name for path in folder.iterdir()] == ['1.sapd.rank1']


def test_all_random_streams_go_on(pairs, store, tmp_path):
    opt = sapd_options(pairs, store)
    session(opt, tmp_path, 2).save(epoch=0, current_iter=2)
    expected = torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()
    session(opt, tmp_path, 0, resume_paths(opt, tmp_path, 2))
    assert (torch.rand(2).tolist(), np.random.rand(2).tolist(), random.random()) == expected


def test_test_mode_is_the_stock_model(pairs, store, tmp_path):
    """Parameters, FLOPs and output."""
    outcomes = []
    for opt in (stock_options(pairs), sapd_options(pairs, store)):
        set_random_seed(0)
        model = build_model(parsed(opt, tmp_path, is_train=False))
        assert not hasattr(model, 'net_spf')
        assert not hasattr(model, 'hook')
        model.feed_data({'lq': torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))})
        with FlopCounterMode(display=False) as flops:
            model.test()
        outcomes.append((sum(p.numel() for p in model.net_g.parameters()), flops.get_total_flops(), model.output))
    assert outcomes[0][:2] == outcomes[1][:2]
    assert outcomes[0][1] > 0
    assert torch.equal(outcomes[0][2], outcomes[1][2])


def test_validation_is_stock_and_shows_a_patch(pairs, store, vgg_weights, tmp_path):
    model = session(sapd_options(pairs, store, vgg_weights), tmp_path, 2)
    data = model.opt['datasets']['val']
    loader = build_dataloader(build_dataset(data), data, num_gpu=0, seed=0)
    logger = mock.Mock()
    before = copy.deepcopy(model.net_spf)
    model.validation(loader, 2, logger, True)
    assert_equal_states(model.net_spf, before)
    logger.add_image.assert_called_once_with('sapd/degraded_restored_refined_gt_mask', mock.ANY, 2, dataformats='HWC')
    assert logger.add_image.call_args.args[1].shape == (48, 5 * 48, 3)
    logger.add_scalar.assert_called_once_with('metrics/val/psnr', mock.ANY, 2)
    assert (tmp_path / 'experiments/sapd/visualization/sapd/patch_2.png').is_file()
    stock = build_model(parsed(stock_options(pairs), tmp_path / 'stock'))
    stock.net_g.load_state_dict(model.net_g.state_dict())
    stock.net_g_ema.load_state_dict(model.net_g_ema.state_dict())
    stock.validation(loader, 2, None, False)
    assert stock.metric_results == model.metric_results


def test_switches_reach_the_method(pairs, store, vgg_weights, tmp_path):
    changes = {
        'network_spf:encoding': 'region_mean',
        'network_spf:detach': False,
        'network_spf:network': {'type': 'DropoutNet', 'width': 4},
        'train:spd_opt': {'type': 'SPDLoss', 'criterion': 'charbonnier', 'gate': 'pixel', 'start': 2, 'ramp': 2},
        'train:sgr_opt:node_weight': 1.0,
        'train:spf_opt': {'type': 'MSELoss'},
        'train:optim_spf': {'type': 'Adam', 'lr': 0.5},
    }
    model = session(sapd_options(pairs, store, vgg_weights, **changes), tmp_path, 1)
    assert model.log_dict['l_spd'] == 0  # not started
    assert model.net_spf.fuse.encoding == 'region_mean'
    assert isinstance(model.net_spf.network, DropoutNet)
    assert model.optimizer_spf.param_groups[0]['initial_lr'] == 0.5
    assert type(model.distiller.reconstruction).__name__ == 'MSELoss'
    assert model.distiller.sgr.node_weight == 1.0


def test_a_stock_run_is_the_start_of_a_second_stage_and_cannot_be_resumed(pairs, store, tmp_path):
    stock, folder = session(stock_options(pairs), tmp_path, 2), tmp_path / 'experiments/stock'
    stock.save(epoch=0, current_iter=2)
    changes = {
        'path:pretrain_network_g': str(folder / 'models/net_g_2.pth'),
        'train:sapd_opt:stage': 'two_stage',
    }
    model = session(sapd_options(pairs, store, **changes), tmp_path, 0)
    assert_equal_states(model.net_g, stock.net_g)
    assert_equal_states(model.net_spf.network, stock.net_g)
    with pytest.raises(SAPDError, match=r'path.resume_state: holds 1 optimizers, expected 2.*two_stage'):
        session(sapd_options(pairs, store), tmp_path, 0, {'resume_state': str(folder / 'training_states/2.state')})


def test_an_absent_reconstruction_loss_is_l1(pairs, store, tmp_path):
    opt = sapd_options(pairs, store, base_model_type='SRGANModel', **GAN, **{'train:pixel_opt': DELETE})
    assert type(session(opt, tmp_path, 1).distiller.reconstruction).__name__ == 'L1Loss'


def test_masks_cut_in_the_loop(pairs, store, tmp_path):
    """Every step without a store; every second one beside a store."""
    online = {'segmenter': 'felzenszwalb', 'min_size': 20}
    changes = {'train:sapd_opt:online': online, 'datasets:train:type': 'PairedImageDataset'}
    model = session(sapd_options(pairs, store, **changes, **{'datasets:train:mask_store': DELETE}), tmp_path, 2)
    assert model.latest[1].mask.max() > 1
    changes = {'train:sapd_opt:online': {**online, 'every': 2}}
    first, second = (session(sapd_options(pairs, store, **changes), tmp_path, steps).latest[1] for steps in (1, 2))
    assert (first.mask == 0).any()  # SAM leaves pixels without a mask, felzenszwalb does not
    assert not (second.mask == 0).any()
    changes['datasets:train:type'] = 'PairedImageDataset'
    with pytest.raises(SAPDError, match=r"'PairedImageDataset' loads no masks"):
        session(sapd_options(pairs, store, **changes), tmp_path, 0)

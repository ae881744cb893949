"""SAPDModel on real pairs, trained by MMEngine's Runner as MMagic's train tool does."""

from __future__ import annotations

import copy
import random
import uuid
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmagic.datasets import BasicImageDataset
from mmagic.models.base_models import BaseEditModel
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.runner import Runner
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sapd_plugin.errors import SAPDError
from tests.adapters_mmagic.recipes import sapd_config, stock_config
from tests.networks import DropoutNet, ScalesNet, assert_equal_states
from tests.photos import make_store
from tests.recipes import DELETE

pytestmark = pytest.mark.usefixtures('without_ceremony')

ZERO = {'model:spd_loss': {'type': 'SPDLoss', 'loss_weight': 0}}
CLIP = {'optim_wrapper:clip_grad': {'max_norm': 0.01}}
EMA = {'custom_hooks': [{'type': 'EMAHook', 'momentum': 0.1}]}
MMAGIC_EMA = {
    'custom_hooks': [
        {
            'type': 'ExponentialMovingAverageHook',
            'module_keys': ('generator_ema',),
            'interval': 1,
            'interp_cfg': {'momentum': 0.1},
        }
    ],
    'model:generator_ema': True,
}
NOISY = [
    *({'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'gt')),
    {'type': 'SetValues', 'dictionary': {'scale': 1}},
    {'type': 'PairedRandomCrop', 'gt_patch_size': 48},
    {'type': 'GaussianNoise', 'sigma': [0, 50]},
    {'type': 'PackInputs'},
]
ACCUMULATE = {'optim_wrapper:accumulative_counts': 2}
OWN_OPTIMIZER = {
    'optim_wrapper:constructor': 'SAPDOptimWrapperConstructor',
    'optim_wrapper:spf_optimizer': {'type': 'SGD', 'lr': 0.1, 'momentum': 0.9},
}
# As MIMO-UNet is trained: several outputs, clipping.
SCALES = {
    'custom_imports': {'imports': ['sapd_plugin.mmagic']},
    'model:generator': {'type': 'ScalesNet'},
    'model:pixel_loss': {
        'type': 'MultiOutputLoss',
        'criteria': [{'type': 'L1Loss'}, {'type': 'FrequencyLoss', 'loss_weight': 0.1}],
    },
    **CLIP,
}

MODELS.register_module(module=DropoutNet)
MODELS.register_module(module=ScalesNet)


@MODELS.register_module()
class UsersOwnEditor(BaseEditModel):
    """A model class that only a user has: two losses, names of its own."""

    def forward_train(self, inputs, data_samples=None, **kwargs):
        restored = self.forward_tensor(inputs, data_samples)
        error = restored - data_samples.gt_img
        return {'loss_mine': error.square().mean(), 'loss_other': [error.abs().mean(), 0.1 * error.mean().square()]}


def runner_of(config: dict, work_dir: Path, **changes) -> Runner:
    """A runner as MMagic's train tool builds it; visualizers and logs are told by the experiment's name."""
    generator_ema = config['model'].pop('generator_ema', None)
    config = {**config, 'work_dir': str(work_dir), 'experiment_name': uuid.uuid4().hex, **changes}
    runner = Runner.from_cfg(Config(copy.deepcopy(config)))
    if generator_ema:
        runner.model.generator_ema = copy.deepcopy(runner.model.generator)
    return runner


def trained(config: dict, work_dir: Path, **changes) -> Runner:
    runner = runner_of(config, work_dir, **changes)
    runner.train()
    return runner


CASES = {
    'NAFNet, worker processes': {'train_dataloader:num_workers': 2},
    'dropout and batch norm': {'model:generator': {'type': 'DropoutNet'}},
    'Gaussian noise': {'model:generator': {'type': 'DropoutNet'}, 'train_dataloader:dataset:pipeline': NOISY},
    'accumulation and clipping': {**ACCUMULATE, **CLIP},
    'several outputs': SCALES,
    "MMEngine's EMA": EMA,
    "MMagic's EMA": MMAGIC_EMA,
}


@pytest.mark.parametrize('name', CASES)
def test_weights_zero_is_the_stock_run_bit_for_bit(pairs, store, tmp_path, name):
    stock = trained(stock_config(pairs, **CASES[name]), tmp_path / 'stock')
    streams = torch.get_rng_state(), np.random.get_state()[1], random.getstate()
    sapd = trained(sapd_config(pairs, store, **CASES[name], **ZERO), tmp_path / 'sapd')
    assert_equal_states(stock.model.generator, sapd.model.generator)
    saved = [torch.load(tmp_path / kind / 'iter_4.pth') for kind in ('stock', 'sapd')]
    for key in ('state_dict', 'ema_state_dict'):
        assert_equal_states(saved[0].get(key), saved[1].get(key), key)
    assert torch.equal(torch.get_rng_state(), streams[0])
    assert np.array_equal(np.random.get_state()[1], streams[1])
    assert random.getstate() == streams[2]
    for name in ('val/PSNR', 'train/loss'):
        left, right = (r.message_hub.get_scalar(name).data[0] for r in (stock, sapd))
        assert np.array_equal(left, right)


@pytest.mark.parametrize('base', ['BaseEditModel', 'UsersOwnEditor'])
def test_losses_act_are_logged_and_train_both_networks(pairs, store, vgg_weights, tmp_path, base):
    zero = trained(sapd_config(pairs, store, **ZERO, **{'model:base_model_type': base}), tmp_path / 'zero')
    sapd = trained(sapd_config(pairs, store, vgg_weights, **{'model:base_model_type': base}), tmp_path / 'sapd')
    assert isinstance(sapd.model, MODELS.get(base))
    assert any(
        not torch.equal(a, b) for a, b in zip(zero.model.generator.parameters(), sapd.model.generator.parameters())
    )
    logged = sapd.message_hub.log_scalars
    for name in ('loss_spf', 'loss_spd', 'loss_sgr', 'psnr_restored', 'psnr_refined'):
        assert np.isfinite(logged[f'train/{name}'].current())
    assert logged['train/loss_sgr'].current() > 0
    assert ('train/loss_other' in logged) == (base == 'UsersOwnEditor')
    # L_recon2 trains SPF alone and does not depend on the weights of the others: fuse has left zero.
    assert sapd.model.spf.fuse[2].weight.abs().sum() > 0
    pictures = list(tmp_path.glob('sapd/*/vis_data/vis_image/sapd_degraded_restored_refined_gt_mask_4.png'))
    assert len(pictures) == 1


def prepared(config: dict) -> tuple[BaseEditModel, dict]:
    """A model in its first iteration, with weights that hide nothing, and a batch."""
    model = MODELS.build(config['model'])
    model.prepare_training(None, torch.device('cpu'))
    model.in_training.iteration = 1
    torch.manual_seed(0)
    np.random.seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.05)
    loader = Runner.build_dataloader(config['train_dataloader'], seed=0)
    return model, model.data_preprocessor(next(iter(loader)), True)


def test_gradients_are_those_of_the_explicit_sum(pairs, store, vgg_weights):
    model, data = prepared(sapd_config(pairs, store, vgg_weights))
    inputs, samples = data['inputs'], data['data_samples']
    model.zero_grad()
    y = model.generator(inputs)
    z = model.spf(y, samples.sam_mask)
    distiller = model.in_training.distiller
    total = (y - samples.gt_img).abs().mean() + (z - samples.gt_img).abs().mean()
    total = total + distiller.spd(y, z, samples.gt_img) + distiller.sgr(y, z.detach(), samples.sam_mask)
    total.backward()
    expected = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    loss, _ = model.parse_losses(model(inputs, samples, mode='loss'))
    loss.backward()
    assert any(name.startswith('spf.') for name in expected)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-4, atol=1e-7), name


RESUMED = {
    'NAFNet, worker processes, an optimizer of its own': {**CASES['NAFNet, worker processes'], **OWN_OPTIMIZER},
    'dropout': CASES['dropout and batch norm'],
    "MMEngine's EMA": EMA,
    "MMagic's EMA, an optimizer of its own": {**MMAGIC_EMA, **OWN_OPTIMIZER},
    # Noise and dropout draw from one stream.
    'noise in the main process': {**CASES['dropout and batch norm'], 'train_dataloader:dataset:pipeline': NOISY},
    'a seed that MMEngine drew': {**CASES['NAFNet, worker processes'], 'randomness': {}},
    # The second iteration is in the middle of a step.
    'accumulation and clipping': {'optim_wrapper:accumulative_counts': 4, **CLIP},
    'accumulation, an optimizer of its own': {'optim_wrapper:accumulative_counts': 4, **OWN_OPTIMIZER},
}


@pytest.mark.parametrize('name', RESUMED)
def test_resume_equals_an_uninterrupted_run(pairs, store, vgg_weights, tmp_path, name):
    config = sapd_config(pairs, store, vgg_weights, **RESUMED[name])
    whole = trained(copy.deepcopy(config), tmp_path / 'whole')
    # As after a kill between the second iteration and the third.
    resumed = trained(config, tmp_path / 'halves', load_from=str(tmp_path / 'whole/iter_2.pth'), resume=True)
    assert resumed.iter == 4
    assert_equal_states(whole.model, resumed.model)
    one, two = (torch.load(tmp_path / kind / 'iter_4.pth') for kind in ('whole', 'halves'))
    for state in (one, two):
        for measured in ('train/time', 'train/data_time'):
            state['sapd']['logs'].pop(measured)
    for key in ('sapd', 'optimizer', 'param_schedulers', 'ema_state_dict'):
        assert_equal_states(one.get(key), two.get(key), key)
    middle = torch.load(tmp_path / 'whole/iter_2.pth')
    held = [any(gradient is not None for gradient in state['sapd']['gradients']) for state in (middle, one)]
    assert held == ['accumulation' in name, False]  # they are as large as the networks


def test_test_mode_is_the_stock_model(pairs, store, tmp_path):
    """Output and FLOPs; testing needs no VGG-19."""
    absent = {'model:sgr_loss': {'type': 'SGRLoss', 'weights': '/absent/vgg.pth'}}
    outcomes = []
    for config in (stock_config(pairs), sapd_config(pairs, store, **absent)):
        model = runner_of(config, tmp_path).model.eval()
        torch.manual_seed(0)
        for parameter in model.generator.parameters():
            nn.init.normal_(parameter, std=0.05)
        image = torch.rand(1, 3, 40, 56, generator=torch.Generator().manual_seed(0))
        with torch.no_grad(), FlopCounterMode(display=False) as flops:
            outcomes.append((model(image, mode='tensor'), flops))
    assert torch.equal(outcomes[0][0], outcomes[1][0])
    assert outcomes[0][1].get_total_flops() == outcomes[1][1].get_total_flops() > 0


@pytest.mark.parametrize('target', [None, 'BGR', 'RGB'])
@pytest.mark.parametrize('loaded', ['bgr', 'rgb'])
def test_sgr_sees_rgb_whatever_the_preprocessor_does(pairs, store, vgg_weights, loaded, target):
    changes = {f'train_dataloader:dataset:pipeline:{i}:channel_order': loaded for i in (0, 1)}
    changes |= {'train_dataloader:batch_size': 1, 'train_dataloader:dataset:pipeline:6:gt_patch_size': 96}
    changes['model:data_preprocessor'] = {
        'type': 'DataPreprocessor',
        'mean': [10.0, 20.0, 30.0],
        'std': [100.0, 110.0, 120.0],
        'output_channel_order': target,
    }
    model, data = prepared(sapd_config(pairs, store, vgg_weights, **changes))
    seen = []
    model.in_training.distiller.sgr.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    model.generator.register_forward_hook(lambda module, args, output: data['data_samples'].gt_img + 0 * output)
    model(data['inputs'], data['data_samples'], mode='loss')
    order = (target or loaded).lower()
    gt = data['data_samples'].gt_img * torch.tensor([100.0, 110.0, 120.0]).view(3, 1, 1)
    gt = (gt + torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1)) / 255
    assert torch.allclose(seen[0], gt if order == 'rgb' else gt.flip(1), atol=1e-5)
    bgr = torch.from_numpy(cv2.imread(data['data_samples'].gt_path[0])).permute(2, 0, 1) / 255
    means = bgr.mean((1, 2)).flip(0)  # RGB
    assert torch.equal(seen[0].mean((0, 2, 3)).argsort(), means.argsort())


def test_clipping_is_apart(pairs, store, tmp_path):
    """The student's norm does not depend on SPF's, and both are clipped."""
    changes = {
        'optim_wrapper:optimizer': {'type': 'SGD', 'lr': 1.0},
        'optim_wrapper:clip_grad': {'max_norm': 1e-3},
        'model:spf_loss': {'type': 'L1Loss', 'loss_weight': 1e3},
        'train_cfg:max_iters': 1,
    }
    runner = runner_of(sapd_config(pairs, store, **changes, **ZERO), tmp_path)
    before = {n: p.detach().clone() for n, p in runner.model.named_parameters()}
    runner.train()
    for network in ('generator.', 'spf.'):
        moved = [p.detach() - before[n] for n, p in runner.model.named_parameters() if n.startswith(network)]
        norm = torch.cat([m.flatten() for m in moved]).norm().item()
        assert norm == pytest.approx(1e-3, rel=1e-2)


def test_optimizer_of_the_branch_by_config(pairs, store, tmp_path):
    multiples = {'optim_wrapper:paramwise_cfg': {'custom_keys': {'spf': {'lr_mult': 0.5, 'decay_mult': 0.0}}}}
    runner = trained(sapd_config(pairs, store, **multiples), tmp_path / 'a')
    groups = {g['params'][0]: g for g in runner.optim_wrapper.optimizer.param_groups}
    for name, parameter in runner.model.named_parameters():
        ours = name.startswith('spf.')
        assert groups[parameter]['initial_lr'] == (5e-4 if ours else 1e-3)
        assert groups[parameter]['weight_decay'] == (0 if ours else 1e-3)

    runner = trained(sapd_config(pairs, store, **OWN_OPTIMIZER, **ZERO), tmp_path / 'b')
    student, branch = runner.optim_wrapper.optimizer.optimizers
    assert isinstance(student, torch.optim.AdamW)
    assert isinstance(branch, torch.optim.SGD)
    assert {*branch.param_groups[0]['params']} == {*runner.model.spf.parameters()}
    assert branch.param_groups[0]['lr'] == pytest.approx(0.05)  # the schedule acts on both
    assert student.param_groups[0]['lr'] == pytest.approx(5e-4)
    stock = trained(stock_config(pairs), tmp_path / 'stock')
    assert_equal_states(stock.model.generator, runner.model.generator)


def test_mixed_precision_of_the_wrapper_reaches_both_networks(pairs, store, vgg_weights):
    """MMEngine's AmpOptimWrapper asks for a GPU; what it does is this context and a scaled loss."""
    model, data = prepared(sapd_config(pairs, store, vgg_weights))
    dtypes, grads = {}, []
    for name in ('generator', 'spf'):
        convolution = next(m for m in getattr(model, name).modules() if isinstance(m, nn.Conv2d))
        convolution.register_forward_hook(lambda module, args, output, name=name: dtypes.update({name: output.dtype}))
    for scale in (1.0, 1024.0):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            losses = model(data['inputs'], data['data_samples'], mode='loss')
        loss, _ = model.parse_losses(losses)
        model.zero_grad()
        (loss * scale).backward()
        grads.append([p.grad / scale for p in model.parameters()])
    assert dtypes == {'generator': torch.bfloat16, 'spf': torch.bfloat16}
    assert losses['loss_sgr'].dtype == losses['loss_spd'].dtype == torch.float32
    for one, scaled in zip(*grads):
        assert torch.allclose(one, scaled, rtol=1e-2, atol=1e-6)


def test_nan_is_named_before_it_is_saved(pairs, store, tmp_path):
    runner = runner_of(sapd_config(pairs, store), tmp_path)

    def break_down(generator, args):
        if runner.iter == 1:
            generator.ending.bias.data.fill_(float('inf'))

    runner.model.generator.register_forward_pre_hook(break_down)
    with pytest.raises(FloatingPointError, match='^loss is (nan|inf) at iteration 2'):
        runner.train()
    assert not list(tmp_path.glob('iter_*.pth'))


def test_schedule_counts_the_runners_iterations(pairs, store, tmp_path):
    ramp = {'model:spd_loss': {'type': 'SPDLoss', 'gate': 'none', 'start': 3, 'ramp': 2}}
    runner = trained(sapd_config(pairs, store, **ramp), tmp_path)
    values = runner.message_hub.get_scalar('train/loss_spd').data[0]
    assert values[0] == values[1] == 0
    assert all(value > 0 for value in values[2:])


def test_two_stage_starts_from_the_stock_student(pairs, store, tmp_path):
    stock = trained(stock_config(pairs), tmp_path / 'stock')
    changes = {'model:stage': 'two_stage', 'train_cfg:max_iters': 1, 'optim_wrapper:optimizer:lr': 0.0}
    config = sapd_config(pairs, store, **changes, **ZERO)
    message = r"model.stage: 'two_stage' starts from a trained student, and load_from is empty"
    with pytest.raises(SAPDError, match=message):
        trained(copy.deepcopy(config), tmp_path / 'a')
    runner = trained(config, tmp_path / 'b', load_from=str(tmp_path / 'stock/iter_4.pth'))
    assert_equal_states(runner.model.generator, stock.model.generator)
    assert_equal_states(runner.model.spf.network, stock.model.generator)
    with pytest.raises(SAPDError, match=r'resume: .*iter_4.pth comes from a stock run.*two_stage'):
        trained(sapd_config(pairs, store), tmp_path / 'c', load_from=str(tmp_path / 'stock/iter_4.pth'), resume=True)


def test_resume_with_other_masks(pairs, store, tmp_path):
    trained(sapd_config(pairs, store), tmp_path)
    other = make_store(tmp_path / 'other', pairs / 'clean', settings={'segmenter': 'another'})
    with pytest.raises(SAPDError, match=r'mask_store: its fingerprint is .*, the run to resume started with'):
        trained(sapd_config(pairs, other), tmp_path, resume=True)


def test_a_generator_of_several_images(pairs, store, tmp_path):
    runner = trained(sapd_config(pairs, store, **SCALES), tmp_path)
    assert runner.model.spf.output_index == -1
    assert runner.model.in_training.latest[1].restored.shape == (1, 3, 48, 48)
    # The config's choice goes before the class's own.
    for index, message in (
        (0, 'an image of 32x32 where the ground truth has 64x64'),
        (2, 'but generator returns 2 im'),
    ):
        wrong = {'model:output_index': index, 'model:network_spf:output_index': -1, 'model:every': 100}
        with pytest.raises(SAPDError, match=f'output_index: found {index}, {message}'):
            trained(sapd_config(pairs, store, **SCALES, **wrong), tmp_path / str(index))


def test_the_branch_can_be_another_network(pairs, store, tmp_path):
    other = {
        'model:network_spf:encoding': 'region_mean',
        'model:network_spf:network': {'type': 'DropoutNet', 'width': 4},
        'model:spf_loss': {'type': 'MSELoss'},
    }
    model = trained(sapd_config(pairs, store, **other), tmp_path).model
    assert isinstance(model.spf.network, DropoutNet)
    assert model.spf.fuse.encoding == 'region_mean'
    assert type(model.in_training.distiller.reconstruction).__name__ == 'MSELoss'


def test_the_second_network_is_any_block_that_the_registry_builds():
    block = {'type': 'DropoutNet', 'width': 4, '_scope_': 'mmagic'}
    branch = MODELS.build({'type': 'SPF', 'fusion': 'none', 'network': [block, block]})
    assert isinstance(branch.network, torch.nn.Sequential)
    assert [type(network) for network in branch.network] == [DropoutNet, DropoutNet]


MISTAKES = {
    'unknown base': (
        {'base_model_type': 'BaseEditModl'},
        r"base_model_type: found 'BaseEditModl'.*Did you mean 'BaseE",
    ),
    'base, list': (
        {'base_model_type': ['BaseEditModel']},
        r"base_model_type: found \['BaseEditModel'\], expected one of",
    ),
    'base, number': ({'base_model_type': 3}, r'base_model_type: found 3, expected one of .*BaseEditModel'),
    'base, empty': ({'base_model_type': ''}, r"base_model_type: found '', expected one of .*BaseEditModel"),
    'base itself': ({'base_model_type': 'SAPDModel'}, r"base_model_type: found 'SAPDModel', expected one of"),
    'GAN': ({'base_model_type': 'ESRGAN'}, r'ESRGAN cannot be used, because it has its own training step'),
    'video': ({'base_model_type': 'BasicVSR'}, r'BasicVSR cannot be used, because it trains on clips'),
    'interpolation': ({'base_model_type': 'CAIN'}, r'CAIN cannot be used, because it trains on clips'),
    'LIIF': ({'base_model_type': 'LIIF'}, r'LIIF cannot be used, because its network returns sampled coordinates'),
    'inpainting': (
        {'base_model_type': 'OneStageInpaintor'},
        r'OneStageInpaintor cannot be used, because it is not a subclass of BaseEditModel',
    ),
    'key': ({'network_sfp': {'type': 'SPF'}}, r"model: unknown key 'network_sfp'.*Did you mean 'network_spf'"),
    'SPF type': ({'network_spf:type': 'SPFF'}, r"model.network_spf.type: found 'SPFF'.*Did you mean 'SPF'"),
    'SPF key': ({'network_spf:encodng': 'planes'}, r"network_spf: unknown key 'encodng'.*Did you mean 'encoding'"),
    'no losses': ({'spd_loss': DELETE}, r'neither spd_loss nor sgr_loss'),
    'other loss': ({'spd_loss': {'type': 'L1Loss'}}, r"model.spd_loss.type: found 'L1Loss', expected SPDLoss"),
    'loss key': ({'spd_loss:wieght': 1}, r"model.spd_loss: unknown key 'wieght'.*Did you mean 'loss_weight'"),
    'not a block': ({'sgr_loss': 0.1}, r'model.sgr_loss: found 0.1, expected a block'),
    'no generator': ({'generator': DELETE}, r'model.generator: missing'),
    'second network': (
        {'network_spf:network': {'type': 'MSRResNet', 'in_channels': 3, 'out_channels': 3, 'upscale_factor': 2}},
        r'network_spf.network: turns .* into \(2, 3, 128, 128\)',
    ),
    'second network, text': (
        {'network_spf:network': 'DnCNN'},
        r"network_spf.network: found 'DnCNN', expected a block with 'type'",
    ),
    'second network, list': (
        {'network_spf:network': ['DnCNN']},
        r"network_spf.network\[0\]: found 'DnCNN', expected a block with 'type'",
    ),
    'second network, type': (
        {'network_spf:network': {'type': 'DnCN'}},
        r"network_spf.network.type: found 'DnCN'.*Did you mean 'DnCNN'",
    ),
    'second network, key': (
        {'network_spf:network': {'type': 'DnCNN', 'in_n': 3}},
        r"network_spf.network: unknown key 'in_n'.*Did you mean 'in_nc'",
    ),
    'second network, wrong type': ({'network_spf:network': 3}, r'network_spf.network: found 3, expected a block'),
    'channels': (
        {'network_spf:network': {'type': 'NAFNet', 'img_channels': 1, 'mid_channels': 4}},
        r'network_spf.network: does not take a restored image of \(2, 3, 64, 64\)',
    ),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes_in_the_model(pairs, store, tmp_path, mistake):
    changes, message = MISTAKES[mistake]
    config = sapd_config(pairs, store, **{f'model:{key}': value for key, value in changes.items()})
    with pytest.raises(SAPDError, match=message):
        MODELS.build(config['model'])


@DATASETS.register_module()
class UsersOwnDataset(BasicImageDataset):
    """A data set class that only a user has: what its batches hold is not known."""


WITHOUT_STORE = {
    'train_dataloader:dataset:type': 'BasicImageDataset',
    'train_dataloader:dataset:mask_store': DELETE,
}


def test_mistakes_in_the_run(pairs, store, tmp_path):
    config = sapd_config(pairs, store, **{'default_hooks:sapd': DELETE})
    with pytest.raises(SAPDError, match=r'default_hooks: SAPDHook is missing, add default_hooks=dict\(sapd='):
        trained(config, tmp_path)
    config = stock_config(pairs, **{'default_hooks:sapd': {'type': 'SAPDHook'}})
    with pytest.raises(SAPDError, match=r"model.type: SAPDHook found BaseEditModel, expected 'SAPDModel'"):
        trained(config, tmp_path)
    config = sapd_config(pairs, store, **{'default_hooks:sapd:picture_interval': 2.5})
    with pytest.raises(SAPDError, match=r'SAPDHook.picture_interval: found 2.5, expected an integer >= 0'):
        trained(config, tmp_path)
    loaded_gray = {'train_dataloader:dataset:pipeline:1:color_type': 'grayscale_ignore_orientation'}
    with pytest.raises(SAPDError, match='pipeline: gives images of 1 channels, but model.generator takes 3: LoadImage'):
        trained(sapd_config(pairs, store, **loaded_gray), tmp_path)
    config = sapd_config(pairs, store, **WITHOUT_STORE, **{'model:every': 100})
    with pytest.raises(SAPDError, match=r"'BasicImageDataset' loads no masks, expected 'PairedImageMaskDataset'"):
        trained(config, tmp_path)
    config = sapd_config(pairs, store, **{**WITHOUT_STORE, 'train_dataloader:dataset:type': 'UsersOwnDataset'})
    with pytest.raises(SAPDError, match=r"gives batches without 'sam_mask', expected 'PairedImageMaskDataset'"):
        trained(config, tmp_path)
    config = sapd_config(pairs, store, **{'model:sgr_loss': {'type': 'SGRLoss', 'weights': '/absent/vgg.pth'}})
    with pytest.raises(SAPDError, match=r'weights: no file /absent/vgg.pth'):
        trained(config, tmp_path)
    config = sapd_config(pairs, store, **{'optim_wrapper:constructor': 'SAPDOptimWrapperConstructor'})
    with pytest.raises(SAPDError, match=r'optim_wrapper.spf_optimizer: missing'):
        trained(config, tmp_path)
    with pytest.raises(SAPDError, match=r'optim_wrapper.constructor: BaseEditModel has no SPF'):
        trained(stock_config(pairs, **OWN_OPTIMIZER), tmp_path)


def test_masks_cut_in_the_loop(pairs, store, tmp_path):
    """Without a store; beside a store SAM's masks leave pixels out, and felzenszwalb's do not."""
    changes = {'model:online': {'segmenter': 'felzenszwalb', 'min_size': 20}, 'train_cfg:max_iters': 1}
    for beside in (WITHOUT_STORE, {}):
        runner = trained(sapd_config(pairs, store, **changes, **beside), tmp_path)
        assert runner.model.in_training.latest[1].mask.min() >= 1

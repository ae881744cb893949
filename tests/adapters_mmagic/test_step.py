"""The switches of a SAPD step in MMagic: shares, how often, in parts, which teacher."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmagic.registry import MODELS
from mmengine.config import Config
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch import nn

from sapd_plugin.core import shares
from sapd_plugin.errors import SAPDError
from tests.adapters_mmagic.recipes import sapd_config, stock_config
from tests.adapters_mmagic.test_model import ACCUMULATE, ZERO, prepared, runner_of, trained
from tests.networks import assert_equal_states
from tests.photos import ROOT

pytestmark = pytest.mark.usefixtures('without_ceremony')

STAND_STILL = {'optim_wrapper:optimizer': {'type': 'SGD', 'lr': 0.0}}
AMP = {
    'float32': {},
    'float16, scale 1': ('float16', 1.0),
    'float16, scale 65536': ('float16', 65536.0),
    'bfloat16, scale 65536': ('bfloat16', 65536.0),
}


@MODELS.register_module()
class HalfNet(nn.Module):
    """A network that returns half precision inside autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.body(image)


def image_gradients(config: dict[str, Any], folder: Path) -> tuple[list[torch.Tensor], Runner]:
    """The gradient that arrives at the restored image in each iteration; the weights stay what they are."""
    runner, images = runner_of(config, folder), []

    def keep(module: nn.Module, args: Any, image: torch.Tensor) -> None:
        if module.training:
            image.retain_grad()
            images.append(image)

    runner.model.generator.register_forward_hook(keep)
    runner.train()
    return [image.grad.double() for image in images], runner


@pytest.mark.usefixtures('amp_without_gpu')
@pytest.mark.parametrize('precision', AMP)
@pytest.mark.parametrize('base', ['L1Loss', 'PSNRLoss'])
def test_the_configured_share_arrives(pairs, store, vgg_weights, tmp_path, base, precision):
    """Whatever the base loss, the loss scale and the number of micro-batches."""
    changes = {
        **STAND_STILL,
        'model:generator': {'type': 'HalfNet'},
        'model:pixel_loss': {'type': base},
        'optim_wrapper:accumulative_counts': 4,
    }
    scale = 1.0
    if AMP[precision]:
        dtype, scale = AMP[precision]
        changes |= {'optim_wrapper:type': 'AmpOptimWrapper', 'optim_wrapper:dtype': dtype}
        changes |= {'optim_wrapper:loss_scale': {'init_scale': scale}}
    own, _ = image_gradients(sapd_config(pairs, store, **changes, **ZERO), tmp_path / 'own')
    weight = 1.0 if base == 'L1Loss' else 100.0  # of the size of the base's, or bfloat16 could not hold the sum
    total, _ = image_gradients(
        sapd_config(pairs, store, **changes, **{'model:spd_loss:loss_weight': weight}), tmp_path / 'none'
    )
    for alone, together in zip(own, total):
        # SPD's gradient is weight / n at each of n values, and each micro-batch counts a quarter.
        assert (together - alone).norm().item() == pytest.approx(weight * alone.numel() ** -0.5 * scale / 4, rel=0.01)

    balanced = {
        'model:spd_loss': {'type': 'SPDLoss', 'loss_weight': 0.2, 'gate': 'none', 'balance': 'gradient'},
        'model:sgr_loss': {'type': 'SGRLoss', 'loss_weight': 0.0, 'weights': str(vgg_weights), 'every': 1},
    }
    total, runner = image_gradients(sapd_config(pairs, store, **changes, **balanced), tmp_path / 'spd')
    for alone, together in zip(own, total):
        assert ((together - alone).norm() / alone.norm()).item() == pytest.approx(0.2, rel=0.1)
    assert runner.message_hub.get_scalar('train/share_spd').data[0] == pytest.approx([0.2] * 4, rel=0.01)

    balanced['model:spd_loss']['loss_weight'] = 0
    balanced['model:sgr_loss'].update(loss_weight=0.3, balance='gradient')
    total, runner = image_gradients(sapd_config(pairs, store, **changes, **balanced), tmp_path / 'sgr')
    for alone, together in zip(own, total):
        assert ((together - alone).norm() / alone.norm()).item() == pytest.approx(0.3, rel=0.1)
    assert runner.message_hub.get_scalar('train/share_sgr').data[0] == pytest.approx([0.3] * 4, rel=0.01)


def spf_calls(runner: Runner) -> list[int]:
    """The iterations, counted from 1, in which SPF runs; filled while the runner trains."""
    calls: list[int] = []
    runner.model.spf.register_forward_hook(lambda *_: calls.append(runner.iter + 1))
    return calls


@pytest.mark.parametrize(('changes', 'due'), [({}, [2, 4]), (ACCUMULATE, [3, 4])], ids=['steps', 'accumulation'])
def test_every_second_step(pairs, store, tmp_path, changes, due):
    """The steps between are the stock model's, and leave SPF as it is."""
    stock = trained(stock_config(pairs, **changes, **{'train_cfg:max_iters': due[0] - 1}), tmp_path / 'stock')
    every = {'model:every': 2, 'optim_wrapper:optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 0.1}}
    begun = sapd_config(pairs, store, **changes, **every, **{'train_cfg:max_iters': due[0] - 1})
    begun['optim_wrapper']['optimizer'] = stock_config(pairs)['optim_wrapper']['optimizer']
    runner = runner_of(begun, tmp_path / 'begun')
    before = {name: value.clone() for name, value in runner.model.spf.state_dict().items()}
    runner.train()
    assert_equal_states(stock.model.generator, runner.model.generator)
    assert_equal_states(before, runner.model.spf)

    runner = runner_of(sapd_config(pairs, store, **changes, **every), tmp_path / 'whole')
    calls = spf_calls(runner)
    runner.train()
    assert calls == due
    losses = runner.message_hub.get_scalar('train/loss_spd').data[0]
    assert len(losses) == 2
    assert all(losses > 0)


def gradients(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The gradients of the first step of a model, with weights that hide nothing."""
    model, data = prepared(config)
    loss, log = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return {name: parameter.grad for name, parameter in model.named_parameters()} | dict(log)


@pytest.mark.parametrize('balance', ['none', 'gradient'])
@pytest.mark.parametrize('chunks', [2, 3, 5])
def test_parts_give_the_same_gradients(pairs, store, vgg_weights, balance, chunks):
    """A batch of 3 in 2 uneven parts, in 3, and in more parts than it has samples."""
    loss = {'loss_weight': 0.5, 'balance': balance}
    changes = {
        'train_dataloader:batch_size': 3,
        'model:spd_loss': {'type': 'SPDLoss', **loss},
        'model:sgr_loss': {'type': 'SGRLoss', 'weights': str(vgg_weights), 'every': 1, **loss},
    }
    whole, parts = (gradients(sapd_config(pairs, store, **changes, **{'model:chunks': n})) for n in (1, chunks))
    assert whole.keys() == parts.keys()
    for name, value in whole.items():
        assert torch.allclose(parts[name], value, rtol=1e-3, atol=1e-6), name


def test_parts_keep_fewer_activations(pairs, store):
    """Of SPF, none until the backward pass."""

    def kept(chunks: int) -> int:
        config = sapd_config(pairs, store, **{'model:chunks': chunks, 'train_dataloader:batch_size': 4})
        model = MODELS.build(config['model'])
        model.prepare_training(None, torch.device('cpu'))
        model.in_training.iteration = 1
        loader = Runner.build_dataloader(config['train_dataloader'], seed=0)
        data = model.data_preprocessor(next(iter(loader)), True)
        sizes: dict[int, int] = {}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            losses = model(**data, mode='loss')
        assert losses['loss_spf'].requires_grad
        return sum(sizes.values())

    assert kept(4) < 0.7 * kept(1)


def test_parts_of_a_compiled_step_are_refused(pairs, store, tmp_path):
    config = sapd_config(pairs, store, **{'model:chunks': 2, 'compile': {'backend': 'eager'}})
    with pytest.raises(SAPDError, match="model.chunks: found 2, expected 1 beside MMEngine's compile"):
        trained(config, tmp_path)


def test_a_moving_average_teaches(pairs, store, tmp_path):
    ema = {'model:teacher': 'ema', 'model:teacher_decay': 0.5}
    whole = trained(sapd_config(pairs, store, **ema), tmp_path / 'whole')
    average = whole.model.in_training.distiller.teacher.average
    assert not any(name.startswith('in_training') for name in whole.model.state_dict())
    assert any(not torch.equal(a, b) for a, b in zip(average.parameters(), whole.model.spf.parameters()))
    saved = torch.load(tmp_path / 'whole/iter_4.pth', weights_only=False)
    assert_equal_states(saved['sapd']['teacher'], average)
    assert all(name.startswith('generator.') for name in saved['state_dict'])

    halves = trained(
        sapd_config(pairs, store, **ema), tmp_path / 'halves', load_from=str(tmp_path / 'whole/iter_2.pth'), resume=True
    )
    assert_equal_states(average, halves.model.in_training.distiller.teacher.average)
    assert_equal_states(whole.model, halves.model)


def test_a_moving_average_moves_with_the_optimizers_steps(pairs, store, tmp_path):
    """Not with each micro-batch."""
    runner = runner_of(sapd_config(pairs, store, **ACCUMULATE, **{'model:teacher': 'ema'}), tmp_path)
    moved = []
    prepare = runner.model.prepare_training

    def prepare_and_count(*args: Any) -> None:
        prepare(*args)
        teacher = runner.model.in_training.distiller.teacher
        teacher.update = lambda spf: moved.append(runner.iter + 1)

    runner.model.prepare_training = prepare_and_count
    runner.train()
    assert moved == [2, 4]


def test_a_frozen_teacher(pairs, store, tmp_path):
    """SPF trains for two iterations, and then teaches; or was trained before."""
    frozen = {'model:teacher': 'frozen', 'model:freeze_after': 2}
    runner = trained(sapd_config(pairs, store, **frozen), tmp_path / 'a')
    losses = runner.message_hub.get_scalar('train/loss_spd').data[0]
    assert [*(losses > 0)] == [False, False, True, True]
    two, four = (torch.load(tmp_path / f'a/iter_{k}.pth', weights_only=False)['sapd']['spf'] for k in (2, 4))
    assert_equal_states(two, four)
    assert any(value.abs().sum() > 0 for name, value in two.items() if name.startswith('fuse.2'))

    resumed = trained(
        sapd_config(pairs, store, **frozen), tmp_path / 'b', load_from=str(tmp_path / 'a/iter_2.pth'), resume=True
    )
    assert_equal_states(runner.model, resumed.model)

    loaded = sapd_config(pairs, store, **{'model:teacher': 'frozen', 'train_cfg:max_iters': 2})
    trained(loaded, tmp_path / 'c', load_from=str(tmp_path / 'a/iter_4.pth'))
    loaded['train_cfg']['max_iters'] = 4
    runner = trained(loaded, tmp_path / 'c', resume=True)  # from the latest checkpoint
    assert runner.iter == 4
    assert all(runner.message_hub.get_scalar('train/loss_spd').data[0] > 0)
    assert_equal_states(four, runner.model.spf)


def test_a_teacher_that_freezes_inside_of_a_step_is_refused(pairs, store, tmp_path):
    """The wrapper knows how many iterations make a step."""
    frozen = {'model:teacher': 'frozen', 'model:freeze_after': 5, 'optim_wrapper:accumulative_counts': 4}
    with pytest.raises(SAPDError, match=r'model.freeze_after: found 5, expected an integer >= 4 and a multiple of'):
        trained(sapd_config(pairs, store, **frozen), tmp_path)
    with pytest.raises(SAPDError, match=r'model.freeze_after: found 5, expected an integer >= 6'):
        trained(sapd_config(pairs, store, **{**frozen, 'model:every': 6}), tmp_path)


def test_a_frozen_teacher_has_to_be_trained(pairs, store, tmp_path):
    config = sapd_config(pairs, store, **{'model:teacher': 'frozen'})
    with pytest.raises(SAPDError, match=r'model.freeze_after: is 0, .* and load_from is empty'):
        trained(config, tmp_path / 'a')
    trained(stock_config(pairs), tmp_path / 'stock')
    with pytest.raises(SAPDError, match=r'model.freeze_after: is 0, .* and load_from comes from a stock run'):
        trained(config, tmp_path / 'b', load_from=str(tmp_path / 'stock/iter_4.pth'))


def test_the_base_s_losses_see_the_mixed_target(pairs, store, tmp_path):
    """And the log, the picture and the next iterations the ground truth."""
    seen = []

    class Watched(nn.L1Loss):
        def forward(self, image: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
            seen.append(target)
            return super().forward(image, target)

    MODELS.register_module(name='Watched', module=Watched, force=True)
    mix = {'type': 'SPDLoss', 'target': 'mix', 'mix': 0.6, 'gate': 'none', 'start': 2}
    changes = {'model:pixel_loss': {'type': 'Watched'}, 'model:spf_loss': {'type': 'L1Loss'}, 'model:spd_loss': mix}
    runner = runner_of(sapd_config(pairs, store, **changes), tmp_path)
    records = []
    runner.model.spf.register_forward_hook(lambda module, args, refined: records.append(refined.detach()))
    truths = []
    preprocess = runner.model.data_preprocessor.register_forward_hook(
        lambda module, args, data: truths.append(data['data_samples'].gt_img.clone()) if module.training else None
    )
    runner.train()
    preprocess.remove()
    assert torch.equal(seen[0], truths[0])
    for target, refined, gt in zip(seen[1:], records[1:], truths[1:]):
        assert torch.allclose(target, 0.6 * refined + 0.4 * gt, atol=1e-6)
    assert torch.equal(runner.model.in_training.latest[1].gt, truths[-1][:1])
    assert not any(runner.message_hub.get_scalar('train/loss_spd').data[0])


@pytest.mark.parametrize('balance', ['none', 'gradient'])
def test_hints_reach_the_student_s_first_layers(pairs, store, balance):
    """The layers behind the one that is compared get no gradient of hints."""
    hint = {'type': 'SPDLoss', 'gate': 'none', 'loss_weight': 0.5, 'feature_weight': 0.5, 'balance': balance}
    layer = {'feature_layer': 'encoders.0.0'}
    with_hints = gradients(sapd_config(pairs, store, **{'model:spd_loss': {**hint, **layer}}))
    without = gradients(sapd_config(pairs, store, **{'model:spd_loss': {**hint, 'feature_weight': 0.0}}))
    assert with_hints['loss_hint'] > 0
    moved = {n for n, g in without.items() if n.startswith('generator.') and not torch.equal(g, with_hints[n])}
    assert 'generator.intro.weight' in moved
    assert 'generator.ending.weight' not in moved
    if balance == 'gradient':
        assert with_hints['share_hint'].item() == pytest.approx(0.5, rel=1e-3)


def test_a_share_that_is_too_small_is_warned_of(pairs, store, tmp_path, monkeypatch):
    monkeypatch.setattr(shares, 'WINDOW', 2)
    warnings: list[str] = []
    runner = runner_of(sapd_config(pairs, store, **{'model:spd_loss:loss_weight': 1e-6}), tmp_path)
    monkeypatch.setattr(runner.logger, 'warning', warnings.append)
    runner.train()
    assert [text for text in warnings if text.startswith('share_spd: ')] == [
        text for text in warnings if 'steps up to iteration 2, too little' in text
    ]
    assert any(text.startswith('share_spd: ') for text in warnings)


def test_context_of_the_photo_reaches_spf(pairs, grey_store, tmp_path):
    spf = {'model:network_spf': {'type': 'SPF', 'context': 'image', 'inputs': ['restored', 'degraded']}}
    config = sapd_config(pairs, grey_store, **spf, **{'train_cfg:max_iters': 1, 'model:every': 2})
    with pytest.raises(SAPDError, match=r'train_dataloader.dataset.mask_context: missing, expected True'):
        trained(config, tmp_path / 'a')  # not at the second step, which never comes
    config['model']['every'] = 1
    config['train_dataloader']['dataset']['mask_context'] = True
    runner, given = runner_of(config, tmp_path / 'b'), []
    runner.model.spf.register_forward_pre_hook(lambda module, args, options: given.append(options), with_kwargs=True)
    runner.train()
    assert given[-1]['context'].shape == (2, 65, 7)
    assert given[-1]['degraded'].shape == (2, 3, 48, 48)


MISTAKES = {
    'every': ({'every': 0}, r'model.every: found 0, expected an integer >= 1'),
    'chunks': ({'chunks': 1.5}, r'model.chunks: found 1.5, expected an integer >= 1'),
    'teacher': ({'teacher': 'onlin'}, r"model.teacher: found 'onlin', .*Did you mean 'online'"),
    'decay': ({'teacher': 'ema', 'teacher_decay': 2}, r'model.teacher_decay: found 2, expected'),
    'decay of another': ({'teacher_decay': 0.9}, r"model.teacher_decay: only teacher 'ema' reads it"),
    'spelling': ({'evry': 2}, r"model: unknown key 'evry'.*Did you mean 'every'"),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes(pairs, store, mistake):
    changes, message = MISTAKES[mistake]
    config = sapd_config(pairs, store, **{f'model:{key}': value for key, value in changes.items()})
    with pytest.raises(SAPDError, match=message):
        MODELS.build(config['model'])


def work(folder: Path, rank: int) -> None:
    """One of two processes that train together; SPF is idle in some of the steps."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2')
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    Runner.wrap_model = lambda self, config, model: MMDistributedDataParallel(model)  # its own asks for a GPU
    runner = Runner.from_cfg(Config(json.loads((folder / 'config.json').read_text())))
    states = []
    runner.model.module.spf.register_forward_pre_hook(
        lambda module, args: states.append((runner.iter + 1, [p.detach().clone() for p in module.parameters()]))
    )
    runner.train()
    torch.save((runner.model.module.state_dict(), states), folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


IDLE = {
    'every': {'model:every': 2},
    'frozen': {'model:teacher': 'frozen', 'model:freeze_after': 2},
}


@pytest.mark.slow
@pytest.mark.parametrize('case', IDLE)
def test_spf_is_idle_in_two_processes(pairs, store, tmp_path, case):
    """Steps without a gradient of SPF neither stop distributed training nor move SPF, not even by weight decay."""
    config = sapd_config(pairs, store, **IDLE[case])
    config.update(launcher='pytorch', work_dir=str(tmp_path / 'work'), default_scope='mmagic')
    (tmp_path / 'config.json').write_text(json.dumps(config))
    command = [sys.executable, '-m', 'tests.adapters_mmagic.test_step', str(tmp_path)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    workers = [subprocess.Popen([*command, rank], cwd=ROOT, env=environment) for rank in ('0', '1')]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    (one, states), (two, _) = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    assert_equal_states(one, two)
    parameters = [one[name] for name in one if name.startswith('spf.')]
    at_two = [*torch.load(tmp_path / 'work/iter_2.pth', weights_only=False)['sapd']['spf'].values()]
    assert [iteration for iteration, _ in states] == ([2, 4] if case == 'every' else [1, 2, 3, 4])
    assert any(not torch.equal(a, b) for a, b in zip(states[0][1], at_two))
    assert all(torch.equal(a, b) for a, b in zip(at_two, states[-1][1]))
    assert all(torch.equal(a, b) for a, b in zip(states[-1][1], parameters)) == (case == 'frozen')


if __name__ == '__main__':
    work(Path(sys.argv[1]), int(sys.argv[2]))

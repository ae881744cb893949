"""SAPDModel under MMEngine's AmpOptimWrapper: half precision, a loss scaler, overflows."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

from sapd_plugin.core import finite
from sapd_plugin.mmagic.log import StepLog
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.segmenters.fast import adaptive
from tests.adapters_mmagic.recipes import sapd_config, stock_config
from tests.adapters_mmagic.test_model import OWN_OPTIMIZER, ZERO, runner_of, trained
from tests.networks import assert_equal_states
from tests.photos import ROOT

pytestmark = pytest.mark.usefixtures('without_ceremony', 'amp_without_gpu')


def amp(dtype: str, scale: float) -> dict[str, Any]:
    return {
        'optim_wrapper:type': 'AmpOptimWrapper',
        'optim_wrapper:dtype': dtype,
        'optim_wrapper:loss_scale': {'init_scale': scale},
    }


@pytest.mark.parametrize(('dtype', 'scale'), [('float16', 1.0), ('float16', 65536.0), ('bfloat16', 65536.0)])
def test_it_trains(pairs, store, vgg_weights, tmp_path, dtype, scale):
    """And resumes the loss scaler's state with the optimizer's."""
    runner = trained(sapd_config(pairs, store, vgg_weights, **amp(dtype, scale)), tmp_path)
    for name in ('loss', 'loss_spf', 'loss_spd', 'loss_sgr', 'psnr_refined'):
        assert np.isfinite(runner.message_hub.get_scalar(f'train/{name}').data[0]).all()
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())
    assert runner.optim_wrapper.loss_scaler.get_scale() == scale


def test_an_overflow_that_the_scaler_expects_does_not_end_the_run(pairs, store, tmp_path):
    runner = runner_of(sapd_config(pairs, store, **amp('float16', 1024.0)), tmp_path)
    overflow_at(runner, 'generator', {2})
    runner.train()
    losses = runner.message_hub.get_scalar('train/loss').data[0]
    assert [*np.isfinite(losses)] == [True, False, True, True]
    assert runner.optim_wrapper.loss_scaler.get_scale() == 512
    assert all(parameter.isfinite().all() for parameter in runner.model.parameters())


def test_many_in_a_row_do(pairs, store, tmp_path, monkeypatch):
    monkeypatch.setattr(finite, 'PATIENCE', 2)
    runner = runner_of(sapd_config(pairs, store, **amp('float16', 1024.0)), tmp_path)
    overflow_at(runner, 'generator', {1, 3, 4})
    message = '^loss is (nan|inf) at iteration 4, the 2th such step in a row.$'
    with pytest.raises(FloatingPointError, match=message):
        runner.train()


@pytest.mark.parametrize('optimizer', [{}, OWN_OPTIMIZER], ids=['one optimizer', 'its own'])
def test_an_overflow_in_spf_alone_leaves_the_student_and_the_scale_alone(pairs, store, tmp_path, optimizer):
    precision = amp('float16', 1024.0)
    stock = trained(stock_config(pairs, **precision), tmp_path / 'stock')
    large = {'model:spf_loss': {'type': 'L1Loss', 'loss_weight': 1e36}}
    runner = trained(sapd_config(pairs, store, **precision, **optimizer, **large, **ZERO), tmp_path / 'sapd')
    assert_equal_states(stock.model.generator, runner.model.generator)
    states = (each.optim_wrapper.loss_scaler.state_dict() for each in (stock, runner))
    assert_equal_states(*states)
    assert runner.optim_wrapper.loss_scaler.get_scale() == 1024
    assert all(parameter.isfinite().all() for parameter in runner.model.spf.parameters())


@pytest.mark.parametrize('balance', ['none', 'gradient'])
def test_an_infinite_teacher_teaches_nothing(pairs, store, vgg_weights, tmp_path, balance):
    precision = amp('float16', 1024.0)
    stock = trained(stock_config(pairs, **precision), tmp_path / 'stock')
    changes = {'model:spd_loss:balance': balance, 'model:sgr_loss:balance': balance}
    runner = runner_of(sapd_config(pairs, store, vgg_weights, **precision, **changes), tmp_path / 'sapd')
    overflow_at(runner, 'spf', {1, 2, 3, 4})
    runner.train()
    assert_equal_states(stock.model.generator, runner.model.generator)
    assert runner.optim_wrapper.loss_scaler.get_scale() == 1024
    assert all(parameter.isfinite().all() for parameter in runner.model.spf.parameters())
    assert not any(runner.message_hub.get_scalar('train/share_spd').data[0])


def test_sam_cuts_masks_in_the_loop(pairs, store, tmp_path, monkeypatch, checkpoint):
    """With its own precision, inside the wrapper's."""
    monkeypatch.setattr(adaptive, 'LEVELS', (2,))
    online = {'model:online': {'segmenter': 'mobile_sam', 'checkpoint': str(checkpoint), 'every': 2}}
    changes = {'train_cfg:max_iters': 2, 'train_dataloader:batch_size': 1}
    runner = trained(sapd_config(pairs, store, **online, **changes, **amp('bfloat16', 1.0)), tmp_path)
    record = runner.model.in_training.latest[1]
    patch = (record.to_rgb(record.restored)[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    expected = build_segmenter('mobile_sam', checkpoint=checkpoint)(patch).labels
    assert len(np.unique(expected)) > 1
    assert np.array_equal(record.mask[0, 0].numpy(), expected)


def overflow_at(runner: Runner, network: str, iterations: set[int]) -> None:
    """Let a network return infinity in some iterations, counted from 1."""

    def overflow(module: torch.nn.Module, args: Any, output: torch.Tensor) -> torch.Tensor:
        return output * torch.inf if module.training and runner.iter + 1 in iterations else output

    getattr(runner.model, network).register_forward_hook(overflow)


def work(folder: Path, rank: int) -> None:
    """One of two processes; the loss of the second is infinite."""
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    one, two = torch.tensor(1.0), torch.tensor([2.0, torch.inf][rank])
    logs = [
        StepLog({'loss': one, 'psnr': one}, ['loss'], {'share_spd': one}),
        StepLog({'loss': one, 'loss_spd': two}, ['loss', 'loss_spd'], {}),
    ]
    torch.save([(dict(log), log.losses) for log in logs], folder / f'{rank}.pth')
    torch.distributed.destroy_process_group()


def test_all_processes_hear_of_an_infinite_loss(tmp_path):
    command = [sys.executable, '-m', 'tests.adapters_mmagic.test_amp', str(tmp_path)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    workers = [subprocess.Popen([*command, rank], cwd=ROOT, env=environment) for rank in ('0', '1')]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    one = torch.tensor(1.0)
    for rank, own in enumerate((2.0, torch.inf)):
        (fine, finite), (broken, infinite) = torch.load(tmp_path / f'{rank}.pth')
        assert (fine, finite) == ({'loss': one, 'psnr': one, 'share_spd': one}, {'loss': 1.0})
        assert (broken, infinite['loss']) == ({'loss': one, 'loss_spd': torch.tensor(own)}, 1.0)
        assert not np.isfinite(infinite['loss_spd'])


if __name__ == '__main__':
    work(Path(sys.argv[1]), int(sys.argv[2]))

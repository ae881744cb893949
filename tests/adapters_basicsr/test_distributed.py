"""SAPDModel in two processes that exchange gradients, as torchrun starts them, on a CPU."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils import set_random_seed
from basicsr.utils.registry import MODEL_REGISTRY
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from sapd_plugin.basicsr import train
from tests.adapters_basicsr.recipes import parsed, run_here, sapd_options
from tests.networks import assert_equal_states

SGD = {'type': 'SGD', 'lr': 1.0}


@MODEL_REGISTRY.register()
class CpuModel(SRModel):
    """BasicSR asks for a CUDA device to wrap a network for distributed training."""

    def model_to_device(self, net: nn.Module) -> nn.Module:
        return DistributedDataParallel(net) if self.opt['dist'] else net


def built(opt: dict[str, Any], root: Path, rank: int | None) -> tuple[Any, Any]:
    """Build the model and its training set, as one of two processes or, without a rank, alone."""
    opt = parsed(opt, root)
    opt.update(dist=rank is not None, rank=rank or 0, world_size=1 if rank is None else 2)
    set_random_seed(opt['manual_seed'])
    return build_model(opt), build_dataset(opt['datasets']['train'])


def step(model: Any, dataset: Any, iteration: int, samples: range) -> None:
    random.seed(iteration)
    batch = [dataset[index] for index in range(4)]  # the same crops in both processes
    model.feed_data(torch.utils.data.default_collate([batch[index] for index in samples]))
    model.optimize_parameters(iteration)


def process(rank: int, opt: dict[str, Any], root: Path) -> None:
    """Train on one half of the batch; then let z break in process 1 alone, and note which error ends the training."""
    distributed.init_process_group('gloo', init_method=f'file://{root}/meet', rank=rank, world_size=2)
    model, dataset = built(opt, root, rank)
    for iteration in (1, 2):
        step(model, dataset, iteration, range(2 * rank, 2 * rank + 2))
    result = {'g': model.net_g.module.state_dict(), 'spf': model.net_spf.module.state_dict(), 'log': model.log_dict}
    result = {key: {name: torch.as_tensor(value).clone() for name, value in result[key].items()} for key in result}
    if rank == 1:
        model.net_spf.module.register_forward_hook(lambda module, args, image: image * torch.nan)
    try:
        step(model, dataset, 3, range(2 * rank, 2 * rank + 2))
    except FloatingPointError as error:
        result['error'] = str(error)
    torch.save(result, root / f'{rank}.pth')
    distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize('chunks', [1, 2])
def test_two_processes_train_as_one_and_stop_together(pairs, store, tmp_path, chunks):
    changes = {'train:optim_g': SGD, 'train:optim_spf': SGD, 'train:ema_decay': 0, 'train:sapd_opt:chunks': chunks}
    # The sign of a difference near 0, L1's gradient, would depend on rounding.
    smooth = {'train:pixel_opt': {'type': 'MSELoss'}, 'train:spd_opt:criterion': 'l2'}
    opt = sapd_options(pairs, store, base_model_type='CpuModel', **changes, **smooth)
    # Not spawned: new processes would import BasicSR anew, which takes longer than the training.
    multiprocessing.start_processes(process, (opt, tmp_path), nprocs=2, start_method='fork')
    first, second = (torch.load(tmp_path / f'{rank}.pth', weights_only=False) for rank in (0, 1))
    model, dataset = built(opt, tmp_path, None)
    for iteration in (1, 2):
        step(model, dataset, iteration, range(4))
    for name, network in (('g', model.net_g), ('spf', model.net_spf)):
        for key, expected in network.state_dict().items():
            assert torch.equal(first[name][key], second[name][key])
            torch.testing.assert_close(first[name][key], expected, rtol=1e-4, atol=1e-6)
    for name in ('l_spf', 'l_spd'):
        assert first['log'][name].item() == pytest.approx(model.log_dict[name], rel=1e-4)
    assert first['error'] == second['error'] == 'l_spf is nan at iteration 3.'


def pipeline(rank: int, opt: dict[str, Any], root: Path) -> None:
    """Run train_pipeline as torchrun starts it, with gloo for NCCL."""

    def init(launcher: str) -> None:
        meeting = f'file://{root}/meet-{opt["name"]}-{opt["train"]["total_iter"]}'
        distributed.init_process_group('gloo', init_method=meeting, rank=rank, world_size=2)

    folder = root / f'rank-{rank}'  # for the options and the log; what is saved is shared
    with mock.patch('basicsr.utils.options.init_dist', init):
        run_here(train.main, opt, root, '--launcher', 'pytorch', '--auto_resume', file=folder / 'opt.yml')
    distributed.destroy_process_group()


@pytest.mark.slow
def test_processes_resume_the_same_state_and_equal_an_uninterrupted_training(pairs, store, tmp_path):
    """Each has its own patches. A state that one of them did not save is not resumed by the other either."""
    for rank in (0, 1):
        (tmp_path / f'rank-{rank}').mkdir()
    changes = {
        'base_model_type': 'CpuModel',
        'logger:save_checkpoint_freq': 1,
        'datasets:train:dataset_enlarge_ratio': 5,
        'datasets:train:num_worker_per_gpu': 2,
        'datasets:train:batch_size_per_gpu': 1,
    }
    for name, totals in (('whole', (7,)), ('parts', (4, 7))):
        for total in totals:
            opt = sapd_options(pairs, store, name=name, **changes, **{'train:total_iter': total})
            multiprocessing.start_processes(pipeline, (opt, tmp_path), nprocs=2, start_method='fork')
            (tmp_path / f'experiments/parts/training_states/{total}.sapd.rank1').unlink(missing_ok=True)
    log = '\n'.join(path.read_text() for path in (tmp_path / 'experiments/parts').glob('*.log'))
    assert 'Resuming training from epoch: 0, iter: 3.' in log
    assert 'starts its epoch again' not in log
    for net in ('g', 'spf'):
        states = [torch.load(tmp_path / f'experiments/{name}/models/net_{net}_7.pth') for name in ('whole', 'parts')]
        assert_equal_states(*states)

"""SAPDModel around what forks of BasicSR add: autocast, a loss scaler, gradient accumulation."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor

from sapd_plugin.basicsr.train import main
from sapd_plugin.core import GradScaler
from tests.adapters_basicsr.recipes import run_here, sapd_options, stock_options, training_set
from tests.adapters_basicsr.test_model import resume_paths, session, train
from tests.networks import assert_equal_states

needs_scaler = pytest.mark.skipif(
    not hasattr(torch.amp, 'GradScaler'), reason='torch < 2.3 scales losses on CUDA devices alone'
)
DTYPES = {'float32': torch.float32, 'bfloat16': torch.bfloat16, 'float16': torch.float16}


@MODEL_REGISTRY.register()
class ForkModel(SRModel):
    """A model as in forks. It notes the gradients that arrive at its image."""

    def init_training_settings(self) -> None:
        fork = self.opt['train']['fork']
        self.dtype, self.accumulate = DTYPES[fork['dtype']], fork.get('accumulate', 1)
        scale = fork.get('scale')
        if scale is not None:
            self.amp_scaler = GradScaler('cpu', init_scale=scale)
        self.gradients: list[dict[str, Tensor]] = []
        super().init_training_settings()
        # Before SAPD's hook on the image, which is added when the network is called in a step.
        self.net_g.register_forward_hook(lambda module, args, image: self._note(image, 'own'))

    def _note(self, image: Tensor, name: str) -> None:
        def note(gradient: Tensor) -> None:
            self.gradients[-1][name] = gradient.clone()

        if image.requires_grad:
            image.register_hook(note)

    def optimize_parameters(self, current_iter: int) -> None:
        self.gradients.append({})
        if (current_iter - 1) % self.accumulate == 0:
            self.optimizer_g.zero_grad()
        # An old torch refuses float32 even if autocast is off.
        with nullcontext() if self.dtype == torch.float32 else torch.autocast('cpu', dtype=self.dtype):
            self.output = self.net_g(self.lq)
            loss = self.cri_pix(self.output, self.gt) / self.accumulate
        self._note(self.output, 'sum')
        scaler = getattr(self, 'amp_scaler', None)
        (loss if scaler is None else scaler.scale(loss)).backward()
        if current_iter % self.accumulate == 0:
            if scaler is None:
                self.optimizer_g.step()
            else:
                scaler.step(self.optimizer_g)
                scaler.update()
        self.log_dict = self.reduce_loss_dict({'l_pix': loss})


def fork_options(pairs: Path, store: Path, fork: dict[str, Any], **changes: Any) -> dict[str, Any]:
    settings = {'train:fork': fork, 'train:ema_decay': 0, 'train:sapd_opt:accumulate': fork.get('accumulate', 1)}
    return sapd_options(pairs, store, base_model_type='ForkModel', **settings, **changes)


FORKS = {
    'float32': {'dtype': 'float32'},
    'float32, accumulation': {'dtype': 'float32', 'accumulate': 4},
    'bfloat16': {'dtype': 'bfloat16'},
    'bfloat16, accumulation': {'dtype': 'bfloat16', 'accumulate': 4},
    'float16, scale 1': {'dtype': 'float16', 'scale': 1.0},
    'float16, scale 65536': {'dtype': 'float16', 'scale': 65536.0},
    'float16, scale 65536, accumulation': {'dtype': 'float16', 'scale': 65536.0, 'accumulate': 4},
    'float32, scale 65536, accumulation': {'dtype': 'float32', 'scale': 65536.0, 'accumulate': 4},
}


# So that SPD's gradient is about half as large as the base's: half precision rounds much smaller ones away.
WEIGHTS = {'L1Loss': 0.5, 'PSNRLoss': 70.0}


def arrived(opt: dict[str, Any], root: Path) -> tuple[Any, Tensor, Tensor, Tensor]:
    """Train to the end of the first step; return the model and three gradients at the image of its last micro-batch.

    They are the base's own, what SAPD added to it, and that of SPD, computed anew, all in float64.
    """
    model = session(opt, root, 0)
    records, note = [], model.distiller.record

    def noting(*args: Any) -> Any:
        records.append(note(*args))
        return records[-1]

    model.distiller.record = noting
    fork = opt['train']['fork']
    train(model, training_set(opt, root), range(1, fork.get('accumulate', 1) + 1))
    own, total = (model.gradients[-1][key].double() for key in ('own', 'sum'))
    y, z, gt = records[-1].restored.requires_grad_(), records[-1].refined, records[-1].gt
    spd = torch.autograd.grad(model.distiller.spd(y, z, gt), y)[0].double()
    return model, own, total - own, spd


@needs_scaler
@pytest.mark.parametrize('loss', WEIGHTS)
@pytest.mark.parametrize('name', FORKS)
def test_without_balance_the_gradient_is_scaled_as_the_forks_own(pairs, store, tmp_path, name, loss):
    fork = FORKS[name]
    changes = {'train:pixel_opt': {'type': loss}, 'train:spd_opt:loss_weight': WEIGHTS[loss]}
    model, own, added, spd = arrived(fork_options(pairs, store, fork, **changes), tmp_path)
    expected = spd * fork.get('scale', 1.0) / fork.get('accumulate', 1)
    assert ((added * expected).sum() / expected.square().sum()).item() == pytest.approx(1, abs=0.01)
    assert model.log_dict['share_spd'] == pytest.approx((added.norm() / own.norm()).item(), rel=0.05)
    assert 0.1 < model.log_dict['share_spd'] < 1


@needs_scaler
@pytest.mark.parametrize('loss', WEIGHTS)
@pytest.mark.parametrize('name', FORKS)
def test_with_balance_the_weight_is_the_share(pairs, store, tmp_path, name, loss):
    changes = {'train:pixel_opt': {'type': loss}, 'train:spd_opt:balance': 'gradient', 'train:spd_opt:loss_weight': 0.2}
    model, own, added, spd = arrived(fork_options(pairs, store, FORKS[name], **changes), tmp_path)
    assert (added.norm() / own.norm()).item() == pytest.approx(0.2, rel=0.1)
    assert (added.flatten() @ spd.flatten() / (added.norm() * spd.norm())).item() > 0.99
    assert model.log_dict['share_spd'] == pytest.approx(0.2, rel=1e-3)


@needs_scaler
@pytest.mark.parametrize('where', ['output', 'gradient'])
@pytest.mark.parametrize('loss', [{'balance': 'gradient'}, {'criterion': 'l2'}, {'target': 'mix'}], ids=str)
def test_an_overflow_in_spf_alone_leaves_the_student_alone(pairs, store, tmp_path, where, loss):
    fork = {'dtype': 'float16', 'scale': 65536.0}
    spd = {'type': 'SPDLoss', 'loss_weight': 0.2, 'gate': 'none', **loss}
    opt = fork_options(pairs, store, fork, **{'train:spd_opt': spd})
    model = session(opt, tmp_path, 0)
    before = {name: value.clone() for name, value in model.net_spf.state_dict().items()}
    if where == 'output':
        model.net_spf.register_forward_hook(lambda module, args, image: image * torch.inf)
    else:
        next(model.net_spf.parameters()).register_hook(lambda gradient: gradient * torch.inf)
        model.distiller.spd.loss_weight = model.distiller.spd.mix = 0.0  # z is right, and would teach
    train(model, training_set(opt, tmp_path), range(1, 4))
    stock = session(
        stock_options(pairs, model_type='ForkModel', **{'train:fork': fork, 'train:ema_decay': 0}), tmp_path, 3
    )
    assert_equal_states(stock.net_g, model.net_g)
    assert_equal_states(stock.amp_scaler.state_dict(), model.amp_scaler.state_dict())
    assert_equal_states(before, model.net_spf)
    assert model.hook.scaler.state_dict()['scale'] == 65536 / 2**3


def test_a_state_within_an_accumulated_step_is_resumed_to_the_bit(pairs, store, tmp_path):
    fork = fork_options(pairs, store, {'dtype': 'float32', 'accumulate': 4}, **{'logger:save_checkpoint_freq': 1})
    weights = []
    for name, lengths in (('whole', [9]), ('parts', [3, 6, 9])):
        (tmp_path / name).mkdir()
        for length in lengths:
            run_here(main, {**fork, 'train': {**fork['train'], 'total_iter': length}}, tmp_path / name, '--auto_resume')
        folder = tmp_path / name / 'experiments/sapd/models'
        weights.append([torch.load(folder / f'net_{each}_9.pth') for each in ('g', 'spf')])
    assert_equal_states(*weights)
    states = [torch.load(tmp_path / f'whole/experiments/sapd/training_states/{i}.sapd.rank0') for i in (3, 4)]
    assert [len(state['gradients']) > 0 for state in states] == [True, False]  # they are as large as the networks


def test_without_a_scaler_an_overflow_stops_the_run_and_spares_the_student(pairs, store, tmp_path):
    opt = fork_options(pairs, store, {'dtype': 'float32'})
    model = session(opt, tmp_path, 0)
    model.net_spf.register_forward_hook(lambda module, args, image: image * torch.nan)
    before = {name: value.clone() for name, value in model.net_spf.state_dict().items()}
    with pytest.raises(FloatingPointError, match='^l_spf is nan at iteration 1'):
        train(model, training_set(opt, tmp_path), range(1, 2))
    fork = {'train:fork': {'dtype': 'float32'}, 'train:ema_decay': 0}
    assert_equal_states(session(stock_options(pairs, model_type='ForkModel', **fork), tmp_path, 1).net_g, model.net_g)
    assert_equal_states(before, model.net_spf)


@needs_scaler
def test_accumulated_steps_train_spf_on_all_micro_batches(pairs, store, tmp_path):
    opt = fork_options(
        pairs, store, {'dtype': 'float32', 'accumulate': 4}, **{'train:optim_spf': {'type': 'SGD', 'lr': 1}}
    )
    model = session(opt, tmp_path, 0)
    data, before = training_set(opt, tmp_path), torch.nn.utils.parameters_to_vector(model.net_spf.parameters())
    seen: list[Tensor] = []
    model.net_spf.register_forward_hook(lambda module, args, image: image.register_hook(seen.append) and None)
    train(model, data, range(1, 4))
    assert torch.equal(before, torch.nn.utils.parameters_to_vector(model.net_spf.parameters()))
    train(model, data, range(4, 5))
    assert not torch.equal(before, torch.nn.utils.parameters_to_vector(model.net_spf.parameters()))
    assert len(seen) == 4
    # L1's gradient, divided by the number of micro-batches.
    assert all(gradient.abs().max().item() == pytest.approx(1 / gradient.numel() / 4) for gradient in seen)


@needs_scaler
def test_the_loss_scale_of_spf_is_resumed(pairs, store, tmp_path):
    opt = fork_options(pairs, store, {'dtype': 'float16', 'scale': 8.0})
    model = session(opt, tmp_path, 2)
    model.hook.scaler.step = lambda optimizer: None
    model.save(epoch=0, current_iter=2)
    saved = model.hook.scaler.state_dict()
    assert saved['scale'] == 65536
    resumed = session(opt, tmp_path, 0, resume_paths(opt, tmp_path, 2))
    assert resumed.hook.scaler.state_dict() == saved

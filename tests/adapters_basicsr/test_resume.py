"""An interrupted and resumed run of BasicSR's train_pipeline equals an uninterrupted one, patch for patch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher

from sapd_plugin.basicsr import train
from tests.adapters_basicsr.recipes import run_here, sapd_options
from tests.networks import assert_equal_states

# Four images and batches of two, enlarged three times: an epoch has six iterations.
CHANGES = {
    'datasets:train:dataset_enlarge_ratio': 3,
    'logger:save_checkpoint_freq': 1,
    'val:val_freq': 2,
    'network_g': {'type': 'DropoutNet'},
}
NOISE = {'datasets:train:type': 'GaussianNoiseDataset', 'datasets:train:sigma': [0, 50]}
TWO = {'datasets:train:num_worker_per_gpu': 2}
THREE = {'datasets:train:num_worker_per_gpu': 3}
KEPT = {'datasets:train:persistent_workers': True}
AHEAD = {'datasets:train:prefetch_mode': 'cpu', 'datasets:train:num_prefetch_queue': 2}
CUDA = {'datasets:train:prefetch_mode': 'cuda', 'datasets:train:pin_memory': True}
CASES = {
    'in the main process': (NOISE, (5, 13)),
    'one worker': ({**NOISE, 'datasets:train:num_worker_per_gpu': 1}, (8,)),
    'two workers': ({**NOISE, **TWO}, (4, 6, 13)),
    'in the first batch of two workers': ({**NOISE, **TWO}, (1, 7)),
    'three workers that are kept': ({**NOISE, **THREE, **KEPT}, (2, 5, 10)),
    'two workers and a thread': ({**NOISE, **TWO, **AHEAD}, (3, 9)),
    'a batch ahead, in the main process': ({**NOISE, **CUDA}, (5, 6, 13)),
    'a batch ahead, of two workers': ({**NOISE, **TWO, **CUDA}, (1, 5, 9)),
}


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The ground truth patches that a training has used."""
    seen: list[torch.Tensor] = []

    def watching(stock: Any) -> Any:
        def next_(self: Any) -> Any:
            batch = stock(self)
            if batch is not None:
                seen.append(batch['gt'].clone())
            return batch

        return next_

    for prefetcher in (CPUPrefetcher, CUDAPrefetcher):
        monkeypatch.setattr(prefetcher, 'next', watching(prefetcher.next))
    # CUDAPrefetcher without CUDA: its order of loading is what matters here.
    monkeypatch.setattr(torch.cuda, 'Stream', mock.Mock)
    monkeypatch.setattr(torch.cuda, 'stream', lambda stream: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, 'current_stream', mock.Mock)
    return seen


def weights(folder: Path, name: str, iteration: int | str) -> Any:
    return torch.load(folder / f'experiments/{name}/models/net_{iteration}.pth', weights_only=True)


SLOW = 'two workers and a thread'  # BasicSR leaves such workers waiting, and torch waits for them


@pytest.mark.parametrize('case', [pytest.param(case, marks=[pytest.mark.slow] * (case == SLOW)) for case in CASES])
def test_the_same_patches_and_weights_bit_for_bit(pairs, store, tmp_path, watched, case):
    changes, stops = CASES[case]
    total = 14
    changes = {**CHANGES, **changes}
    run_here(train.main, sapd_options(pairs, store, name='whole', **changes, **{'train:total_iter': total}), tmp_path)
    whole, seen = watched[:total], []
    for number, stop in enumerate((*stops, total)):
        watched.clear()
        opt = sapd_options(pairs, store, name='parts', **changes, **{'train:total_iter': stop})
        log = run_here(train.main, opt, tmp_path, '--auto_resume')
        assert ('Resuming training' in log) == (number > 0)
        seen += watched[: stop - len(seen)]
    assert len(whole) == len(seen) == total
    assert [k for k, (one, two) in enumerate(zip(whole, seen)) if not torch.equal(one, two)] == []
    for net in ('g', 'spf'):
        assert_equal_states(*(weights(tmp_path, name, f'{net}_{total}') for name in ('whole', 'parts')))

"""One training of each framework on a GPU, as its users start it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize('prefetch', [None, 'cuda'])
def test_basicsr_trains(
    device: torch.device, pairs: Path, store: Path, vgg_weights: Path, tmp_path: Path, prefetch: str | None
) -> None:
    from sapd_plugin.basicsr import train
    from tests.adapters_basicsr.recipes import run_here, sapd_options

    changes = {'num_gpu': 1, 'datasets:train:prefetch_mode': prefetch, 'datasets:train:pin_memory': True}
    log = run_here(train.main, sapd_options(pairs, store, vgg_weights, **changes), tmp_path)
    assert 'l_spd' in log
    assert list(tmp_path.rglob('net_spf_latest.pth'))


@pytest.mark.parametrize('wrapper', ['OptimWrapper', 'AmpOptimWrapper'])
def test_mmagic_trains(
    device: torch.device, pairs: Path, store: Path, vgg_weights: Path, tmp_path: Path, wrapper: str
) -> None:
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmengine.runner import Runner

    from tests.adapters_mmagic.recipes import sapd_config

    init_default_scope('mmagic')
    config = sapd_config(pairs, store, vgg_weights, **{'optim_wrapper:type': wrapper})
    runner = Runner.from_cfg(Config({**config, 'work_dir': str(tmp_path), 'launcher': 'none'}))
    runner.train()
    assert all(parameter.is_cuda and parameter.isfinite().all() for parameter in runner.model.parameters())

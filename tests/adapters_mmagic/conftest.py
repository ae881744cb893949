from __future__ import annotations

from functools import partial

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import base_dataset
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.registry import init_default_scope
from mmengine.runner import amp, runner

from tests.priors.segmenters.conftest import checkpoint as checkpoint


@pytest.fixture(autouse=True)
def mmagic_scope() -> None:
    """Look names up in MMagic's registries first, as its tools do."""
    init_default_scope('mmagic')


@pytest.fixture
def without_ceremony(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes most of the time of a few iterations and changes nothing in them."""
    monkeypatch.setattr(runner, 'collect_env', dict)
    monkeypatch.setattr(Config, 'pretty_text', property(lambda self: f'{len(self)} keys, not formatted'))
    monkeypatch.setattr(base_dataset.gc, 'collect', int)


@pytest.fixture
def amp_without_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MMEngine's AmpOptimWrapper run on the CPU, float16 included."""
    if not hasattr(torch.amp, 'GradScaler'):
        pytest.skip('this torch has no loss scaler for the CPU')
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', partial(torch.amp.GradScaler, 'cpu'))
    monkeypatch.setattr(amp, 'autocast', partial(torch.autocast, 'cpu'))

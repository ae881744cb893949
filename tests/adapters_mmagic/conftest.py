from __future__ import annotations

import pytest
from mmengine.config import Config
from mmengine.dataset import base_dataset
from mmengine.registry import init_default_scope
from mmengine.runner import runner


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

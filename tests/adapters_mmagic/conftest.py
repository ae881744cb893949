from __future__ import annotations

import pytest
from mmengine.registry import init_default_scope


@pytest.fixture(autouse=True)
def mmagic_scope() -> None:
    """Look names up in MMagic's registries first, as its tools do."""
    init_default_scope('mmagic')

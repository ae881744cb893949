from __future__ import annotations

from pathlib import Path

import pytest
from mmengine.registry import init_default_scope

from tests import photos


@pytest.fixture(autouse=True)
def mmagic_scope() -> None:
    """Look names up in MMagic's registries first, as its tools do."""
    init_default_scope('mmagic')


@pytest.fixture(scope='session')
def pairs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four real rainy/clean pairs, 96x112."""
    return photos.make_pairs(shared_data, tmp_path_factory.mktemp('pairs') / 'small', 4, (96, 112))


@pytest.fixture(scope='session')
def store(shared_data: Path, pairs: Path) -> Path:
    """MobileSAM's masks of these pairs."""
    return photos.make_store(pairs.parent / 'masks', pairs / 'clean', photos.shared_labels(shared_data))


@pytest.fixture(scope='session')
def grey_store(pairs: Path) -> Path:
    """Masks that follow from the pixels, so that alignment can be checked on any patch."""
    return photos.make_store(pairs.parent / 'grey', pairs / 'clean')

"""What all tests share: photos with masks, random VGG-19 weights, and a process in which BasicSR can be imported."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sapd_plugin.compat import alias_functional_tensor

alias_functional_tensor()
# Before anything imports torch (hence the imports inside the fixtures), and for the processes that tests start as well:
# with more threads than free cores, small tensors take many times as long.
os.environ.setdefault('OMP_NUM_THREADS', str(min(2, os.cpu_count() or 1)))
# A background job of a shell (`nohup bash tools/test.sh &`) ignores Ctrl-C, and so would every process that tests start
# and interrupt: what is ignored stays so in children, a handler becomes the default.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def calibration_data() -> Path:
    """The folder of published weights, test sets and human segmentations, or a skip where there is none."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get('SAPD_SHARED_DATA') or root.parent / 'shared' / 'data')
    if not folder.is_dir():
        pytest.skip(
            'compares with published weights, test sets or human segmentations, which are not part of the project: '
            f'found no {folder} (SAPD_SHARED_DATA names another folder)'
        )
    return folder


@pytest.fixture(scope='session')
def vgg_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """VGG-19 up to relu3_1 with torchvision's names, random weights that keep the activations' size (He et al.)."""
    from tests.photos import make_vgg

    return make_vgg(tmp_path_factory.mktemp('vgg'))


@pytest.fixture(scope='session')
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four rainy/clean pairs, 96x112."""
    from tests.photos import make_pairs

    return make_pairs(tmp_path_factory.mktemp('pairs') / 'small', 4, (96, 112))


@pytest.fixture(scope='session')
def store(pairs: Path) -> Path:
    """Masks of these pairs that follow the things in them."""
    from tests.photos import make_store, segmented

    return make_store(pairs.parent / 'masks', pairs / 'clean', segmented)


@pytest.fixture(scope='session')
def grey_store(pairs: Path) -> Path:
    """Masks that follow from the pixels, so that alignment can be checked on any patch."""
    from tests.photos import make_store

    return make_store(pairs.parent / 'grey', pairs / 'clean')


@pytest.fixture(scope='session')
def published_checkpoint(calibration_data: Path) -> Path:
    """MobileSAM as its authors trained it."""
    path = calibration_data / 'sam' / 'mobile_sam.pt'
    if not path.exists():
        pytest.skip(f'{path} does not exist')
    return path

"""What all tests share: the data folder, and a process in which BasicSR can be imported."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sapd_plugin.compat import alias_functional_tensor

alias_functional_tensor()
# Before anything imports torch, and for the processes that tests start as well: with more threads than free cores,
# small tensors take many times as long.
os.environ.setdefault('OMP_NUM_THREADS', str(min(2, os.cpu_count() or 1)))
# A background job of a shell (`nohup bash tools/test.sh &`) ignores Ctrl-C, and so would every process that tests start
# and interrupt: what is ignored stays so in children, a handler becomes the default.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope='session')
def shared_data() -> Path:
    """The folder of pictures and weights beside the project, or the one that ``SAPD_SHARED_DATA`` names."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get('SAPD_SHARED_DATA') or root.parent / 'shared' / 'data')
    if not folder.is_dir():
        pytest.skip(f'no data: there is no {folder}; SAPD_SHARED_DATA names another folder')
    return folder


@pytest.fixture(scope='session')
def vgg_weights(shared_data: Path) -> Path:
    """VGG-19 up to relu3_1, normalised."""
    return shared_data / 'weights' / 'vgg19_normalised_to_relu3_1.pth'

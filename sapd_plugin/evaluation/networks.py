"""Students of the frameworks' configs, by the framework that the config's name says."""

from __future__ import annotations

import contextlib
import importlib
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from sapd_plugin.archs.weights import load_weights, read_checkpoint
from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError, check_choice

FRAMEWORKS = ('basicsr', 'mmagic')
SUFFIXES = {'.yml': 'basicsr', '.yaml': 'basicsr', '.py': 'mmagic'}


def find_framework(config: Path, where: str = 'config') -> str:
    """Return the framework of a config by its suffix.

    Raises:
        SAPDError: it has another suffix.
    """
    if config.suffix not in SUFFIXES:
        raise SAPDError(f'{where}: found {config}, expected a config that ends with {", ".join(SUFFIXES)}.')
    return SUFFIXES[config.suffix]


def build_network_from(framework: str, config: Path) -> nn.Module:
    """Build the network that a config trains or tests, with new weights, in eval mode.

    Args:
        framework: 'basicsr' (its ``network_g``) or 'mmagic' (its ``model.generator``).
        config: a stock config or one with SAM priors; the network is the same.

    Raises:
        SAPDError: the framework is not installed, or the config cannot be read or has no such network.
    """
    check_choice('framework', framework, FRAMEWORKS)
    if not config.is_file():
        raise SAPDError(f'config: found no file {config}, expected one of {framework}.')
    return _adapter(framework, 'student', config).build_network(config).eval()


def read_basicsr(config: Path, keys: Sequence[str] = (), expected: str = 'a BasicSR YAML') -> dict[str, Any]:
    """Read a BasicSR YAML that has ``network_g`` and the given top-level keys.

    Raises:
        SAPDError: the file is not YAML, or lacks a key; the message ends with ``expected``.
    """
    return _adapter('basicsr', 'student', config).read_student(config, tuple(keys), expected)


def load_student(network: nn.Module, checkpoint: Path) -> nn.Module:
    """Load a student's weights strictly into the network of its config, and return the network.

    Args:
        network: its weights are replaced.
        checkpoint: BasicSR's ``net_g_*.pth`` (its EMA weights if it has them), MMagic's ``iter_*.pth`` (its generator),
            or a bare state dict.

    Raises:
        SAPDError: the file is not a checkpoint, or holds the weights of a different network.
    """
    load_weights(network, checkpoint, read=_reader())
    return network


def build_restorer(config: Path, checkpoint: Path, device: str) -> Any:
    """Build a student as a function from image to image, for ``--restored-by``.

    Raises:
        SAPDError: the config is of no framework that is installed, or the student cannot be used.
    """
    framework = find_framework(config, '--restored-by')
    if not config.is_file():
        raise SAPDError(f'--restored-by: found no file {config}, expected the config of the student.')
    return _adapter(framework, 'restorer', config).build_restorer(config, checkpoint, device)


def _adapter(framework: str, module: str, config: Path) -> Any:
    """Import a module of the framework's adapter."""
    alias_functional_tensor()
    try:
        if framework == 'mmagic':
            # First the config's own imports, whose names ours must not take.
            from mmengine.config import Config

            warnings.filterwarnings('ignore', category=FutureWarning, module='diffusers')  # of what MMagic imports
            with contextlib.suppress(Exception):  # reported when the adapter reads it
                Config.fromfile(config)
        return importlib.import_module(f'sapd_plugin.{framework}.{module}')
    except ModuleNotFoundError as error:
        raise SAPDError(f'{config}: needs {error.name}, which is not installed here.') from error


def _reader() -> Callable[[Path], Any]:
    """Return what reads checkpoints: that of the MMagic adapter, if it is used here, also reads MMEngine's."""
    student = sys.modules.get('sapd_plugin.mmagic.student')
    return read_checkpoint if student is None else student.read_checkpoint

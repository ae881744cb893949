"""Networks of the frameworks' configs, without the rest of the models, and students' weights."""

from __future__ import annotations

import importlib
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sapd_plugin.archs.weights import network_weights
from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.core.archives import LOADS_TRUSTED_ONLY
from sapd_plugin.errors import SAPDError, check_choice

FRAMEWORKS = ('basicsr', 'mmagic')


def build_network_from(framework: str, config: Path) -> nn.Module:
    """Build the network that a config trains or tests, with new weights, in eval mode.

    Args:
        framework: 'basicsr' (its ``network_g``) or 'mmagic' (its ``model.generator``).
        config: a stock config or one with SAM priors; the network is the same.

    Raises:
        SAPDError: the framework is not installed, or the config cannot be read or has no such network.
    """
    check_choice('framework', framework, FRAMEWORKS)
    alias_functional_tensor()
    try:
        importlib.import_module(f'sapd_plugin.{framework}')
    except ModuleNotFoundError as error:
        raise SAPDError(f'framework {framework}: needs {error.name}, which is not installed here.') from error
    if not config.is_file():
        raise SAPDError(f'config: found no file {config}, expected one of {framework}.')
    try:
        network = _basicsr(config) if framework == 'basicsr' else _mmagic(config)
    except SAPDError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())[:500]
        raise SAPDError(f'{config}: its network cannot be built: {type(error).__name__}: {reason}') from error
    return network.eval()


def load_student(network: nn.Module, checkpoint: Path) -> nn.Module:
    """Load a student's weights strictly into the network of its config, and return the network.

    Args:
        network: its weights are replaced.
        checkpoint: BasicSR's ``net_g_*.pth`` (its EMA weights if it has them), MMagic's ``iter_*.pth`` (its generator),
            or a bare state dict.

    Raises:
        SAPDError: the file is not a checkpoint, or holds the weights of a different network.
    """
    try:
        saved = _read_checkpoint(checkpoint)
    except Exception as error:
        raise SAPDError(f"{checkpoint}: cannot be read ({error}), expected a student's checkpoint.") from error
    try:
        network.load_state_dict(network_weights(saved), strict=True)
    except (SAPDError, RuntimeError, TypeError, AttributeError) as error:
        reason = ' '.join(str(error).split())[:500]
        raise SAPDError(f'{checkpoint}: its weights are not of {type(network).__name__}: {reason}') from error
    return network


def read_basicsr_options(config: Path, keys: Sequence[str], expected: str = 'a BasicSR YAML') -> dict[str, Any]:
    """Read a BasicSR YAML that has the given top-level keys.

    Raises:
        SAPDError: the file is not YAML, or lacks a key; the message ends with ``expected``.
    """
    alias_functional_tensor()
    from sapd_plugin.basicsr.options import parse_yaml

    try:
        opt = parse_yaml(config.read_text(encoding='utf-8'))
    except SAPDError as error:
        raise SAPDError(f'{config}: {error}') from error
    for key in keys:
        if key not in opt:
            raise SAPDError(f"{config}: found no '{key}', expected {expected}.")
    return opt


def _read_checkpoint(path: Path) -> Any:
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:
        # The MMagic adapter makes torch trust what MMEngine saves with the weights. Before torch 2.6 it does not,
        # so a process that works with MMagic reads the file as MMagic's own tools do.
        if 'sapd_plugin.mmagic' not in sys.modules or LOADS_TRUSTED_ONLY:
            raise
        from mmengine.runner import CheckpointLoader

        return CheckpointLoader.load_checkpoint(str(path), map_location='cpu')


def _basicsr(config: Path) -> nn.Module:
    from basicsr.archs import build_network

    return build_network(read_basicsr_options(config, ['network_g'])['network_g'])


def _mmagic(config: Path) -> nn.Module:
    from mmagic.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    model = Config.fromfile(config).get('model') or {}
    if 'generator' not in model:
        raise SAPDError(f"{config}: found no 'model.generator', expected an MMagic config of an image model.")
    return MODELS.build(model['generator'])

"""Networks of the frameworks' configs, without the rest of their models, and students' weights for them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from sapd_plugin.archs.weights import network_weights
from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError, check_choice

FRAMEWORKS = ('basicsr', 'mmagic')


def build_network_from(framework: str, config: Path) -> nn.Module:
    """Build the network that a config trains or tests, with fresh weights, in eval mode.

    Args:
        framework: 'basicsr' (its ``network_g``) or 'mmagic' (its ``model.generator``).
        config: stock or with SAM priors: the network is the same.

    Raises:
        SAPDError: for a framework that is not installed, a config that cannot be read, or one without such a network.
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
    """Load a student's weights strictly, whichever framework saved them. Returns the network.

    Args:
        network: of the config that the student was trained with.
        checkpoint: BasicSR's ``net_g_*.pth`` (its EMA weights where there are such), MMagic's ``iter_*.pth`` (its
            generator), or a bare state dict.

    Raises:
        SAPDError: for a file that is no checkpoint, or weights of another network.
    """
    try:
        saved = torch.load(checkpoint, map_location='cpu', weights_only=True)
    except Exception as error:
        raise SAPDError(f"{checkpoint}: cannot be read ({error}), expected a student's checkpoint.") from error
    try:
        network.load_state_dict(network_weights(saved), strict=True)
    except (SAPDError, RuntimeError, TypeError, AttributeError) as error:
        reason = ' '.join(str(error).split())[:500]
        raise SAPDError(f'{checkpoint}: its weights are not of {type(network).__name__}: {reason}') from error
    return network


def _basicsr(config: Path) -> nn.Module:
    import yaml
    from basicsr.archs import build_network
    from basicsr.utils.options import ordered_yaml

    with config.open(encoding='utf-8') as file:
        opt = yaml.load(file, Loader=ordered_yaml()[0])  # BasicSR's own loader, for its own configs
    if not isinstance(opt, Mapping) or 'network_g' not in opt:
        raise SAPDError(f"{config}: found no 'network_g', expected a BasicSR YAML.")
    return build_network(opt['network_g'])


def _mmagic(config: Path) -> nn.Module:
    from mmagic.registry import MODELS
    from mmengine.config import Config
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    model = Config.fromfile(config).get('model') or {}
    if 'generator' not in model:
        raise SAPDError(f"{config}: found no 'model.generator', expected an MMagic config of an image model.")
    return MODELS.build(model['generator'])

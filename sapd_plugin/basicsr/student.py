"""A trained student of a BasicSR YAML: its network, and the model whose own test restores images with it.

The config may be of a training or a test, stock or with SAM priors. What only training needs is not built: no second
network, no losses, and no model class either, if it is one that is not registered here.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from basicsr.archs import build_network as build_basicsr_network
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY
from torch import nn

from sapd_plugin.archs.weights import BY_IMPORT, load_weights
from sapd_plugin.basicsr.base_models import find_registered
from sapd_plugin.basicsr.options import parse_yaml
from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.texts import read_text

STOCK_MODEL = 'SRModel'


def read_student(config: Path, keys: tuple[str, ...] = (), expected: str = 'a BasicSR YAML') -> dict[str, Any]:
    """Read a BasicSR YAML that has ``network_g`` and the given top-level keys.

    Raises:
        SAPDError: the file is not YAML, lacks a key or names a network that is not registered.
    """
    try:
        options = parse_yaml(read_text(config, expected))
    except (OSError, SAPDError) as error:
        text = str(error).removeprefix(f'{config}: ')
        raise SAPDError(f'{config}: {text} Expected {expected}.') from error
    for key in ('network_g', *keys):
        if key not in options:
            raise SAPDError(f"{config}: found no '{key}', expected {expected}.")
    block = options['network_g']
    if not isinstance(block, Mapping) or 'type' not in block:
        raise SAPDError(f'{config}: network_g: found {block!r}, expected the block of a network, with its type.')
    if find_registered(ARCH_REGISTRY, block['type']) is None:
        near = nearest(block['type'], ARCH_REGISTRY.keys())
        raise SAPDError(
            f"{config}: network_g.type: found '{block['type']}', which is not registered.{near} {BY_IMPORT}"
        )
    return options


def build_network(config: Path) -> nn.Module:
    """Build the network ``network_g`` of a YAML, with new weights.

    Raises:
        SAPDError: as :func:`read_student`, or the network cannot be built from its block.
    """
    options = read_student(config)
    try:
        return build_basicsr_network(dict(options['network_g']))
    except Exception as error:
        reason = ' '.join(str(error).split())[:500]
        raise SAPDError(f'{config}: network_g: cannot be built: {type(error).__name__}: {reason}') from error


def model_type(options: Mapping[str, Any]) -> tuple[str, str]:
    """Return the registered model whose test restores images, and a note if it is not the config's own.

    Masks and SPF are not used in a test, so a SAPDModel's base is that model.
    """
    named = options.get('model_type', STOCK_MODEL)
    if named == 'SAPDModel':
        named = options.get('base_model_type', STOCK_MODEL)
    if find_registered(MODEL_REGISTRY, named) is not None:
        return str(named), ''
    near = nearest(named, MODEL_REGISTRY.keys())
    return (
        STOCK_MODEL,
        f"the model '{named}' is not registered here, so {STOCK_MODEL}'s test is used.{near} {BY_IMPORT}",
    )


def build_student(options: Mapping[str, Any], checkpoint: Path, device: str) -> tuple[Any, str]:
    """Build the model of a YAML for a test, with a student's weights.

    Args:
        options: from :func:`read_student`.
        checkpoint: ``net_g_*.pth``, or any file that :func:`~sapd_plugin.archs.weights.load_weights` reads.
        device: 'cpu', 'cuda', 'cuda:1', ...

    Returns:
        The model, and a note as that of :func:`model_type`.
    """
    path = {**(options.get('path') or {}), 'pretrain_network_g': None}
    cuda = device.startswith('cuda')
    if cuda:
        torch.cuda.set_device(torch.device(device))
    kind, note = model_type(options)
    state = {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': int(cuda)}
    with _quiet():
        model = build_model({'scale': 1, **options, **state, 'model_type': kind, 'path': path})
    load_weights(model.get_bare_model(model.net_g), checkpoint, path.get('param_key_g'))
    return model, note


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide BasicSR's listing of the whole network."""
    logger = get_root_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)

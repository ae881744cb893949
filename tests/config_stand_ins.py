"""What the tests of the shipped configs share: small pictures in a config's own folders, and networks cut down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from torch import nn

from sapd_plugin.archs import NETWORKS
from tests.photos import ROOT

MODELS: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / 'configs/tables/models.yml').read_text(encoding='utf-8'))


def tiny(framework: str, network: str) -> dict[str, Any] | None:
    """What makes a full-size network block of that type small enough for a test; None: no table has it."""
    for model in MODELS.values():
        if network in model['type'].get(framework, ()):
            return model.get('sizes', {}).get('tiny', {framework: {}})[framework]
    return None


def parameters(build: Callable[[dict[str, Any]], nn.Module], block: dict[str, Any]) -> int:
    """Count the parameters of a network; ours need no memory for their weights."""
    with torch.device('meta' if block['type'] in NETWORKS else 'cpu'):
        return sum(p.numel() for p in build(dict(block)).parameters())


def check_sizes(framework: str, model: str, stock: list[dict[str, Any]], build: Callable[..., nn.Module]) -> None:
    """Check that a model's sizes in the tables are what their names say, in every stock network of it."""
    entry = MODELS[model]
    types = entry['type'][framework]
    blocks = [block for block in stock if block['type'] in types]
    if not blocks:  # PReNet's relatives take its configs
        blocks = [{**block, 'type': types[0]} for block in stock if block['type'] == 'PReNet']
    assert blocks
    for block in blocks:
        for size, changes in entry.get('sizes', {}).items():
            low, high = {'small': (1e6, 4e6), 'tiny': (2e4, 1.5e5)}[size]
            assert low < parameters(build, {**block, **changes[framework]}) < high


def write_pictures(folder: Path, names: list[str], height: int, width: int, degraded: bool = False) -> None:
    """Write blotches of colour, with noise on them where ``degraded``; ``names`` without extension, PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        generator = np.random.default_rng(index)
        blotches = generator.uniform(30, 225, (6, 7, 3)).astype(np.float32)
        picture = cv2.resize(blotches, (width, height), interpolation=cv2.INTER_CUBIC)
        if degraded:
            picture = picture + generator.normal(0, 20, picture.shape)
        cv2.imwrite(str(folder / f'{name}.png'), picture.clip(0, 255).astype(np.uint8))

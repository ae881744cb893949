"""A pre-trained BasicSR student as a function from image to image, for cutting masks of what it restores."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from basicsr.models import build_model
from basicsr.utils import bgr2ycbcr, get_root_logger, img2tensor, tensor2img
from basicsr.utils.options import ordered_yaml
from basicsr.utils.registry import MODEL_REGISTRY
from torchvision.transforms.functional import normalize

from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.files import digest
from sapd_plugin.metrics import grey

_PROBE = 64
"""Side of the image that a student has to restore before the run begins."""


def build_restorer(config: Path, checkpoint: Path, device: str) -> BasicSRRestorer:
    """Build the student of a BasicSR YAML, for training or for testing, stock or with SAM priors.

    Args:
        config: its blocks model_type, network_g, scale and path are read, and mean, std and color of its test, val or
            train data set, the first that is there.
        checkpoint: ``net_g_*.pth``. Its EMA weights are taken where there are such, unless path.param_key_g names
            others; also a bare state dict.
        device: 'cpu', 'cuda', 'cuda:1', ...

    Raises:
        SAPDError: for a config, a checkpoint or a model that this cannot work with.
    """
    opt = _read(config)
    if not checkpoint.is_file():
        raise SAPDError(f"--restored-by: found no file {checkpoint}, expected the student's weights.")
    path = dict(opt.get('path') or {})
    path['param_key_g'] = _parameter_key(checkpoint, path.get('param_key_g'))
    path['pretrain_network_g'] = str(checkpoint)
    if device.startswith('cuda'):
        torch.cuda.set_device(torch.device(device))
    state = {'is_train': False, 'dist': False, 'rank': 0, 'world_size': 1, 'num_gpu': int(device.startswith('cuda'))}
    opt = {'scale': 1, **opt, **state, 'path': path}
    try:
        with _quiet():
            restorer = BasicSRRestorer(opt, digest(checkpoint))
        restorer(np.zeros((_PROBE, _PROBE, 3), np.uint8))
    except SAPDError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise SAPDError(
            f'--restored-by: the student of {config} with {checkpoint} does not restore an image: '
            f'{type(error).__name__}: {reason[:500]}. Expected the config that the checkpoint was trained with.'
        ) from error
    return restorer


class BasicSRRestorer:
    """Restores one image as BasicSR's test does: its model's own `test`, so padding and tiling are the model's.

    Args:
        opt: BasicSR's options for testing.
        checkpoint_sha256: of the file that ``path.pretrain_network_g`` names.
    """

    def __init__(self, opt: dict[str, Any], checkpoint_sha256: str) -> None:
        dataset = _dataset(opt)
        self._model = build_model(opt)
        self._color = dataset.get('color')
        self._mean, self._std = dataset.get('mean'), dataset.get('std')
        blocks = {key: opt.get(key) for key in ('model_type', 'base_model_type', 'network_g', 'scale')}
        blocks.update({key: dataset.get(key) for key in ('mean', 'std', 'color')})
        text = json.dumps(blocks, sort_keys=True, default=str)
        self.settings: dict[str, Any] = {
            'framework': 'basicsr',
            'network': str(opt['network_g'].get('type')),
            'config_sha256': hashlib.sha256(text.encode()).hexdigest(),
            'checkpoint_sha256': checkpoint_sha256,
            'weights': opt['path']['param_key_g'] or 'state dict',
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restore an RGB uint8 (h,w,3) image to (H,W,3) uint8: the pixels that BasicSR's test saves."""
        degraded = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.float32) / 255.0
        if self._color == 'y':
            degraded = bgr2ycbcr(degraded, y_only=True)[..., None]
        elif self._color == 'grey':
            degraded = (grey(image) / 255).astype(np.float32)[..., None]
        lq = img2tensor(degraded, bgr2rgb=True, float32=True)
        if self._mean is not None or self._std is not None:
            normalize(lq, self._mean, self._std, inplace=True)
        self._model.feed_data({'lq': lq[None]})
        self._model.test()
        restored = tensor2img([self._model.get_current_visuals()['result']])
        return cv2.cvtColor(restored, cv2.COLOR_GRAY2RGB if restored.ndim == 2 else cv2.COLOR_BGR2RGB)


def _read(config: Path) -> dict[str, Any]:
    try:
        with config.open(encoding='utf-8') as file:
            opt = yaml.load(file, Loader=ordered_yaml()[0])  # BasicSR's own loader, for its own configs
    except (OSError, yaml.YAMLError) as error:
        raise SAPDError(f'--restored-by: {config} cannot be read ({error}), expected a BasicSR YAML.') from error
    for key in ('model_type', 'network_g'):
        if not isinstance(opt, Mapping) or key not in opt:
            raise SAPDError(f"--restored-by: found no '{key}' in {config}, expected a BasicSR YAML.")
    names = sorted(MODEL_REGISTRY.keys())
    if opt['model_type'] not in names and f'{opt["model_type"]}_basicsr' not in names:
        name = opt['model_type']
        raise SAPDError(f"{config}: model_type: found '{name}', expected one of {names}.{nearest(name, names)}")
    return dict(opt)


def _dataset(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data set whose preprocessing counts: that of the first test set, else of validation, else of training."""
    datasets = opt.get('datasets') or {}
    for phase in ('test', 'val', 'train'):
        for name in sorted(datasets):
            if str(name).split('_')[0] == phase:
                return datasets[name]
    return {}


def _parameter_key(checkpoint: Path, named: str | None) -> str | None:
    try:
        state = torch.load(checkpoint, map_location='cpu', weights_only=True)
    except Exception as error:
        raise SAPDError(f"--restored-by: {checkpoint} is no checkpoint ({error}), expected BasicSR's.") from error
    if not isinstance(state, Mapping):
        raise SAPDError(f"--restored-by: {checkpoint} holds a {type(state).__name__}, expected BasicSR's groups.")
    groups = [key for key in ('params_ema', 'params') if key in state]
    if named is not None and named not in state and 'params' not in state:
        raise SAPDError(f"path.param_key_g: found '{named}', expected one of {checkpoint}: {groups or 'none'}.")
    if named is not None:
        return named if named in state else 'params'
    return groups[0] if groups else None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep BasicSR's listing of the whole network off the terminal."""
    logger = get_root_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)

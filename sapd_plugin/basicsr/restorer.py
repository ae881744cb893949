"""A pre-trained BasicSR student as a function from image to image, to extract masks of restored images."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from basicsr.utils import bgr2ycbcr, img2tensor, tensor2img
from torchvision.transforms.functional import normalize

from sapd_plugin.archs.weights import read_checkpoint, weights_group
from sapd_plugin.basicsr.student import build_student, read_student
from sapd_plugin.files import digest
from sapd_plugin.metrics import canonical_color, gray
from sapd_plugin.priors.extraction.restorers import open_restorer


def build_restorer(config: Path, checkpoint: Path, device: str) -> BasicSRRestorer:
    """Build the student of a BasicSR YAML, for training or for testing, stock or with SAM priors.

    Args:
        config: its blocks model_type, network_g, scale and path are read, and mean, std and color of its first test,
            val or train data set. A model_type that is not registered here is replaced by SRModel, see ``note``.
        checkpoint: ``net_g_*.pth``. Its EMA weights are used if there are any, unless path.param_key_g names others. A
            bare state dict works, too.
        device: 'cpu', 'cuda', 'cuda:1', ...

    Raises:
        SAPDError: the config, the checkpoint or the model cannot be used.
    """
    return open_restorer(lambda: BasicSRRestorer(read_student(config), checkpoint, device), config, checkpoint)


class BasicSRRestorer:
    """Restore one image as BasicSR's test does, by the model's own `test`, so padding and tiling are the model's.

    Attributes:
        settings: part of the fingerprint of the masks.
        note: what the user should know of the student, or an empty string.
    """

    def __init__(self, opt: dict[str, Any], checkpoint: Path, device: str) -> None:
        dataset = _dataset(opt)
        self._model, self.note = build_student(opt, checkpoint, device)
        self._color = canonical_color(dataset.get('color'))
        self._mean, self._std = dataset.get('mean'), dataset.get('std')
        blocks = {key: opt.get(key) for key in ('model_type', 'base_model_type', 'network_g')}
        blocks['scale'] = opt.get('scale', 1)
        blocks.update({key: dataset.get(key) for key in ('mean', 'std', 'color')})
        text = json.dumps(blocks, sort_keys=True, default=str)
        group = weights_group(read_checkpoint(checkpoint), (opt.get('path') or {}).get('param_key_g'))
        self.settings: dict[str, Any] = {
            'framework': 'basicsr',
            'network': str(opt['network_g'].get('type')),
            'config_sha256': hashlib.sha256(text.encode()).hexdigest(),
            'checkpoint_sha256': digest(checkpoint),
            'weights': group or 'state dict',
        }

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restore an RGB uint8 (h,w,3) image to (H,W,3) uint8: the pixels that BasicSR's test saves."""
        degraded = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.float32) / 255.0
        if self._color == 'y':
            degraded = bgr2ycbcr(degraded, y_only=True)[..., None]
        elif self._color == 'gray':
            degraded = (gray(image) / 255).astype(np.float32)[..., None]
        lq = img2tensor(degraded, bgr2rgb=True, float32=True)
        if self._mean is not None or self._std is not None:
            normalize(lq, self._mean, self._std, inplace=True)
        self._model.feed_data({'lq': lq[None]})
        self._model.test()
        restored = tensor2img([self._model.get_current_visuals()['result']])
        return cv2.cvtColor(restored, cv2.COLOR_GRAY2RGB if restored.ndim == 2 else cv2.COLOR_BGR2RGB)


def _dataset(opt: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data set whose preprocessing applies: the first test set, else validation, else training."""
    datasets = opt.get('datasets') or {}
    for phase in ('test', 'val', 'train'):
        for name in sorted(datasets):
            if str(name).split('_')[0] == phase:
                return datasets[name]
    return {}

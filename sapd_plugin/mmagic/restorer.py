"""A pre-trained MMagic student as a function from image to image, to extract masks of restored images."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmagic.structures import DataSample
from mmengine.config import Config

from sapd_plugin.files import digest
from sapd_plugin.mmagic.delta import is_sapd_model, plain, stock_model
from sapd_plugin.mmagic.student import build_student, image_loader, read_student
from sapd_plugin.priors.extraction.restorers import open_restorer


def build_restorer(config: Path, checkpoint: Path, device: str) -> MMagicRestorer:
    """Build the student of an MMagic config, stock or with SAM priors.

    Args:
        config: its block ``model`` is read, and the channel order of its validation, test or training pipeline,
            whichever comes first. A model that is not registered here is replaced by BaseEditModel, see ``note``.
        checkpoint: the checkpoint of MMagic's training; its ``state_dict`` is used (averaged, with MMEngine's EMA).
        device: 'cpu', 'cuda', 'cuda:1', ...

    Raises:
        SAPDError: the config, the checkpoint or the model cannot be used.
    """
    return open_restorer(lambda: MMagicRestorer(read_student(config), checkpoint, device), config, checkpoint)


class MMagicRestorer:
    """Restore one image as MMagic's test does, by the model's own ``test_step``. See :func:`build_restorer`.

    Attributes:
        settings: part of the fingerprint of the masks.
        note: what the user should know of the student, or an empty string.
    """

    def __init__(self, config: Config, checkpoint: Path, device: str) -> None:
        self._model, self.note = build_student(config, checkpoint, device)
        loader = image_loader(config)
        self._gray, self._order = loader.get('color_type') == 'grayscale', loader.get('channel_order', 'bgr')
        student = plain(config.model)
        student = stock_model(student) if is_sapd_model(student) else student
        text = json.dumps({'model': student, 'order': self._order, 'grey': self._gray}, sort_keys=True, default=_name)
        self.settings: dict[str, Any] = {
            'framework': 'mmagic',
            'network': _name(student['generator'].get('type')).rpartition('.')[2],
            'config_sha256': hashlib.sha256(text.encode()).hexdigest(),
            'checkpoint_sha256': digest(checkpoint),
        }

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Restore an RGB uint8 (h,w,3) image to (H,W,3) uint8, rounded."""
        if self._gray:
            weights = np.array([0.299, 0.587, 0.114])  # as OpenCV decodes to gray
            image = (image @ weights).round().astype(np.uint8)[..., None]
        elif self._order == 'bgr':
            image = image[..., ::-1]
        degraded = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
        sample = DataSample(metainfo={'img_channel_order': self._order, 'gt_channel_order': self._order})
        sample.set_tensor_data({'gt_img': degraded})  # the preprocessor needs it
        restored = self._model.test_step({'inputs': [degraded], 'data_samples': [sample]})[0].output.pred_img
        pixels = restored.round().clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
        # The preprocessor always returns BGR.
        return np.ascontiguousarray(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[..., ::-1])


def _name(value: Any) -> str:
    """Return the name of a class or function of a config in pure Python, and any other value as text."""
    return f'{value.__module__}.{value.__qualname__}' if callable(value) else str(value)

"""The metric protocols as BasicSR's metrics.

BasicSR's tester rounds images to 8 bits before it passes them to a metric. A protocol that truncates needs
``model_type: FloorSRModel``; a protocol on unrounded images is not available.
"""

from __future__ import annotations

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from basicsr.metrics.metric_util import reorder_image
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import METRIC_REGISTRY, MODEL_REGISTRY
from torch import Tensor

from sapd_plugin.basicsr.base_models import from_basicsr
from sapd_plugin.core import check_block
from sapd_plugin.errors import SAPDError, check_choice, check_keys, misspelt
from sapd_plugin.metrics import check_metric, find_protocol, protocol_psnr, protocol_ssim

KEYS = ('type', 'protocol', 'crop_border', 'input_order', 'better')
_GIVEN = ('img', 'img2')  # by BasicSR's tester


@MODEL_REGISTRY.register()
class FloorSRModel(SRModel):
    """SRModel that passes floor(255 x) / 255 to the tester, whose rounding leaves it unchanged.

    PReNet's authors measure this way: they cast ``255 * output`` to uint8. Training is that of SRModel.
    """

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """Return SRModel's images, 'result' (N,C,H,W) clamped to [0, 1] and quantised to 8 bits."""
        visuals = super().get_current_visuals()
        visuals['result'] = (255 * visuals['result'].float().clamp(0, 1)).floor() / 255
        return visuals


@METRIC_REGISTRY.register()
def calculate_protocol_psnr(
    img: np.ndarray, img2: np.ndarray, protocol: str, crop_border: int = 0, input_order: str = 'HWC', **kwargs: Any
) -> float:
    """Return the PSNR in dB under a protocol of :data:`sapd_plugin.metrics.PROTOCOLS`.

    Args:
        img: restored, BGR uint8 (H,W,3), or gray (H,W); as BasicSR's tester passes it.
        img2: ground truth, same shape.
        protocol: 'rgb', 'y', 'y_rounded' or 'gray'.
        crop_border: pixels cropped from each side.
        input_order: 'HWC' or 'CHW'.
        **kwargs: BasicSR's ``better``.

    Raises:
        SAPDError: an unknown key or protocol, or ``rgb_float``.
    """
    _check('val.metrics', {'protocol': protocol, 'crop_border': crop_border, 'input_order': input_order, **kwargs})
    return protocol_psnr(_rgb(img, input_order), _rgb(img2, input_order), protocol, crop_border)


@METRIC_REGISTRY.register()
def calculate_protocol_ssim(
    img: np.ndarray, img2: np.ndarray, protocol: str, crop_border: int = 0, input_order: str = 'HWC', **kwargs: Any
) -> float:
    """Return the SSIM under a protocol; arguments and errors are :func:`calculate_protocol_psnr`'s."""
    _check('val.metrics', {'protocol': protocol, 'crop_border': crop_border, 'input_order': input_order, **kwargs})
    return protocol_ssim(_rgb(img, input_order), _rgb(img2, input_order), protocol, crop_border)


def check_metrics(opt: Mapping[str, Any]) -> None:
    """Refuse mistakes in ``val.metrics`` of BasicSR's options, before the first image is restored.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    for name, block in ((opt.get('val') or {}).get('metrics') or {}).items():
        where = f'val.metrics.{name}'
        metrics = dict(iter(METRIC_REGISTRY))
        check_block(where, block, metrics.get, metrics, given=_GIVEN)
        metric = metrics.get(block['type'], block['type'])
        _check_spelling(where, block, metric)
        if str(block.get('type')).startswith('calculate_protocol_'):
            _check(where, block)
        if _needs_truth(metric):
            _check_truth(where, block, opt.get('datasets') or {})


def _check_spelling(where: str, block: Mapping[str, Any], metric: Callable[..., Any]) -> None:
    """Refuse keys that a metric ignores: BasicSR's take ``**kwargs``, for ``better``, so any key passes.

    A user's own metric may read other keys from its ``**kwargs``, so of these only misspelt ones are refused.

    Raises:
        SAPDError: naming the key and the nearest valid name.
    """
    kinds = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    named = [name for name, each in inspect.signature(metric).parameters.items() if each.kind not in kinds]
    valid = ['type', *(name for name in named if name not in _GIVEN), 'better']
    check_keys(where, (key for key in block if from_basicsr(metric) or misspelt(key, valid)), valid)


def _check_truth(where: str, block: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """Refuse data sets without the ground truth that a metric compares with. Raises SAPDError."""
    for phase, dataset in datasets.items():
        if dataset.get('type') == 'SingleImageDataset' and phase != 'train':
            raise SAPDError(
                f"{where}: {block['type']} needs a ground truth, which the 'SingleImageDataset' of datasets.{phase} "
                'lacks.'
            )


def _needs_truth(metric: Callable[..., Any]) -> bool:
    parameter = inspect.signature(metric).parameters.get('img2')
    return parameter is not None and parameter.default is parameter.empty


def _rgb(image: np.ndarray, input_order: str) -> np.ndarray:
    return reorder_image(image, input_order)[..., ::-1]


def _check(where: str, block: Mapping[str, Any]) -> None:
    check_keys(where, block, KEYS)
    check_metric(where, block.get('protocol'), block.get('crop_border', 0))
    check_choice(f'{where}.input_order', block.get('input_order', 'HWC'), ('HWC', 'CHW'))
    if find_protocol(block['protocol']).quantise == 'none':
        raise SAPDError(
            f"{where}.protocol: found '{block['protocol']}', but BasicSR's tester rounds images to 8 bits before it "
            "measures them. Use 'rgb', or test with MMagic."
        )

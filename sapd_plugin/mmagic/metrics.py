"""The metric protocols as MMagic's metrics."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from mmagic.evaluation.metrics.base_sample_wise_metric import BaseSampleWiseMetric
from mmagic.registry import METRICS
from torch import Tensor

from sapd_plugin.errors import check_keys
from sapd_plugin.metrics import check_metric, protocol_psnr, protocol_ssim


class _ProtocolMetric(BaseSampleWiseMetric):
    """A metric on ``gt_img`` and ``pred_img`` under a protocol of :data:`sapd_plugin.metrics.PROTOCOLS`.

    It is reported under the name of MMagic's own (``PSNR``, ``SSIM``); ``prefix`` distinguishes several of them.

    Args:
        protocol: 'rgb', 'rgb_float', 'y', 'y_rounded' or 'gray'.
        crop_border: pixels cropped from each side.
        quantise: 'round', 'floor' or 'none' instead of the protocol's own quantisation.
        **base: arguments of BaseSampleWiseMetric: gt_key, pred_key, scaling, device, collect_device, prefix.

    Raises:
        SAPDError: an unknown protocol or quantisation, or an invalid border.
    """

    function: Callable[..., float]

    def __init__(self, protocol: str, crop_border: int = 0, quantise: str | None = None, **base: Any) -> None:
        check_metric(type(self).__name__, protocol, crop_border, quantise)
        known = inspect.signature(BaseSampleWiseMetric).parameters
        check_keys(type(self).__name__, base, [*known, 'protocol', 'crop_border', 'quantise'])
        super().__init__(**base)
        self.protocol, self.crop_border, self.quantise = protocol, crop_border, quantise

    def process_image(self, gt: Any, pred: Any, mask: Any) -> float:
        """Measure one image.

        Args:
            gt: BGR (3,H,W) or gray (1,H,W), 0 to 255: MMagic's preprocessor brings images to BGR for testing.
            pred: same shape, clamped by the preprocessor, not rounded.
            mask: not used.
        """
        truth, restored = (_rgb(image) for image in (gt, pred))
        return type(self).function(restored, truth, self.protocol, self.crop_border, self.quantise)


@METRICS.register_module()
class ProtocolPSNR(_ProtocolMetric):
    """PSNR in dB under a named protocol."""

    metric = 'PSNR'
    function = staticmethod(protocol_psnr)


@METRICS.register_module()
class ProtocolSSIM(_ProtocolMetric):
    """SSIM under a named protocol."""

    metric = 'SSIM'
    function = staticmethod(protocol_ssim)


def _rgb(image: Tensor | np.ndarray) -> np.ndarray:
    array = image.cpu().numpy() if isinstance(image, Tensor) else image
    return array.transpose(1, 2, 0)[..., ::-1]

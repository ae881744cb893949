"""The protocols by name. What a table in a paper means by PSNR is a row here."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError, check_choice, check_count
from sapd_plugin.metrics.color import canonical_color, gray, luma
from sapd_plugin.metrics.quantisation import QUANTISE, to_8_bits


class Protocol(NamedTuple):
    """The color that is compared ('rgb', 'y', 'y_rounded', 'gray'), how a restored image is quantised, who does so."""

    color: str
    quantise: str
    used_by: str


PROTOCOLS: dict[str, Protocol] = {
    'rgb': Protocol('rgb', 'round', 'deblurring, SIDD, Gaussian color denoising'),
    'rgb_float': Protocol('rgb', 'none', "MMagic's own PSNR and SSIM"),
    'y': Protocol('y', 'round', "rgb2ycbcr after im2double (PReNet's authors, quantise: floor); BasicSR"),
    'y_rounded': Protocol(
        'y_rounded', 'round', 'rgb2ycbcr of saved uint8 images: Rain13K tables (MPRNet, Restormer, ...)'
    ),
    'gray': Protocol('gray', 'round', 'Gaussian gray denoising (DnCNN, ...)'),
}


def find_protocol(name: object) -> Protocol:
    """Return the protocol of a name out of :data:`PROTOCOLS`, or of 'grey', which is 'gray'."""
    return PROTOCOLS[str(canonical_color(name))]


def check_metric(where: str, protocol: object, crop_border: object = 0, quantise: object = None) -> None:
    """Refuse a metric with an unknown protocol or invalid settings.

    Args:
        where: the config key that holds the metric, for messages.
        protocol: a key of :data:`PROTOCOLS`, or 'grey'.
        crop_border: pixels, >= 0.
        quantise: one of :data:`~sapd_plugin.metrics.quantisation.QUANTISE`, or None for the protocol's own.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    check_choice(f'{where}.protocol', canonical_color(protocol), PROTOCOLS)
    if quantise is not None:
        check_choice(f'{where}.quantise', quantise, QUANTISE)
    check_count(f'{where}.crop_border', crop_border, at_least=0)


def comparable(
    restored: np.ndarray, truth: np.ndarray, protocol: str, crop_border: int = 0, quantise: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return both images as the protocol compares them.

    Args:
        restored: RGB (H,W,3), or gray (H,W,1) or (H,W), 0 to 255, uint8 or float.
        truth: same shape; 8-bit in all published protocols, and never quantised here.
        protocol: a key of :data:`PROTOCOLS`.
        crop_border: pixels cropped from each side, >= 0.
        quantise: how ``restored`` is brought to 8 bits, 'round', 'floor' or 'none'; None is the protocol's own way.

    Returns:
        Two float64 arrays (h,w,C), C = 3 for rgb and 1 for all others and for gray images.

    Raises:
        SAPDError: settings that :func:`check_metric` refuses, different shapes, arrays that are not images, or a border
            that leaves nothing.
    """
    check_metric('metric', protocol, crop_border, quantise)
    if restored.shape != truth.shape:
        raise SAPDError(f'metric: the restored image is {restored.shape}, the ground truth {truth.shape}.')
    if restored.ndim not in (2, 3) or (restored.ndim == 3 and restored.shape[2] not in (1, 3)):
        raise SAPDError(f'metric: found an image of shape {restored.shape}, expected (H,W,3), (H,W,1) or (H,W).')
    if min(restored.shape[:2]) <= 2 * crop_border:
        raise SAPDError(f'metric.crop_border: {crop_border} pixels leave nothing of an image of {restored.shape[:2]}.')
    color, own, _ = find_protocol(protocol)
    images = to_8_bits(restored, quantise or own), truth.astype(np.float64)
    inside = slice(crop_border, -crop_border or None)
    first, second = (_channels(image[inside, inside], color) for image in images)
    return first, second


def _channels(image: np.ndarray, color: str) -> np.ndarray:
    if image.ndim == 2:
        return image[..., None]
    if image.shape[2] == 1 or color == 'rgb':  # a gray image is compared as it is, whatever the color
        return image
    one = gray(image) if color == 'gray' else luma(image, rounded=color == 'y_rounded')
    return one[..., None]

"""Named protocols: what a table in a paper means by PSNR and SSIM."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError, check_choice, check_count

# 'round': to the nearest integer, as MATLAB's im2uint8 and both frameworks do when they save an image. 'floor':
# truncated, as a cast to uint8 does (PReNet's authors). 'none': only clamped to 0..255.
QUANTISE = ('round', 'floor', 'none')


class Protocol(NamedTuple):
    """A row of :data:`PROTOCOLS`.

    Attributes:
        color: what is compared: 'rgb', 'y', 'y_rounded' or 'gray'.
        quantise: how a restored image is brought to 8 bits, one of :data:`QUANTISE`.
        used_by: who uses the protocol.
    """

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


def canonical_color(name: object) -> object:
    """Return 'gray' for the British 'grey', and any other config value unchanged."""
    return 'gray' if name == 'grey' else name


def find_protocol(name: object) -> Protocol:
    """Return the protocol with this name in :data:`PROTOCOLS`; 'grey' means 'gray'."""
    return PROTOCOLS[str(canonical_color(name))]


def check_metric(where: str, protocol: object, crop_border: object = 0, quantise: object = None) -> None:
    """Refuse a metric with an unknown protocol or invalid settings.

    Args:
        where: config key of the metric, for messages.
        protocol: a key of :data:`PROTOCOLS`, or 'grey'.
        crop_border: pixels, >= 0.
        quantise: one of :data:`QUANTISE`, or None for the protocol's own.

    Raises:
        SAPDError: naming the key, what was found, what is expected and the nearest valid name.
    """
    check_choice(f'{where}.protocol', canonical_color(protocol), PROTOCOLS)
    if quantise is not None:
        check_choice(f'{where}.quantise', quantise, QUANTISE)
    check_count(f'{where}.crop_border', crop_border, at_least=0)


def to_8_bits(image: np.ndarray, quantise: str = 'round') -> np.ndarray:
    """Clamp an image to 0..255 and quantise it to integers.

    Args:
        image: 0 to 255, any shape and dtype.
        quantise: one of :data:`QUANTISE`.

    Returns:
        float64, same shape.

    Raises:
        SAPDError: an unknown ``quantise``.

    >>> to_8_bits(np.array([-3.0, 7.5, 7.4, 300.0])).tolist(), to_8_bits(np.array([7.9]), 'floor').tolist()
    ([0.0, 8.0, 7.0, 255.0], [7.0])
    """
    check_choice('quantise', quantise, QUANTISE)
    values = np.clip(image.astype(np.float64), 0, 255)
    if quantise == 'none':
        return values
    return np.round(values) if quantise == 'round' else np.floor(values)


def luma(rgb: np.ndarray, rounded: bool = False) -> np.ndarray:
    """Return Y of ITU-R BT.601 as MATLAB's ``rgb2ycbcr`` computes it: 16 (black) to 235 (white).

    Args:
        rgb: (H,W,3), 0 to 255, any dtype; computed in float64.
        rounded: round to integers, halves upwards, as ``rgb2ycbcr`` does with a uint8 image; it does not after
            ``im2double``.

    Returns:
        (H,W) float64.

    >>> luma(np.uint8([[[255, 255, 255], [10, 20, 30]]])).round(4).tolist()
    [[235.0, 31.5876]]
    """
    values = rgb.astype(np.float64) @ (np.array([65.481, 128.553, 24.966]) / 255) + 16
    return np.floor(values + 0.5) if rounded else values


def gray(rgb: np.ndarray) -> np.ndarray:
    """Return round(0.2989 R + 0.5870 G + 0.1140 B), with the weights in the documentation of MATLAB's ``rgb2gray``.

    Gray denoising sets (BSD68, ...) are made with these weights. OpenCV's gray differs in the last digit.

    Args:
        rgb: (H,W,3), 0 to 255, any dtype.

    Returns:
        (H,W) float64, integers.

    >>> gray(np.uint8([[[255, 255, 255], [10, 20, 30]]])).tolist()
    [[255.0, 18.0]]
    """
    return np.floor(rgb.astype(np.float64) @ np.array([0.2989, 0.5870, 0.1140]) + 0.5)


def comparable(
    restored: np.ndarray, truth: np.ndarray, protocol: str, crop_border: int = 0, quantise: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return both images as the protocol compares them.

    Args:
        restored: RGB (H,W,3), or gray (H,W,1) or (H,W), 0 to 255, uint8 or float.
        truth: same shape; never quantised, because it has 8 bits in all published protocols.
        protocol: a key of :data:`PROTOCOLS`.
        crop_border: pixels cropped from each side, >= 0.
        quantise: how ``restored`` is brought to 8 bits, one of :data:`QUANTISE`; None means the protocol's own.

    Returns:
        Two float64 arrays (h,w,C); C is 3 for RGB, and 1 for other protocols and for gray images.

    Raises:
        SAPDError: settings that :func:`check_metric` refuses, different shapes, arrays that are not images, or a border
            that leaves no pixels.
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
    if image.shape[2] == 1 or color == 'rgb':  # a gray image is compared as it is, in every protocol
        return image
    one = gray(image) if color == 'gray' else luma(image, rounded=color == 'y_rounded')
    return one[..., None]

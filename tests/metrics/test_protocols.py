"""The protocols against other implementations, on real photos."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from basicsr.metrics.psnr_ssim import _ssim
from skimage.color import rgb2ycbcr

from sapd_plugin.errors import SAPDError
from sapd_plugin.metrics import PROTOCOLS, comparable, gray, luma, protocol_psnr, protocol_ssim, psnr, ssim, to_8_bits
from tests.photos import photographs, rainy


@pytest.fixture(scope='module')
def photos_pair() -> tuple[np.ndarray, np.ndarray]:
    """A rainy photo and its clean one, RGB uint8 321x481."""
    return rainy('001'), photographs()['001']


def test_luma_is_the_exact_one_in_double_precision(photos_pair):
    degraded, _ = photos_pair
    assert np.abs(luma(degraded) - rgb2ycbcr(degraded)[..., 0]).max() < 1e-10
    for red, green, blue in degraded[::80, ::97].reshape(-1, 3).tolist():
        exact = (65_481 * red + 128_553 * green + 24_966 * blue) / Fraction(255_000) + 16
        pixel = np.uint8([[[red, green, blue]]])
        assert abs(Fraction(float(luma(pixel)[0, 0])) - exact) < Fraction(1, 10**12)
        assert luma(pixel, rounded=True)[0, 0] == math.floor(exact + Fraction(1, 2))


def test_grey_is_the_exact_one(photos_pair):
    for red, green, blue in photos_pair[0][::80, ::97].reshape(-1, 3).tolist():
        exact = (2989 * red + 5870 * green + 1140 * blue) / Fraction(10_000)
        assert gray(np.uint8([[[red, green, blue]]]))[0, 0] == math.floor(exact + Fraction(1, 2))


def test_ssim_equals_basicsrs(photos_pair):
    first, second = (luma(photo) for photo in photos_pair)
    assert ssim(first[..., None], second[..., None]) == pytest.approx(_ssim(first, second), abs=1e-10)
    channels = [_ssim(*(photo[..., c].astype(np.float64) for photo in photos_pair)) for c in range(3)]
    assert protocol_ssim(*photos_pair, 'rgb') == pytest.approx(np.mean(channels), abs=1e-10)


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_each_protocol_by_hand(photos_pair, protocol):
    """The PSNR of a float image, crop border 7, with every step written out."""
    degraded, clean = photos_pair
    restored = degraded + np.float32(0.37)
    a, b = restored[7:-7, 7:-7].astype(float), clean[7:-7, 7:-7].astype(float)
    a = np.clip(a, 0, 255)
    if protocol != 'rgb_float':
        a = np.round(a)
    if protocol in ('y', 'y_rounded'):
        a, b = (rgb2ycbcr(image / 255)[..., 0] for image in (a, b))
    if protocol == 'y_rounded':
        a, b = np.round(a), np.round(b)
    if protocol == 'gray':
        a, b = (np.round(image @ [0.2989, 0.587, 0.114]) for image in (a, b))
    expected = 10 * math.log10(255**2 / ((a - b) ** 2).mean())
    assert protocol_psnr(restored, clean, protocol, crop_border=7) == pytest.approx(expected, abs=1e-9)


def test_quantisation():
    values = np.array([-2.0, 0.49, 3.5, 4.5, 254.99, 260.0])
    assert to_8_bits(values, 'round').tolist() == [0, 0, 4, 4, 255, 255]
    assert to_8_bits(values, 'floor').tolist() == [0, 0, 3, 4, 254, 255]
    assert to_8_bits(values, 'none').tolist() == [0, 0.49, 3.5, 4.5, 254.99, 255]
    flat = np.full((16, 16, 3), 9.0)
    assert protocol_psnr(flat + 0.9, flat, 'rgb', quantise='floor') == float('inf')
    assert protocol_psnr(flat + 0.9, flat, 'rgb') == pytest.approx(20 * math.log10(255))
    assert protocol_psnr(flat + 0.9, flat, 'rgb', quantise='none') == pytest.approx(20 * math.log10(255 / 0.9))


def test_grey_images_are_compared_as_they_are():
    flat = np.full((16, 16), 100, np.uint8)
    for protocol in PROTOCOLS:
        for shape in ((16, 16), (16, 16, 1)):
            assert protocol_psnr(flat.reshape(shape), flat.reshape(shape) + 1, protocol) == psnr(flat * 1.0, flat + 1.0)


@pytest.mark.parametrize(
    ('arguments', 'words'),
    [
        ({'protocol': 'y_round'}, ["metric.protocol: found 'y_round'", "Did you mean 'y_rounded'?"]),
        ({'protocol': 'y', 'quantise': 'flor'}, ["metric.quantise: found 'flor'", "Did you mean 'floor'?"]),
        ({'protocol': 'y', 'crop_border': -1}, ['metric.crop_border: found -1']),
        ({'protocol': 'y', 'crop_border': 8}, ['metric.crop_border: 8 pixels leave nothing']),
    ],
)
def test_mistakes_are_named(arguments, words):
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(SAPDError) as raised:
        comparable(image, image, **arguments)
    for word in words:
        assert word in str(raised.value)


def test_shapes_are_checked():
    image = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(SAPDError, match='16, 16, 3.*16, 15, 3'):
        comparable(image, image[:, 1:], 'y')
    with pytest.raises(SAPDError, match='expected'):
        comparable(image[..., :2], image[..., :2], 'y')
    with pytest.raises(SAPDError, match='11x11'):
        protocol_ssim(image, image, 'y', crop_border=3)

"""Which of BasicSR's metrics equals which protocol, on real photos."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from basicsr.metrics import calculate_metric
from basicsr.utils import tensor2img
from basicsr.utils.registry import METRIC_REGISTRY

from sapd_plugin.basicsr.metrics import FloorSRModel, check_metrics
from sapd_plugin.basicsr.options import check_options
from sapd_plugin.errors import SAPDError
from tests.adapters_basicsr.recipes import sapd_options


@pytest.fixture
def images(pairs):
    rainy, clean = (cv2.imread(str(pairs / kind / '001.png')) for kind in ('rainy', 'clean'))
    return {'img': rainy, 'img2': clean}


def measure(images, metric, **settings):
    return calculate_metric(images, {'type': f'calculate_{metric}', 'crop_border': 3, **settings})


@pytest.mark.parametrize('metric', ['psnr', 'ssim'])
def test_basicsrs_own_metrics(images, metric):
    tolerance = 1e-4 if metric == 'psnr' else 1e-6  # BasicSR computes Y in float32
    rgb, y, y_rounded, grey = (
        measure(images, f'protocol_{metric}', protocol=p) for p in ('rgb', 'y', 'y_rounded', 'gray')
    )
    assert measure(images, metric) == pytest.approx(rgb, abs=1e-9)
    own_y = measure(images, metric, test_y_channel=True)
    assert own_y == pytest.approx(y, abs=tolerance)
    assert abs(own_y - y_rounded) > 10 * tolerance
    assert abs(y - grey) > 10 * tolerance
    assert measure(images, f'protocol_{metric}', protocol='grey') == grey  # the British spelling


def test_channels_first_and_grey(images):
    expected = measure(images, 'protocol_psnr', protocol='y')
    turned = {key: image.transpose(2, 0, 1) for key, image in images.items()}
    assert measure(turned, 'protocol_psnr', protocol='y', input_order='CHW') == expected
    one = {key: image[..., 0] for key, image in images.items()}
    assert measure(one, 'protocol_psnr', protocol='grey') == pytest.approx(measure(one, 'psnr'), abs=1e-9)


def test_floor_model_hands_floored_images_to_the_tester():
    values = torch.cat([torch.linspace(-0.1, 1.1, 9997), torch.arange(256) / 255]).view(1, 1, 1, -1)
    model = FloorSRModel.__new__(FloorSRModel)
    model.lq = model.output = values.clone()
    image = tensor2img([model.get_current_visuals()['result']])
    assert image.tolist() == np.uint8(255 * values.clamp(0, 1).numpy()[0, 0]).tolist()
    assert torch.equal(model.output, values)


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ({'protocol': 'y_round'}, ["val.metrics.psnr.protocol: found 'y_round'", "Did you mean 'y_rounded'?"]),
        ({}, ['val.metrics.psnr.protocol: missing']),
        ({'protocol': 'rgb_float'}, ['rounds images to 8 bits', "Use 'rgb'"]),
        ({'protocol': 'y', 'crop_borders': 4}, ["unknown key 'crop_borders'", "Did you mean 'crop_border'?"]),
        ({'protocol': 'y', 'test_y_channel': True}, ["unknown key 'test_y_channel'"]),
        ({'protocol': 'y', 'input_order': 'hwc'}, ["input_order: found 'hwc'"]),
    ],
)
def test_mistakes_are_refused_before_training(pairs, store, images, change, words):
    block = {'type': 'calculate_protocol_psnr', **change}
    opt = sapd_options(pairs, store, **{'val:metrics': {'psnr': block}})
    with pytest.raises(SAPDError) as raised:
        check_options(opt)
    for word in words:
        assert word in str(raised.value)
    if 'protocol' in change:
        with pytest.raises(SAPDError):
            calculate_metric(images, block)


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        (
            {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_chanel': True},
            r"val.metrics.psnr: unknown key 'test_y_chanel'. Valid keys: type, crop_border, input_order, "
            r"test_y_channel, better. Did you mean 'test_y_channel'\?",
        ),
        ({'type': 'calculate_psnr', 'crop_border': 0, 'beter': 'lower'}, r"unknown key 'beter'.*mean 'better'"),
        ({'type': 'calculate_niqe', 'crop_border': 0, 'test_y_channel': True}, r"unknown key 'test_y_channel'"),
        ({'type': 'calculate_own', 'crop_bordr': 0}, r"unknown key 'crop_bordr'.*mean 'crop_border'"),
    ],
)
def test_a_key_that_the_metric_would_ignore_is_refused(own_metric, block, message):
    with pytest.raises(SAPDError, match=message):
        check_metrics({'val': {'metrics': {'psnr': block}}})


@pytest.fixture
def own_metric(monkeypatch):
    def calculate_own(img, img2, crop_border=0, **kwargs):
        return kwargs['network']

    monkeypatch.setitem(METRIC_REGISTRY._obj_map, 'calculate_own', calculate_own)


def test_other_metrics_have_their_own_keys(own_metric):
    check_metrics({'val': {'metrics': {'niqe': {'type': 'calculate_niqe', 'crop_border': 0, 'convert_to': 'gray'}}}})
    check_metrics({'val': {'metrics': {'own': {'type': 'calculate_own', 'network': 'alex', 'better': 'lower'}}}})
    check_metrics({})
    with pytest.raises(SAPDError, match=r'val.metrics.niqe.crop_border: missing, and calculate_niqe needs it'):
        check_metrics({'val': {'metrics': {'niqe': {'type': 'calculate_niqe'}}}})
    with pytest.raises(SAPDError, match=r'val.metrics.psnr: found None, expected a block'):
        check_metrics({'val': {'metrics': {'psnr': None}}})
    with pytest.raises(SAPDError):
        check_metrics({'val': {'metrics': {'a': {'type': 'calculate_protocol_ssim', 'protocol': 'x'}}}})

"""Which of MMagic's metrics equals which protocol, on real photos, through its preprocessor; our losses beside its own."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from mmagic.models.losses import PSNRLoss
from mmagic.registry import DATASETS, METRICS, MODELS
from mmengine.dataset import pseudo_collate
from torch import nn

from sapd_plugin import losses
from sapd_plugin.errors import SAPDError
from sapd_plugin.metrics import protocol_psnr, protocol_ssim
from tests.adapters_mmagic.recipes import stock_config


class Shift(nn.Module):
    """A network whose output lies between the 8-bit steps, and beyond black and white."""

    def forward(self, image, **_):
        return image * 1.05 + 0.37 / 255


@pytest.fixture
def predicted(pairs):
    """What MMagic hands its metrics for one image that is loaded as RGB; and both images as RGB arrays."""
    model = MODELS.build(stock_config(pairs)['model'])
    model.generator = Shift()
    dataset = DATASETS.build(stock_config(pairs)['val_dataloader']['dataset'])
    with torch.no_grad():
        samples = model.test_step(pseudo_collate([dataset[0]]))
    rainy, clean = (cv2.imread(str(pairs / kind / '001.png'))[..., ::-1] for kind in ('rainy', 'clean'))
    restored = np.clip((rainy / np.float32(255) * np.float32(1.05) + np.float32(0.37 / 255)) * np.float32(255), 0, 255)
    return [sample.to_dict() for sample in samples], restored, clean


def measure(samples, **config):
    metric = METRICS.build(config)
    metric.process(None, samples)
    return metric.compute_metrics(metric.results)[metric.metric]


@pytest.mark.parametrize(('name', 'function'), [('PSNR', protocol_psnr), ('SSIM', protocol_ssim)])
def test_mmagics_own_metrics(predicted, name, function):
    samples, restored, clean = predicted
    # MMagic computes in float32, which costs 1e-6 dB here, or 1e-8 of SSIM; the 8-bit steps that its images and Y lack
    # cost at least 6e-4 dB, or 1.5e-5 of SSIM.
    near, far = (1e-5, 1e-4) if name == 'PSNR' else (1e-7, 1e-5)
    for border in (0, 3):
        own = measure(samples, type=name, crop_border=border)
        assert own == pytest.approx(function(restored, clean, 'rgb_float', border), abs=near)
        assert abs(own - function(restored, clean, 'rgb', border)) > far
        own_y = measure(samples, type=name, crop_border=border, convert_to='Y')
        assert own_y == pytest.approx(function(restored, clean, 'y', border, 'none'), abs=near)
        assert abs(own_y - function(restored, clean, 'y_rounded', border)) > far


@pytest.mark.parametrize('protocol', ['rgb', 'rgb_float', 'y', 'y_rounded', 'gray', 'grey'])
@pytest.mark.parametrize('quantise', [None, 'floor', 'none'])
def test_protocol_metrics(predicted, protocol, quantise):
    samples, restored, clean = predicted
    for name, function in (('ProtocolPSNR', protocol_psnr), ('ProtocolSSIM', protocol_ssim)):
        found = measure(samples, type=name, protocol=protocol, crop_border=2, quantise=quantise)
        assert found == pytest.approx(function(restored, clean, protocol, 2, quantise), abs=1e-5)


def test_grey_images(predicted):
    samples, restored, clean = predicted
    one = [{'gt_img': s['gt_img'][:1], 'output': {'pred_img': s['output']['pred_img'][:1]}} for s in samples]
    found = measure(one, type='ProtocolPSNR', protocol='gray')
    assert found == pytest.approx(protocol_psnr(restored[..., 2], clean[..., 2], 'gray'), abs=1e-5)


def test_a_protocol_is_reported_under_its_prefix(predicted):
    samples, restored, clean = predicted
    metric = METRICS.build({'type': 'ProtocolPSNR', 'protocol': 'y', 'prefix': 'luma'})
    metric.size = 1
    metric.process(None, samples)
    assert metric.evaluate() == pytest.approx({'luma/PSNR': protocol_psnr(restored, clean, 'y')}, abs=1e-5)


def test_mistakes_are_named():
    with pytest.raises(SAPDError, match="ProtocolPSNR.protocol: found 'y_round'.*Did you mean 'y_rounded'"):
        METRICS.build({'type': 'ProtocolPSNR', 'protocol': 'y_round'})
    with pytest.raises(SAPDError, match="ProtocolSSIM.quantise: found 'int'"):
        METRICS.build({'type': 'ProtocolSSIM', 'protocol': 'y', 'quantise': 'int'})


@pytest.mark.parametrize('name', losses.LOSSES)
def test_losses_are_registered_where_the_name_is_free(name):
    assert MODELS.get(name) is (PSNRLoss if name == 'PSNRLoss' else losses.LOSSES[name])


def test_our_psnr_loss_is_mmagic_s():
    a, b = torch.rand(2, 2, 3, 16, 16)
    assert losses.PSNRLoss(0.5)(a, b).item() == pytest.approx(PSNRLoss(0.5)(a, b).item(), rel=1e-6)


def test_nested_criteria_are_checked():
    block = {'type': 'MultiOutputLoss', 'criteria': [{'type': 'EdgeLoss', 'weight': 1}]}
    with pytest.raises(SAPDError, match=r"MultiOutputLoss.criteria\[0\]: unknown key 'weight'"):
        MODELS.build(block)

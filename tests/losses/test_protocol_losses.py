"""The published objectives against plain references."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from scipy.ndimage import convolve
from skimage.metrics import structural_similarity
from torch import nn

from sapd_plugin.errors import SAPDError
from sapd_plugin.losses import (
    LOSSES,
    EdgeLoss,
    FrequencyLoss,
    MultiOutputLoss,
    PSNRLoss,
    SSIMLoss,
    laplacian,
    ssim_map,
)
from tests.photos import crop, photographs, rainy


@pytest.fixture(scope='module')
def photos() -> tuple[torch.Tensor, torch.Tensor]:
    """Two rainy and clean pairs, (2,3,61,80) RGB float64 in [0, 1]."""
    stacks = []
    for read in (rainy, photographs().__getitem__):
        images = [crop(read(name), (61, 80)) / 255.0 for name in ('001', '002')]
        stacks.append(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous())
    return stacks[0], stacks[1]


def test_psnr_is_minus_the_mean_psnr_of_the_images_or_of_their_luma(photos):
    rainy, clean = photos
    psnrs = [cv2.PSNR(a.numpy(), b.numpy(), 1.0) for a, b in zip(rainy, clean)]
    assert PSNRLoss()(rainy, clean).item() == pytest.approx(-np.mean(psnrs), abs=1e-3)
    assert PSNRLoss(loss_weight=0.5)(rainy, clean).item() == pytest.approx(-np.mean(psnrs) / 2, abs=1e-3)
    assert PSNRLoss()(clean, clean).item() == pytest.approx(-80)
    weights = np.array([65.481, 128.553, 24.966])
    luma = [(16 + np.moveaxis(image.numpy(), 1, -1) @ weights) / 255 for image in photos]
    psnrs = [cv2.PSNR(a, b, 1.0) for a, b in zip(*luma)]
    assert PSNRLoss(toY=True)(rainy, clean).item() == pytest.approx(-np.mean(psnrs), abs=1e-3)


def test_ssim_is_that_of_scikit_image_away_from_the_border(photos):
    rainy, clean = photos
    ours = ssim_map(rainy, clean)
    for n in range(2):
        _, theirs = structural_similarity(
            rainy[n].numpy(),
            clean[n].numpy(),
            channel_axis=0,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        assert np.abs(ours[n].numpy() - theirs)[:, 5:-5, 5:-5].max() < 1e-9
    assert SSIMLoss(loss_weight=2)(rainy, clean).item() == pytest.approx(-2 * ours.mean().item())


def test_laplacian_is_the_image_less_its_blurred_and_decimated_self(photos):
    image = photos[1][:1]
    kernel = np.outer(*[[0.05, 0.25, 0.4, 0.25, 0.05]] * 2)
    for channel, found in zip(image[0].numpy(), laplacian(image)[0].numpy()):
        spread = np.zeros_like(channel)
        spread[::2, ::2] = 4 * convolve(channel, kernel, mode='nearest')[::2, ::2]
        expected = channel - convolve(spread, kernel, mode='nearest')
        assert np.abs(found - expected).max() < 1e-12
    flat = torch.full((1, 3, 16, 16), 0.7, dtype=torch.float64)
    assert laplacian(flat)[..., 4:-4, 4:-4].abs().max() < 1e-12


def test_edge_loss_is_charbonnier_of_the_laplacians(photos):
    difference = laplacian(photos[0]) - laplacian(photos[1])
    expected = (difference**2 + 1e-6).sqrt().mean().item()
    assert EdgeLoss(loss_weight=0.05)(*photos).item() == pytest.approx(0.05 * expected)


def test_frequency_loss_is_l1_of_real_and_imaginary_parts(photos):
    a, b = (np.fft.fft2(image.numpy()) for image in photos)
    expected = np.concatenate([np.abs((a - b).real), np.abs((a - b).imag)]).mean()
    assert FrequencyLoss(loss_weight=0.1)(*photos).item() == pytest.approx(0.1 * expected)


@pytest.mark.parametrize('name', LOSSES)
def test_gradients(name):
    torch.manual_seed(0)
    loss = LOSSES[name]()
    restored, target = (torch.rand(2, 3, 7, 6, dtype=torch.float64) for _ in range(2))
    assert torch.autograd.gradcheck(lambda image: loss(image, target), (restored.requires_grad_(),))


@pytest.mark.parametrize('name', LOSSES)
def test_half_precision_is_computed_in_single(name):
    torch.manual_seed(0)
    loss = LOSSES[name]()
    restored, target = (torch.rand(1, 3, 24, 24).bfloat16() for _ in range(2))
    expected = loss(restored.double(), target.double()).item()
    with torch.autocast('cpu', torch.bfloat16):
        found = loss(restored, target.float())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize('name', LOSSES)
def test_what_is_no_pair_of_images_is_refused(name):
    image = torch.rand(1, 3, 8, 8)
    with pytest.raises(SAPDError, match=rf'{name}: found a restored image of \(1, 3, 8, 8\).*\(1, 3, 4, 4\)'):
        LOSSES[name]()(image, image[..., :4, :4])
    with pytest.raises(SAPDError, match=rf'{name}: the network returns list.*MultiOutputLoss'):
        LOSSES[name]()([image], image)


def test_psnr_loss_has_one_reduction():
    with pytest.raises(SAPDError, match=r"reduction: found 'sum', expected one of mean"):
        PSNRLoss(reduction='sum')


def test_multi_output_sums_criteria_over_stages_and_scales():
    torch.manual_seed(0)
    gt = torch.rand(2, 3, 16, 24)
    coarse, stage, final = torch.rand(2, 3, 4, 6), torch.rand(2, 3, 16, 24), torch.rand(2, 3, 16, 24)
    # Bilinear interpolation by 4 takes the mean of the four pixels around each centre.
    small = (gt[..., 1::4, 1::4] + gt[..., 1::4, 2::4] + gt[..., 2::4, 1::4] + gt[..., 2::4, 2::4]) / 4
    loss = MultiOutputLoss([nn.L1Loss(), FrequencyLoss(0.1)], loss_weight=0.5)
    pairs = [(coarse, small), (stage, gt), (final, gt)]
    expected = sum((a - b).abs().mean() + FrequencyLoss(0.1)(a, b) for a, b in pairs) / 2
    assert loss([coarse, stage, final], gt).item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss((coarse,), gt).item() == pytest.approx(
        (((coarse - small).abs().mean() + FrequencyLoss(0.1)(coarse, small)) / 2).item(), rel=1e-5
    )
    assert torch.equal(loss(final, gt), loss([final], gt))


def test_multi_output_refuses_what_it_cannot_sum():
    with pytest.raises(SAPDError, match=r'MultiOutputLoss.criteria: empty'):
        MultiOutputLoss([])
    for output in ({}, [], 'image', [torch.rand(1, 3, 4, 4), None]):
        with pytest.raises(SAPDError, match='MultiOutputLoss: the network returns'):
            MultiOutputLoss([nn.L1Loss()])(output, torch.rand(1, 3, 4, 4))

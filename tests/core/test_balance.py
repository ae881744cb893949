from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sapd_plugin.core import Contribution, balanced
from sapd_plugin.losses import PSNRLoss

TRUE = torch.tensor(True)


def images() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    gt, noise, less = (torch.rand(2, 3, 8, 8, generator=g) for _ in range(3))
    return gt + 0.1 * noise, gt, gt + 0.05 * less


def gradient(loss, y, target) -> torch.Tensor:
    y = y.detach().requires_grad_()
    return torch.autograd.grad(loss(y, target), y)[0]


@pytest.mark.parametrize('scale', [1.0, 65536.0])
@pytest.mark.parametrize('base', [F.l1_loss, PSNRLoss()], ids=['L1', 'PSNR'])
def test_a_share_is_of_the_bases_gradient_whatever_the_loss_and_its_scale(base, scale):
    y, gt, z = images()
    own, spd = scale * gradient(base, y, gt), gradient(F.l1_loss, y, z)
    total, shares = balanced(own, [Contribution('spd', spd, 0.2, TRUE)], torch.tensor(scale))
    added = total - own
    assert (added.norm() / own.norm()).item() == pytest.approx(0.2, rel=1e-4)
    assert shares['spd'].item() == pytest.approx(0.2, rel=1e-5)
    assert F.cosine_similarity(added.flatten(), spd.flatten(), dim=0) > 0.9999


def test_without_balance_gradients_follow_the_loss_scale():
    y, gt, z = images()
    own, spd, sgr = gradient(F.l1_loss, y, gt), gradient(F.l1_loss, y, z), gradient(F.mse_loss, y, z)
    total, shares = balanced(8 * own, [Contribution('spd', spd, None, TRUE), Contribution('sgr', sgr, None, TRUE)], 8.0)
    assert torch.equal(total, 8 * (own + (spd + sgr)))
    assert shares['spd'].item() == pytest.approx((spd.norm() / own.norm()).item())
    assert shares['sgr'].item() == pytest.approx((sgr.norm() / own.norm()).item())


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_the_sum_is_rounded_once_to_the_dtype_of_the_bases_gradient(dtype):
    own = torch.full((1, 1, 4, 4), 1e-3, dtype=dtype)
    first, second = torch.full((1, 1, 4, 4), 2.0**-20), torch.full((1, 1, 4, 4), 3e-6)
    contributions = [Contribution('spd', first, None, TRUE), Contribution('sgr', second, None, TRUE)]
    total, _ = balanced(own, contributions)
    wide = own if dtype == torch.float64 else own.float()
    assert torch.equal(total, (wide + (first + second)).to(dtype))


def test_what_is_not_finite_or_empty_leaves_the_gradient_as_it_is():
    own = torch.rand(1, 3, 4, 4)
    nan, zero = torch.full_like(own, torch.nan), torch.zeros_like(own)
    for left_out in (
        Contribution('spd', nan, None, TRUE),
        Contribution('spd', nan, 0.1, TRUE),
        Contribution('spd', zero, 0.1, TRUE),
        Contribution('spd', own, 0.1, ~TRUE),
    ):
        total, shares = balanced(own, [left_out])
        assert torch.equal(total, own)
        assert shares['spd'] == 0
    assert balanced(own, []) == (own, {})
    infinite = own.clone()
    infinite[0, 0, 0, 0] = torch.inf
    total, _ = balanced(infinite, [Contribution('spd', own, 0.1, TRUE)])
    assert not total.isfinite().all()  # the framework's scaler sees the overflow
    assert torch.equal(balanced(zero, [Contribution('spd', own, 0.1, TRUE)])[0], zero)

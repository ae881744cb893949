from __future__ import annotations

import torch

from sapd_plugin.core.outputs import with_zero_gradients


def test_unused_images_get_gradients_of_zero_even_if_they_overflow():
    image, coarse = torch.rand(1, 3, 4, 4, requires_grad=True), torch.rand(1, 3, 2, 2, requires_grad=True)
    fine = 2 * image
    overflowed = coarse + torch.inf
    result = with_zero_gradients(fine, [overflowed, fine])
    assert torch.equal(result, fine)
    result.sum().backward()
    assert torch.equal(image.grad, torch.full_like(image, 2))
    assert torch.equal(coarse.grad, torch.zeros_like(coarse))
    half = with_zero_gradients(image.half(), [coarse.bfloat16()])
    assert half.dtype == torch.float16
    coarse.grad = None
    half.sum().backward()
    assert torch.equal(coarse.grad, torch.zeros_like(coarse))

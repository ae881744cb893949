from __future__ import annotations

import pytest
import torch
from segment_anything.modeling.image_encoder import Attention
from torch import nn

from sapd_plugin.priors.segmenters.fast.encoder import RowwiseAttention, fold_batch_norm
from sapd_plugin.priors.segmenters.tiny_vit import TinyViT


def test_folded_batch_norm_changes_nothing() -> None:
    """The official checkpoint has BatchNorms that are no identity."""
    torch.manual_seed(0)
    encoder = TinyViT().double().eval().requires_grad_(False)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.running_mean.normal_(std=0.1)
        norm.running_var.uniform_(0.5, 2)
        norm.weight.uniform_(0.5, 2)
        norm.bias.normal_(std=0.1)
    image = torch.randn(1, 3, 128, 128, dtype=torch.float64)
    before = encoder(image)
    fold_batch_norm(encoder)
    assert len(norms) > 20
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    torch.testing.assert_close(encoder(image), before, rtol=0, atol=1e-10)


@pytest.mark.parametrize('side', [8, 11])
def test_row_by_row_attention_equals_the_stock_layer(side: int) -> None:
    torch.manual_seed(0)
    stock = Attention(48, num_heads=4, use_rel_pos=True, input_size=(side, side)).double().requires_grad_(False)
    for parameter in (stock.rel_pos_h, stock.rel_pos_w):
        parameter.normal_()
    x = torch.randn(1, side, side, 48, dtype=torch.float64)
    torch.testing.assert_close(RowwiseAttention(stock)(x), stock(x), rtol=0, atol=1e-14)

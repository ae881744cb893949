from __future__ import annotations

import numpy as np
import pytest
import torch
from segment_anything.modeling import MaskDecoder, Sam, TwoWayTransformer
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters.fast.decoder import decode
from sapd_plugin.priors.segmenters.fast.image_side import ImageSide
from sapd_plugin.priors.segmenters.fast.prompting import Prompter, pool_padding
from sapd_plugin.priors.segmenters.fast.upscale import Upscaler


def ours(
    decoder: MaskDecoder,
    tokens: Tensor,
    positions: Tensor,
    grid: tuple[int, int],
    prompts: Tensor,
    bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    image = ImageSide(decoder, tokens, positions, grid, bias)
    decoded = decode(decoder, image, prompts)
    upscaler = Upscaler(decoder)
    return torch.stack([upscaler(image, decoded, prompt) for prompt in range(len(prompts))]), decoded.iou


@pytest.mark.parametrize('grid', [(12, 12), (20, 5)])
def test_it_equals_the_stock_decoder_in_double_precision(mask_decoder: MaskDecoder, grid: tuple[int, int]) -> None:
    embedding, positions = torch.randn(2, 1, 256, *grid, dtype=torch.float64)
    dense = torch.randn(1, 256, 1, 1, dtype=torch.float64).expand(1, 256, *grid)
    prompts = torch.randn(5, 2, 256, dtype=torch.float64)
    masks, iou = mask_decoder(embedding, positions, prompts, dense.expand(5, -1, -1, -1), multimask_output=True)
    tokens = (embedding + dense)[0].flatten(1).T
    own_masks, own_iou = ours(mask_decoder, tokens, positions[0].flatten(1).T, grid, prompts)
    assert masks.abs().mean() > 0.1
    torch.testing.assert_close(own_masks, masks, rtol=0, atol=1e-12)
    torch.testing.assert_close(own_iou, iou, rtol=0, atol=1e-12)


@pytest.mark.parametrize('portrait', [False, True])
def test_it_equals_the_stock_decoder_on_a_photo(mobile_sam: Sam, bird: np.ndarray, portrait: bool) -> None:
    photo = np.ascontiguousarray(bird.transpose(1, 0, 2)) if portrait else bird
    points = np.array([[0.3, 0.2], [0.5, 0.6], [0.9, 0.9]]) * photo.shape[1::-1]
    encoded = Prompter(mobile_sam).encode(photo)
    with torch.inference_mode():
        decoded = encoded.decode(points)
        logits, scores = encoded.passing(decoded, torch.ones(3, 3, dtype=torch.bool), [0, 1, 2])
        resize = ResizeLongestSide(1024)
        pixels = torch.from_numpy(resize.apply_image(photo)).permute(2, 0, 1)[None]
        embedding = mobile_sam.image_encoder(mobile_sam.preprocess(pixels))
        coordinates = torch.from_numpy(resize.apply_coords(points, photo.shape[:2]))[:, None]
        sparse, dense = mobile_sam.prompt_encoder((coordinates, torch.ones(3, 1)), None, None)
        stock, iou = mobile_sam.mask_decoder(embedding, mobile_sam.prompt_encoder.get_dense_pe(), sparse, dense, True)
    rows, columns = encoded.geometry.logits_size
    stock = stock[:, :, :rows, :columns].flatten(0, 1)
    torch.testing.assert_close(logits, stock, rtol=0, atol=2e-3)
    assert torch.equal(scores, decoded.iou.flatten())
    torch.testing.assert_close(decoded.iou, iou, rtol=0, atol=1e-5)
    assert ((logits > 0) != (stock > 0)).double().mean() < 1e-5


def test_equal_padding_tokens_are_pooled_without_a_difference(mask_decoder: MaskDecoder) -> None:
    """Sixteen equal tokens draw as much attention as one whose score is raised by log 16."""
    tokens, positions = torch.randn(2, 64, 64, 256, dtype=torch.float64)
    tokens[:, 59:] = tokens[0, 60]
    positions[:, 59:] = positions[0, 60]
    tokens, positions = tokens.flatten(0, 1), positions.flatten(0, 1)
    prompts = torch.randn(2, 2, 256, dtype=torch.float64)
    order = torch.arange(4096).view(64, 64)
    order = torch.cat([order[:, :59].reshape(-1), order[:, 59:].reshape(-1)])
    masks, iou = ours(mask_decoder, tokens[order], positions[order], (64, 59), prompts)
    pooled, pooled_positions, bias = pool_padding(tokens, positions, (64, 59))
    assert len(pooled) == 64 * 59 + 16 * 2
    pooled_masks, pooled_iou = ours(mask_decoder, pooled, pooled_positions, (64, 59), prompts, bias)
    torch.testing.assert_close(pooled_masks, masks, rtol=0, atol=1e-12)
    torch.testing.assert_close(pooled_iou, iou, rtol=0, atol=1e-12)


@pytest.mark.parametrize('grid', [(43, 64), (64, 43), (64, 64), (64, 1), (61, 64)])
def test_pooled_tokens_stand_for_all_that_were(grid: tuple[int, int]) -> None:
    tokens, positions = torch.randn(2, 4096, 8, dtype=torch.float64)
    pooled, pooled_positions, bias = pool_padding(tokens, positions, grid)
    counts = bias.exp()
    torch.testing.assert_close(counts.sum(), torch.tensor(4096.0, dtype=torch.float64))
    torch.testing.assert_close(counts @ pooled, tokens.sum(0))
    torch.testing.assert_close(counts @ pooled_positions, positions.sum(0))
    inside = tokens.view(64, 64, 8)[: grid[0], : grid[1]].flatten(0, 1)
    torch.testing.assert_close(pooled[: len(inside)], inside)


def test_another_depth_is_refused() -> None:
    transformer = TwoWayTransformer(depth=1, embedding_dim=256, num_heads=8, mlp_dim=64)
    decoder = MaskDecoder(transformer_dim=256, transformer=transformer)
    with pytest.raises(SAPDError, match='found a transformer of 1 layers, expected 2'):
        ImageSide(decoder, torch.zeros(4, 256), torch.zeros(4, 256), (2, 2))

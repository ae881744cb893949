from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer
from torch import nn

from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import Segmenter, build_segmenter
from sapd_plugin.priors.segmenters.checkpoints import load_state
from sapd_plugin.priors.segmenters.sam import build_sam
from sapd_plugin.priors.segmenters.tiny_vit import TinyViT
from tests.photos import photographs


def untrained(encoder: nn.Module) -> Sam:
    """SAM around an image encoder, with random weights."""
    prompts = PromptEncoder(
        embed_dim=256, image_embedding_size=(64, 64), input_image_size=(1024, 1024), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=256, num_heads=8, mlp_dim=2048)
    sam = Sam(encoder, prompts, MaskDecoder(transformer_dim=256, transformer=transformer))
    return sam.eval().requires_grad_(False)


@pytest.fixture(scope='session')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MobileSAM with random weights, made sure of its masks: with predicted IoU and stability as real ones have them."""
    torch.manual_seed(0)
    sam = untrained(TinyViT())
    decoder = sam.mask_decoder
    for parameter in decoder.transformer.parameters():
        if parameter.ndim > 1:
            parameter.mul_(2)  # masks then depend on the prompt
    for mlp in decoder.output_hypernetworks_mlps:
        for parameter in mlp.layers[-1].parameters():
            parameter.mul_(300)
    decoder.iou_prediction_head.layers[-1].weight.mul_(0.1)
    decoder.iou_prediction_head.layers[-1].bias.fill_(0.9)
    path = tmp_path_factory.mktemp('sam') / 'mobile_sam.pt'
    torch.save(sam.state_dict(), path)
    return path


@pytest.fixture(scope='session')
def bird() -> np.ndarray:
    """A rocket in the sky, 321x481."""
    return photographs()['005']


@pytest.fixture(scope='session')
def street() -> np.ndarray:
    """Many objects, 321x481."""
    return photographs()['001']


@pytest.fixture(scope='session')
def fast(published_checkpoint: Path) -> Segmenter:
    """The default: MobileSAM, preset 'fast'."""
    return build_segmenter('mobile_sam', checkpoint=published_checkpoint)


@pytest.fixture(scope='session')
def real_street(calibration_data: Path) -> np.ndarray:
    """The photo that the expected quality of MobileSAM's masks was measured on, 321x481."""
    return read_image(calibration_data / 'rain100l' / 'clean' / '001.png')


@pytest.fixture(scope='session')
def street_map(fast: Segmenter, real_street: np.ndarray) -> LabelMap:
    return fast(real_street)


@pytest.fixture
def mobile_sam(checkpoint: Path) -> Sam:
    """A new one for each test: generators change the encoder in place."""
    return build_sam(load_state(checkpoint), str(checkpoint))


@pytest.fixture
def mask_decoder() -> MaskDecoder:
    """SAM's, with random weights, norms included, in double precision."""
    torch.manual_seed(0)
    decoder = untrained(nn.Identity()).mask_decoder.double()
    for parameter in decoder.parameters():
        if parameter.ndim == 1:
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
        else:
            parameter.mul_(1.5)
    return decoder


@pytest.fixture
def small_vit() -> Sam:
    """SAM with a ViT of two layers, one windowed and one global, random weights."""
    torch.manual_seed(0)
    encoder = ImageEncoderViT(
        depth=2, embed_dim=96, num_heads=4, use_rel_pos=True, window_size=14, global_attn_indexes=(1,)
    )
    for block in encoder.blocks:
        torch.nn.init.normal_(block.attn.rel_pos_h, std=0.1)
        torch.nn.init.normal_(block.attn.rel_pos_w, std=0.1)
    return untrained(encoder)

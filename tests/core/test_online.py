from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from sapd_plugin.core import SPF, Distiller, OnlineMasks, SPDLoss, Supervision, ToRGB, build_online
from sapd_plugin.errors import SAPDError
from tests.precision import HALF


def bright(photo):
    """1 where red is above 127, 2 elsewhere."""
    return 2 - (photo[..., 0] > 127).astype('int64')


def test_each_image_is_segmented_as_rgb_uint8():
    rgb = torch.rand(2, 3, 5, 7)
    masks = OnlineMasks(bright)(rgb)
    assert masks.dtype == torch.int32
    assert torch.equal(masks, 2 - ((rgb[:, :1] * 255).round() > 127).int())
    assert OnlineMasks(bright)(rgb * 3 - 1).shape == (2, 1, 5, 7)  # out of range: clamped


@pytest.mark.parametrize('dtype', HALF)
def test_the_segmenter_does_not_see_the_training_s_autocast(dtype):
    """SAM's decoder writes into given tensors, which autocast does not cover."""
    seen = []

    def segment(photo):
        seen.append((torch.ones(2, 2) @ torch.ones(2, 2)).dtype)
        return bright(photo)

    rgb = torch.rand(2, 3, 5, 7)
    with torch.autocast('cpu', dtype=dtype):
        masks = OnlineMasks(segment)(rgb.to(dtype))
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype  # the training's is back
    assert seen == [torch.float32, torch.float32]
    assert torch.equal(masks, OnlineMasks(bright)(rgb.to(dtype)))


def test_the_distiller_uses_online_masks_when_they_are_due():
    online = OnlineMasks(bright, every=3)
    assert [online.due(iteration) for iteration in range(1, 7)] == [False, False, True, False, False, True]
    to_rgb = ToRGB(mean=[0.5] * 3, std=[0.5] * 3)
    distiller = Distiller(SPF(torch.nn.Identity(), fusion='none'), F.l1_loss, SPDLoss(), to_rgb=to_rgb, online=online)
    y, gt = torch.rand(1, 3, 6, 6, requires_grad=True), torch.rand(1, 3, 6, 6)
    stored = torch.ones(1, 1, 6, 6, dtype=torch.int32)
    assert torch.equal(distiller(y, Supervision(gt, stored, order='bgr'), 2).mask, stored)
    extracted = distiller(y, Supervision(gt, stored, order='bgr'), 3).mask
    assert torch.equal(extracted, 2 - (((y[:, 2:] * 0.5 + 0.5) * 255).round() > 127).int())
    with pytest.raises(SAPDError, match='the training batch holds no masks'):
        distiller(y, Supervision(gt, None), 2)
    assert torch.equal(distiller(y, Supervision(gt, None, order='bgr'), 3).mask, extracted)


@pytest.mark.parametrize('every', [0, -1, 1.5, True])
def test_mistakes_are_named(every):
    with pytest.raises(SAPDError, match=r'model.online.every: found .*, expected an integer >= 1'):
        build_online('model.online', {'every': every}, lambda settings: bright)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import (
    SEGMENTERS,
    build_online_segmenter,
    build_segmenter,
    find_sam_checkpoint,
    register_segmenter,
)
from sapd_plugin.priors.segmenters.checkpoints import detect_variant, load_state
from sapd_plugin.priors.segmenters.sam import build_sam


@pytest.fixture
def empty_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No checkpoint but what a test puts into this torch hub cache."""
    monkeypatch.delenv('SAPD_SAM_CHECKPOINT', raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    cache = tmp_path / 'hub' / 'checkpoints'
    cache.mkdir(parents=True)
    return cache


def test_felzenszwalb_covers_a_photo(bird: np.ndarray) -> None:
    segmenter = build_segmenter('felzenszwalb')
    label_map = segmenter(bird)
    assert label_map.shape == bird.shape[:2]
    assert label_map.coverage == 1.0
    assert 5 <= len(label_map) <= 100
    assert label_map.regions['area'].min() >= segmenter.settings['parameters']['min_size']
    assert np.isnan(label_map.regions['predicted_iou']).all()
    np.testing.assert_array_equal(segmenter(bird).labels, label_map.labels)


@pytest.mark.parametrize(
    ('name', 'settings', 'message'),
    [
        ('felzenswalb', {}, r"found 'felzenswalb', .* Did you mean 'felzenszwalb'\?"),
        ('felzenszwalb', {'minsize': 3}, r"'felzenszwalb': unknown key 'minsize'\. .* Did you mean 'min_size'\?"),
        ('felzenszwalb', {'scale': 'big'}, "scale: found 'big', expected a number"),
        ('felzenszwalb', {'min_size': 0.5}, r'min_size: found 0.5, expected an integer >= 0'),
        ('felzenszwalb', {'max_pixels': 0}, 'max_pixels: found 0, expected an integer >= 1'),
        ('sam_vit_b', {'variant': 'sam_vit_h'}, r"'sam_vit_b': unknown key 'variant'"),
        ('sam', {'variant': 'sam_vit_x'}, r"variant: found 'sam_vit_x', .* Did you mean 'sam_vit_[hlb]'"),
        ('sam', {'device': 'tpu9'}, "device: found 'tpu9'"),
        ('sam', {'preset': 'quick'}, "preset: found 'quick', expected one of fast, stock"),
        ('sam', {'dtype': 'bf16'}, r"dtype: found 'bf16', .* Did you mean 'bfloat16'\?"),
        ('sam2_hiera_tiny', {'preset': 'fast'}, "'sam2_hiera_tiny': unknown key 'preset'"),
    ],
)
def test_an_unknown_name_or_setting_is_refused_with_the_nearest(
    name: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SAPDError, match=message):
        build_segmenter(name, **settings)


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ({'preset': 'stock', 'points_per_side': 0}, 'points_per_side: found 0, expected an integer >= 1'),
        ({'points_per_batch': 0}, 'points_per_batch: found 0, expected an integer >= 1'),
        ({'pred_iou_thresh': 80}, 'pred_iou_thresh: found 80, expected a number in \\[0, 1\\]'),
        ({'mask_nms_thresh': 7}, 'mask_nms_thresh: found 7, expected a number in \\[0, 1\\]'),
        ({'points_per_side': 12}, "preset 'fast': unknown key 'points_per_side'"),
        ({'crop_n_layers': 1}, "preset 'fast': unknown key 'crop_n_layers'"),
        ({'preset': 'stock', 'mask_nms_thresh': 0.7}, r"'stock': unknown key 'mask_nms_thresh'\. .*'box_nms_thresh'\?"),
    ],
)
def test_settings_that_a_preset_does_not_take_are_refused(
    checkpoint: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SAPDError, match=message):
        build_segmenter('mobile_sam', checkpoint=checkpoint, **settings)


class Whole:
    def __init__(self, label: int = 1) -> None:
        self.settings = {'segmenter': 'whole', 'parameters': {'label': label}}

    def __call__(self, image: np.ndarray) -> LabelMap:
        return LabelMap.from_labels(np.ones(image.shape[:2], int))


def test_users_register_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('sapd_plugin.priors.segmenters.registry.SEGMENTERS', dict(SEGMENTERS))
    register_segmenter('own')(Whole)
    segmenter = build_segmenter('own', label=2)
    assert segmenter.settings['parameters'] == {'label': 2}
    assert len(segmenter(np.zeros((4, 6, 3), np.uint8))) == 1
    with pytest.raises(SAPDError, match="'own': is already registered"):
        register_segmenter('own')(Whole)


def test_an_installed_package_offers_a_segmenter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    information = tmp_path / 'offer-1.0.dist-info'
    information.mkdir()
    (information / 'METADATA').write_text('Metadata-Version: 2.1\nName: offer\nVersion: 1.0\n')
    (information / 'entry_points.txt').write_text(f'[sapd_plugin.segmenters]\nwhole = {__name__}:Whole\n')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr('sapd_plugin.priors.segmenters.registry.SEGMENTERS', dict(SEGMENTERS))
    assert len(build_segmenter('whole')(np.zeros((4, 6, 3), np.uint8))) == 1
    with pytest.raises(SAPDError, match="found 'whol', expected one of .*felzenszwalb.* Did you mean 'whole'"):
        build_segmenter('whol')


def test_mobile_sam_gives_the_reference_outputs(published_checkpoint: Path, calibration_data: Path) -> None:
    """The reference is onnxruntime's; its pre-processing resizes by OpenCV's bilinear."""
    import cv2

    photo = read_image(calibration_data / 'cbsd68/3096.png')
    expected = np.load(calibration_data / 'sam/reference_onnx_cbsd68_3096.npz')
    sam = build_sam(load_state(published_checkpoint), str(published_checkpoint))
    height, width = photo.shape[:2]
    scale = 1024 / max(height, width)
    size = (int(width * scale + 0.5), int(height * scale + 0.5))
    resized = cv2.resize(photo, size, interpolation=cv2.INTER_LINEAR)
    with torch.no_grad():
        embedding = sam.image_encoder(sam.preprocess(torch.from_numpy(resized).permute(2, 0, 1)[None].float()))
        point = torch.tensor(expected['point_xy'], dtype=torch.float32).view(1, 1, 2) * scale
        sparse, dense = sam.prompt_encoder(points=(point, torch.ones(1, 1)), boxes=None, masks=None)
        logits, iou = sam.mask_decoder(
            image_embeddings=embedding,
            image_pe=sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=True,
        )
        best = int(iou.argmax())
        mask = sam.postprocess_masks(logits[:, best : best + 1], size[::-1], (height, width))[0, 0] > 0
    np.testing.assert_allclose(embedding[0, :32], expected['embedding_ch0_31'], atol=1e-5)
    np.testing.assert_allclose(logits[0, best], expected['low_res_logits'], atol=5e-4)
    np.testing.assert_allclose(iou[0, best], expected['iou'][0], atol=1e-4)
    assert (mask.numpy() != expected['mask']).mean() < 1e-4


def test_the_official_mobile_sam_has_a_classifier_that_is_left_out(checkpoint: Path) -> None:
    state = load_state(checkpoint)
    state['image_encoder.norm_head.weight'] = torch.ones(320)
    state['image_encoder.norm_head.bias'] = torch.zeros(320)
    state['image_encoder.head.weight'] = torch.zeros(1000, 320)
    state['image_encoder.head.bias'] = torch.zeros(1000)
    sam = build_sam(state, 'official')
    name = 'image_encoder.layers.2.blocks.5.attn.qkv.weight'
    assert torch.equal(sam.state_dict()[name], state[name])
    assert not any('head.' in key and key.startswith('image_encoder') for key in sam.state_dict())
    del state[name]
    with pytest.raises(SAPDError, match=f'official: does not fit mobile_sam: .*{name}'):
        build_sam(state, 'official')


def test_mobile_sam_segments_a_photo(street: np.ndarray, checkpoint: Path) -> None:
    segmenter = build_segmenter('sam', checkpoint=checkpoint, preset='stock', points_per_side=2)
    label_map = segmenter(np.ascontiguousarray(street[80:240, 140:300]))
    assert label_map.shape == (160, 160)
    assert len(label_map) >= 1
    assert (label_map.regions['predicted_iou'] >= 0.79).all()
    assert (label_map.regions['stability'] >= 0.84).all()
    assert segmenter.settings['segmenter'] == 'mobile_sam'
    assert segmenter.settings['parameters']['pred_iou_thresh'] == 0.80
    assert len(segmenter.settings['checkpoint_sha256']) == 64


def test_the_variant_is_told_from_the_names(checkpoint: Path) -> None:
    assert detect_variant(load_state(checkpoint), checkpoint) == 'mobile_sam'
    for variant, depth in (('sam_vit_b', 12), ('sam_vit_l', 24), ('sam_vit_h', 32)):
        assert detect_variant([f'image_encoder.blocks.{i}.norm1.weight' for i in range(depth)], 'x') == variant
    with pytest.raises(SAPDError, match=r"x holds 1 other names, expected SAM's"):
        detect_variant(['conv.weight'], 'x')


def test_vit_b_is_built_from_its_names() -> None:
    from segment_anything import sam_model_registry

    state = sam_model_registry['vit_b']().state_dict()
    sam = build_sam(state, 'vit_b')
    name = 'image_encoder.blocks.11.attn.qkv.weight'
    assert torch.equal(sam.state_dict()[name], state[name])
    assert not any(parameter.requires_grad for parameter in sam.parameters())


def test_checkpoints_are_looked_for_in_order(
    empty_places: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_sam_checkpoint() is None
    for name in ('mobile_sam.pt', 'sam_vit_b_01ec64.pth'):
        (empty_places / name).write_bytes(b'x')
    assert find_sam_checkpoint() == empty_places / 'sam_vit_b_01ec64.pth'
    assert find_sam_checkpoint(variant='mobile_sam') == empty_places / 'mobile_sam.pt'
    mine = tmp_path / 'mine.pth'
    mine.write_bytes(b'x')
    monkeypatch.setenv('SAPD_SAM_CHECKPOINT', str(mine))
    assert find_sam_checkpoint() == mine
    assert find_sam_checkpoint(empty_places / 'mobile_sam.pt') == empty_places / 'mobile_sam.pt'
    monkeypatch.setenv('SAPD_SAM_CHECKPOINT', 'nowhere.pth')
    with pytest.raises(SAPDError, match='SAPD_SAM_CHECKPOINT: found no file nowhere.pth'):
        find_sam_checkpoint()
    with pytest.raises(SAPDError, match=r'checkpoint: found no file gone.pth'):
        find_sam_checkpoint('gone.pth')


def test_a_missing_checkpoint_names_the_places(empty_places: Path) -> None:
    with pytest.raises(SAPDError) as caught:
        build_segmenter('sam_vit_h')
    for part in ('SAPD_SAM_CHECKPOINT', str(empty_places / 'sam_vit_h_4b8939.pth'), "setting 'checkpoint'"):
        assert part in str(caught.value)
    assert str(caught.value).startswith("segmenter 'sam_vit_h': found no checkpoint.")


def test_a_wrong_checkpoint_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(SAPDError, match='checkpoint: found one of mobile_sam in .*, expected sam_vit_b'):
        build_segmenter('sam_vit_b', checkpoint=checkpoint)
    (tmp_path / 'junk.pt').write_bytes(b'junk')
    with pytest.raises(SAPDError, match=r'checkpoint: .*junk.pt is not a checkpoint \(.*\), expected SAM'):
        build_segmenter('sam', checkpoint=tmp_path / 'junk.pt')
    torch.save([1, 2], tmp_path / 'list.pt')
    with pytest.raises(SAPDError, match=r'checkpoint: .*list.pt holds a list, expected SAM'):
        build_segmenter('sam', checkpoint=tmp_path / 'list.pt')


def test_mobile_sam_segments_in_the_training_loop(checkpoint: Path, street: np.ndarray) -> None:
    """MobileSAM on a patch of a photo, as the adapters call it."""
    block = {'segmenter': 'mobile_sam', 'checkpoint': str(checkpoint)}
    photo = street[100:196, 60:180]
    labels = build_online_segmenter('model.online', block, 'cpu')(np.ascontiguousarray(photo))
    assert labels.shape == (96, 120)
    assert labels.max() >= 1


@pytest.mark.parametrize(
    ('block', 'message'),
    [
        ({'preset': 'fast'}, 'model.online.segmenter: missing'),
        ({'segmenter': 'mobile_sm'}, "segmenter: found 'mobile_sm'.*Did you mean 'mobile_sam'"),
        ({'segmenter': 'felzenszwalb', 'preset': 'fast'}, "model.online: unknown key 'preset'"),
    ],
)
def test_mistakes_of_an_online_block_are_named(block: dict[str, str], message: str) -> None:
    with pytest.raises(SAPDError, match=message):
        build_online_segmenter('model.online', block)

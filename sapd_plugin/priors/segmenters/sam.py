"""The SAM family: Kirillov et al., "Segment Anything", ICCV 2023, and MobileSAM."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from sapd_plugin.errors import SAPDError, check_keys
from sapd_plugin.files import digest
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import checkpoints
from sapd_plugin.priors.segmenters.registry import register_segmenter
from sapd_plugin.values import Count, File, Natural, Share, Valid, checked, one_of

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from sapd_plugin.priors.segmenters.fast.masks import Masks

DTYPES = ('float32', 'bfloat16', 'float16')

# Increased whenever a change to the generators changes masks; part of a store's fingerprint.
GENERATOR_VERSION = 1

# (predicted IoU, stability), for both presets. Those of the ViTs are the authors'.
#
# MobileSAM's were chosen with preset 'fast' on 12 photos of BSDS500 outside the test sets, each clean, rainy
# (synthetic) and noisy: the strictest of seven pairs that cover at least 90 % of each of the 36 images. Coverage, mean
# of the clean images / minimum of all: 79 / 0 % at 0.88/0.95, 93 / 52 % at 0.80/0.90, 98 / 94 % at 0.80/0.85. In
# agreement between the maps of a photo and of its degraded versions (covering 0.53 to 0.66), no pair is best for both
# degradations.
THRESHOLDS = {
    'sam_vit_h': (0.88, 0.95),
    'sam_vit_l': (0.88, 0.95),
    'sam_vit_b': (0.88, 0.95),
    'mobile_sam': (0.80, 0.85),
}

# Settings of each preset besides the thresholds, with their defaults.
_PRESETS: dict[str, dict[str, Any]] = {
    'fast': {'mask_nms_thresh': 0.7, 'points_per_batch': 16},
    'stock': {
        'points_per_side': 32,
        'points_per_batch': 16,
        'box_nms_thresh': 0.7,
        'crop_n_layers': 0,
        'min_mask_region_area': 0,
    },
}
# Of preset 'stock' on a GPU, which small batches leave idle. Preset 'fast' has the same number everywhere, because
# there it changes the masks.
_POINTS_PER_BATCH_ON_GPU = 64


def build_sam(state: dict[str, Any], where: str) -> Sam:
    """Build the SAM variant that a state dict holds, in evaluation mode on the CPU.

    Args:
        state: names and tensors of an official checkpoint; MobileSAM's classifier head is left out.
        where: the state dict's origin, for messages.

    Raises:
        SAPDError: names or shapes do not match.
    """
    from segment_anything import sam_model_registry

    variant = checkpoints.detect_variant(state, where)
    if variant == 'mobile_sam':
        from sapd_plugin.priors.segmenters.tiny_vit import TinyViT

        sam = sam_model_registry['vit_b']()
        sam.image_encoder = TinyViT()
        heads = ('image_encoder.norm_head.', 'image_encoder.head.')
        state = {key: value for key, value in state.items() if not key.startswith(heads)}
    else:
        sam = sam_model_registry[variant.removeprefix('sam_')]()
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise SAPDError(f'{where}: does not fit {variant}: {" ".join(str(error).split())}') from error
    return sam.eval().requires_grad_(False)


def check_device(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a device which PyTorch can use. Raises SAPDError."""
    import torch

    try:
        kind = torch.device(value if isinstance(value, str) else '').type
    except RuntimeError as error:
        raise SAPDError(f"{key}: found {value!r}, expected 'cpu' or 'cuda'.") from error
    if kind == 'cuda' and not torch.cuda.is_available():
        raise SAPDError(f"{key}: found {value!r} and no usable GPU, expected 'cpu'.")


Device = Annotated[str, Valid(check_device)]


class SamSegmenter:
    """Segment by prompting SAM with points and keeping the masks with high scores.

    Preset 'fast' prompts only what is not covered yet, and filters at low resolution. Preset 'stock' gives the masks of
    segment_anything's ``SamAutomaticMaskGenerator``, from a fixed grid, with less work.

    Args:
        variant: 'sam_vit_h', 'sam_vit_l', 'sam_vit_b' or 'mobile_sam'; None means the checkpoint's.
        checkpoint: an official checkpoint; None means that `find_sam_checkpoint` finds one.
        device: 'cpu', 'cuda', 'cuda:1', ...
        preset: 'fast' or 'stock'.
        dtype: 'float32', or the half precision to autocast the image encoder to: 'bfloat16', 'float16'.
        pred_iou_thresh: minimum predicted IoU of a mask, 0..1; None means `THRESHOLDS`.
        stability_score_thresh: minimum stability of a mask, 0..1; None means `THRESHOLDS`.
        points_per_batch: prompts per batch; 16 if None, with 'stock' on a GPU 64. With 'stock', it affects only memory
            and speed; with 'fast', also the masks, because the next batch does not prompt what this one covers.
        mask_nms_thresh: 'fast': of two masks that overlap more (IoU), the better one is kept; 0.7 if None.
        points_per_side: 'stock': the grid has this many points squared; 32 if None.
        box_nms_thresh: 'stock': of two masks whose boxes overlap more (IoU), the better one is kept; 0.7 if None.
        crop_n_layers: 'stock': number of finer layers of image crops that are prompted, too; 0 if None.
        min_mask_region_area: 'stock': pixels; fills smaller holes and drops smaller islands of a mask; 0 if None.

    Raises:
        SAPDError: a missing or different checkpoint, an unavailable device, a setting out of range, or one that the
            preset does not have.
    """

    @checked
    def __init__(
        self,
        variant: Annotated[str, one_of(*checkpoints.OFFICIAL_FILES)] | None = None,
        checkpoint: File | None = None,
        device: Device = 'cpu',
        preset: Annotated[str, one_of(*_PRESETS)] = 'fast',
        dtype: Annotated[str, one_of(*DTYPES)] = 'float32',
        pred_iou_thresh: Share | None = None,
        stability_score_thresh: Share | None = None,
        points_per_batch: Count | None = None,
        mask_nms_thresh: Share | None = None,
        points_per_side: Count | None = None,
        box_nms_thresh: Share | None = None,
        crop_n_layers: Natural | None = None,
        min_mask_region_area: Natural | None = None,
    ) -> None:
        path = checkpoints.require_sam_checkpoint(checkpoint, variant)
        state = checkpoints.load_state(path)
        found = checkpoints.detect_variant(state, path)
        if variant not in (None, found):
            raise SAPDError(f'checkpoint: found one of {found} in {path}, expected {variant}.')
        given = {
            'pred_iou_thresh': pred_iou_thresh,
            'stability_score_thresh': stability_score_thresh,
            'points_per_batch': points_per_batch,
            'mask_nms_thresh': mask_nms_thresh,
            'points_per_side': points_per_side,
            'box_nms_thresh': box_nms_thresh,
            'crop_n_layers': crop_n_layers,
            'min_mask_region_area': min_mask_region_area,
        }
        parameters = _parameters(found, preset, device, given)
        decisive = {key: value for key, value in parameters.items() if (preset, key) != ('stock', 'points_per_batch')}
        self.checkpoint = path
        self.settings: dict[str, Any] = {
            'segmenter': found,
            'preset': preset,
            'generator_version': GENERATOR_VERSION,
            'parameters': {'dtype': dtype, **decisive},
            'checkpoint_sha256': digest(path),
            'device': device,
            'versions': {package: version(package) for package in ('torch', 'torchvision', 'segment-anything')},
        }
        # They import torch and segment_anything, which other segmenters do not need.
        from sapd_plugin.priors.segmenters.fast.adaptive import AdaptiveGenerator
        from sapd_plugin.priors.segmenters.fast.prompting import Prompter
        from sapd_plugin.priors.segmenters.fast.stock import StockGenerator

        prompter = Prompter(build_sam(state, str(path)).to(device), dtype, pool=preset == 'fast')
        self._generate: Callable[[np.ndarray], Masks] = (
            AdaptiveGenerator(prompter, **parameters) if preset == 'fast' else StockGenerator(prompter, **parameters)
        )

    def masks(self, image: np.ndarray) -> Masks:
        """Segment an RGB uint8 (H,W,3) image into overlapping masks, by descending predicted IoU; there may be none."""
        return self._generate(image)

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image. Pixels that no mask covers are 0; the map may have no region."""
        found = self.masks(image)
        shape = image.shape[0], image.shape[1]
        return LabelMap.from_masks(found.masks, list(found.predicted_iou), list(found.stability), shape=shape)


def _parameters(variant: str, preset: str, device: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of a preset, with defaults for those that are None, after checking them."""
    iou, stability = THRESHOLDS[variant]
    defaults = {'pred_iou_thresh': iou, 'stability_score_thresh': stability, **_PRESETS[preset]}
    if preset == 'stock' and device.startswith('cuda'):
        defaults['points_per_batch'] = _POINTS_PER_BATCH_ON_GPU
    given = {key: value for key, value in settings.items() if value is not None}
    check_keys(f"preset '{preset}'", given, defaults)
    return {**defaults, **given}


register_segmenter('sam')(SamSegmenter)
for _name in checkpoints.OFFICIAL_FILES:
    # Bound by position, the variant is not in the signature, so it is not a setting.
    register_segmenter(_name)(partial(SamSegmenter, _name))

"""The SAM family: Kirillov et al., "Segment Anything", ICCV 2023, and MobileSAM, through the stock mask generator."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import checkpoints
from sapd_plugin.priors.segmenters.registry import register_segmenter

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

_STOCK_THRESHOLDS = (0.88, 0.95)
_THRESHOLDS = {'mobile_sam': (0.80, 0.85)}
"""(predicted IoU, stability). With MobileSAM the stock ones leave a quarter of a photo without masks."""


def build_sam(state: dict[str, Any], where: str) -> Sam:
    """Build the SAM variant that a state dict holds, in evaluation mode on the CPU.

    Args:
        state: names and tensors of an official checkpoint; MobileSAM's classifier head is left out.
        where: the state dict's origin, for messages.

    Raises:
        SAPDError: for names or shapes that do not fit.
    """
    from segment_anything import sam_model_registry

    variant = checkpoints.tell_variant(state, where)
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


class SamSegmenter:
    """Prompt SAM with a grid of points and keep the masks it is sure of.

    Args:
        variant: 'sam_vit_h', 'sam_vit_l', 'sam_vit_b' or 'mobile_sam'; None takes what the checkpoint holds.
        checkpoint: an official checkpoint; None looks where `find_sam_checkpoint` looks.
        device: 'cpu', 'cuda', 'cuda:1', ...
        points_per_side: the grid has this many points squared.
        pred_iou_thresh: least predicted IoU of a mask, 0..1; None takes 0.88, for MobileSAM 0.80.
        stability_score_thresh: least stability of a mask, 0..1; None takes 0.95, for MobileSAM 0.85.
        box_nms_thresh: of two masks whose boxes overlap more (IoU), the better one stays.
        crop_n_layers: prompts crops of the image as well, in this many finer layers.
        min_mask_region_area: pixels; fills smaller holes and drops smaller islands of a mask.
        points_per_batch: prompts at once; memory and speed alone.

    Raises:
        SAPDError: for a missing or other checkpoint, a device that is not there, or a setting out of range.
    """

    def __init__(
        self,
        variant: str | None = None,
        checkpoint: str | Path | None = None,
        device: str = 'cpu',
        points_per_side: int = 32,
        pred_iou_thresh: float | None = None,
        stability_score_thresh: float | None = None,
        box_nms_thresh: float = 0.7,
        crop_n_layers: int = 0,
        min_mask_region_area: int = 0,
        points_per_batch: int = 64,
    ) -> None:
        if variant is not None:
            check_choice('variant', variant, checkpoints.OFFICIAL_FILES)
        self._device = _check_device(device)
        path = checkpoints.require_sam_checkpoint(checkpoint, variant)
        state = checkpoints.load_state(path)
        found = checkpoints.tell_variant(state, path)
        if variant not in (None, found):
            raise SAPDError(f"segmenter '{variant}': found a checkpoint of {found} in {path}, expected {variant}.")
        iou, stability = _THRESHOLDS.get(found, _STOCK_THRESHOLDS)
        parameters = {
            'points_per_side': points_per_side,
            'pred_iou_thresh': iou if pred_iou_thresh is None else pred_iou_thresh,
            'stability_score_thresh': stability if stability_score_thresh is None else stability_score_thresh,
            'box_nms_thresh': box_nms_thresh,
            'crop_n_layers': crop_n_layers,
            'min_mask_region_area': min_mask_region_area,
        }
        _check_parameters(found, {**parameters, 'points_per_batch': points_per_batch})
        self.checkpoint = path
        self.settings: dict[str, Any] = {
            'segmenter': found,
            'generator': 'stock',
            'parameters': parameters,
            'checkpoint_sha256': checkpoints.sha256(path),
            'device': device,
            'versions': _versions(),
        }
        self._generate = self._build(build_sam(state, str(path)), points_per_batch, parameters)

    def _build(
        self, sam: Sam, points_per_batch: int, parameters: dict[str, Any]
    ) -> Callable[[np.ndarray], list[dict[str, Any]]]:
        from segment_anything import SamAutomaticMaskGenerator

        sam.to(self._device)
        return SamAutomaticMaskGenerator(sam, points_per_batch=points_per_batch, **parameters).generate

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image. Pixels that no mask covers are 0; the map may have no region."""
        masks = self._generate(image)
        return LabelMap.from_masks(
            [mask['segmentation'] for mask in masks],
            [mask['predicted_iou'] for mask in masks],
            [mask['stability_score'] for mask in masks],
            shape=(image.shape[0], image.shape[1]),
        )


def _check_device(device: str) -> str:
    import torch

    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise SAPDError(f"device: found {device!r}, expected 'cpu' or 'cuda'.") from error
    if kind == 'cuda' and not torch.cuda.is_available():
        raise SAPDError(f"device: found {device!r} and no usable GPU, expected 'cpu'.")
    return device


def _check_parameters(variant: str, parameters: dict[str, Any]) -> None:
    for key, value in parameters.items():
        share = key.endswith('_thresh')
        least = 1 if key.startswith('points_') else 0
        kind = 'a number from 0 to 1' if share else f'a whole number of {least} or more'
        fits = isinstance(value, (int, float) if share else int) and not isinstance(value, bool)
        if not fits or value < least or (share and value > 1):
            raise SAPDError(f"segmenter '{variant}': {key}: found {value!r}, expected {kind}.")


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {package: version(package) for package in ('torch', 'torchvision', 'segment-anything')}


register_segmenter('sam')(SamSegmenter)
for _name in checkpoints.OFFICIAL_FILES:
    # Given by position, the variant is no longer in the signature, hence no setting.
    register_segmenter(_name)(partial(SamSegmenter, _name))

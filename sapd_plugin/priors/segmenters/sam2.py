"""SAM 2 through its own package's generator: Ravi et al., "SAM 2: Segment Anything in Images and Videos", ICLR 2025."""

from __future__ import annotations

from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.files import digest
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import checkpoints
from sapd_plugin.priors.segmenters.registry import register_segmenter
from sapd_plugin.priors.segmenters.sam import Device
from sapd_plugin.values import Count, File, Natural, Share, checked

_SIZES = {'tiny': 't', 'small': 's', 'base_plus': 'b+', 'large': 'l'}
# Variant -> its configuration in the package ``sam2``; the authors' checkpoint has the name of the variant.
CONFIGS = {
    f'{family}_hiera_{size}': f'configs/{family}/{family}_hiera_{letter}.yaml'
    for family in ('sam2', 'sam2.1')
    for size, letter in _SIZES.items()
}


class Sam2Segmenter:
    """Segment by prompting SAM 2 with a grid of points and keeping masks with high scores. Needs the package ``sam2``.

    Args:
        variant: one of `CONFIGS`.
        checkpoint: the authors' checkpoint of this variant; None means SAPD_SAM_CHECKPOINT.
        device: 'cpu', 'cuda', 'cuda:1', ...
        points_per_side: the grid has this many points squared.
        pred_iou_thresh: minimum predicted IoU of a mask, 0..1; the default is the authors'.
        stability_score_thresh: minimum stability of a mask, 0..1; the default is the authors'.
        box_nms_thresh: of two masks whose boxes overlap more (IoU), the better one is kept.
        crop_n_layers: number of finer layers of image crops that are prompted, too.
        points_per_batch: prompts per batch; affects only memory and speed.

    Raises:
        SAPDError: the package is not installed, a missing or different checkpoint, an unavailable device, or a setting
            out of range.
    """

    @checked
    def __init__(
        self,
        variant: str,
        checkpoint: File | None = None,
        device: Device = 'cpu',
        points_per_side: Count = 32,
        pred_iou_thresh: Share = 0.8,
        stability_score_thresh: Share = 0.95,
        box_nms_thresh: Share = 0.7,
        crop_n_layers: Natural = 0,
        points_per_batch: Count = 64,
    ) -> None:
        installed = _installed(variant)
        parameters = {
            'points_per_side': points_per_side,
            'pred_iou_thresh': pred_iou_thresh,
            'stability_score_thresh': stability_score_thresh,
            'box_nms_thresh': box_nms_thresh,
            'crop_n_layers': crop_n_layers,
        }
        path = checkpoints.find_sam_checkpoint(checkpoint, variant)
        if path is None:
            raise SAPDError(
                f"segmenter '{variant}': found no checkpoint, neither as setting 'checkpoint' nor in the environment "
                f"variable {checkpoints.ENVIRONMENT_VARIABLE}. Expected the authors' file: {variant}.pt."
            )
        self.checkpoint = path
        self.settings: dict[str, Any] = {
            'segmenter': variant,
            'parameters': parameters,
            'checkpoint_sha256': digest(path),
            'device': device,
            'versions': installed,
        }
        model = _build(variant, path).to(device)
        from sam2.automatic_mask_generator import SAM2AutomaticMaskGenerator

        self._generator = SAM2AutomaticMaskGenerator(model, points_per_batch=points_per_batch, **parameters)

    def __call__(self, image: np.ndarray) -> LabelMap:
        """Segment an RGB uint8 (H,W,3) image. Pixels that no mask covers are 0; the map may have no region."""
        import torch

        with torch.inference_mode():
            masks = self._generator.generate(image)
        return LabelMap.from_masks(
            [mask['segmentation'] for mask in masks],
            [mask['predicted_iou'] for mask in masks],
            [mask['stability_score'] for mask in masks],
            shape=(image.shape[0], image.shape[1]),
        )


def _installed(variant: str) -> dict[str, str]:
    try:
        return {package: version(package) for package in ('torch', 'torchvision', 'sam2')}
    except PackageNotFoundError as error:
        raise SAPDError(
            f"segmenter '{variant}': found no package {error.name}, expected it installed: pip install sam2."
        ) from error


def _build(variant: str, path: Path) -> Any:
    from sam2.build_sam import build_sam2

    # Without a checkpoint, because the package reports a wrong one only by a log line and an empty error.
    model = build_sam2(CONFIGS[variant], device='cpu')
    try:
        model.load_state_dict(checkpoints.load_state(path))
    except RuntimeError as error:
        raise SAPDError(f'{path}: does not fit {variant}: {" ".join(str(error).split())[:300]}') from error
    return model.requires_grad_(False)


for _name in CONFIGS:
    # Bound by position, the variant is not in the signature, so it is not a setting.
    register_segmenter(_name)(partial(Sam2Segmenter, _name))

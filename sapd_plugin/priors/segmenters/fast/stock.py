"""The stock generator's masks (segment_anything ``SamAutomaticMaskGenerator``) with less work.

The grid, filters and order are the same. It avoids the decoder's repeated work (`decoder`), masks of prompts that the
predicted IoU rules out, the second upsampling (`geometry`), and run-length encoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from segment_anything.utils.amg import (
    MaskData,
    batch_iterator,
    batched_mask_to_box,
    build_all_layer_point_grids,
    generate_crop_boxes,
    is_box_near_crop_edge,
    remove_small_regions,
    uncrop_boxes_xyxy,
    uncrop_masks,
)
from torch import Tensor
from torchvision.ops import nms

from sapd_plugin.priors.segmenters.fast.masks import Masks, boxes_of, stability_score
from sapd_plugin.priors.segmenters.fast.prompting import Prompter

# As in the stock generator.
CROP_NMS_THRESH = 0.7
CROP_OVERLAP_RATIO = 512 / 1500
# Masks enlarged at once; 30 MB at 1280x720.
_MASKS_AT_ONCE = 8


@dataclass
class StockGenerator:
    """Generate masks of a photo with the settings of the stock generator; ``points_per_batch`` bounds the memory."""

    prompter: Prompter
    points_per_side: int
    pred_iou_thresh: float
    stability_score_thresh: float
    box_nms_thresh: float
    crop_n_layers: int
    min_mask_region_area: int
    points_per_batch: int

    @torch.inference_mode()
    def __call__(self, image: np.ndarray) -> Masks:
        """Segment an RGB uint8 (H,W,3) photo; masks by descending predicted IoU."""
        height, width = image.shape[:2]
        grids = build_all_layer_point_grids(self.points_per_side, self.crop_n_layers, 1)
        crops, layers = generate_crop_boxes((height, width), self.crop_n_layers, CROP_OVERLAP_RATIO)
        found = _no_masks()
        for crop, layer in zip(crops, layers):
            candidates = self._segment_crop(image, crop, grids[layer])
            candidates.filter(nms(candidates['boxes'], candidates['iou'], self.box_nms_thresh))
            found.cat(candidates)
        if len(crops) > 1:
            # Masks of smaller crops are finer.
            found.filter(nms(found['boxes'], 1 / found['crop_area'], CROP_NMS_THRESH))
        bits = np.array(found['bits'], np.uint8).reshape(-1, -(-height * width // 8))
        masks = np.unpackbits(bits, axis=1, count=height * width).view(bool).reshape(-1, height, width)
        result = Masks(masks, found['iou'].numpy(), found['stability'].numpy())
        return self._clean(result) if self.min_mask_region_area else result

    def _segment_crop(self, image: np.ndarray, crop: list[int], grid: np.ndarray) -> MaskData:
        """Collect all masks of a crop that pass the filters, in the order of the prompts."""
        x0, y0, x1, y1 = crop
        photo = self.prompter.encode(image[y0:y1, x0:x1])
        candidates = _no_masks()
        for (points,) in batch_iterator(self.points_per_batch, grid * (x1 - x0, y1 - y0)):
            decoded = photo.decode(points)
            passed = decoded.iou > self.pred_iou_thresh if self.pred_iou_thresh > 0 else decoded.iou.isfinite()
            passed = passed.cpu()
            prompts = passed.any(1).nonzero()[:, 0].tolist()
            # At most three masks per prompt.
            for (some,) in batch_iterator(_MASKS_AT_ONCE // 2, prompts):
                logits, iou = photo.passing(decoded, passed, some)
                candidates.cat(self._filter(photo.geometry.enlarge(logits), iou, crop, image.shape[:2]))
        return candidates

    def _filter(self, logits: Tensor, iou: Tensor, crop: list[int], size: tuple[int, ...]) -> MaskData:
        """Drop masks that are unstable or cut off by the crop; move the others into the photo's frame."""
        threshold = self.prompter.sam.mask_threshold
        height, width = size
        stability = stability_score(logits, threshold)
        boxes = boxes_of(logits, threshold)
        kept = ~is_box_near_crop_edge(boxes, crop, [0, 0, width, height])
        if self.stability_score_thresh > 0:
            kept &= stability >= self.stability_score_thresh
        kept = kept.nonzero()[:, 0]
        masks = uncrop_masks(logits[kept] > threshold, crop, height, width)
        return MaskData(
            bits=list(np.packbits(masks.flatten(1).cpu().numpy(), axis=1)),
            boxes=uncrop_boxes_xyxy(boxes[kept], crop).float().cpu(),
            iou=iou[kept].cpu(),
            stability=stability[kept].cpu(),
            crop_area=torch.full((len(masks),), (crop[2] - crop[0]) * (crop[3] - crop[1])),
        )

    def _clean(self, masks: Masks) -> Masks:
        """Fill small holes, drop small islands, and drop the resulting duplicates; unchanged masks are preferred."""
        if not len(masks.masks):
            return masks
        cleaned, untouched = masks.masks.copy(), []
        for mask in cleaned:
            changed = False
            for mode in ('holes', 'islands'):
                mask[:], once = remove_small_regions(mask, self.min_mask_region_area, mode)
                changed |= once
            untouched.append(float(not changed))
        boxes = batched_mask_to_box(torch.from_numpy(cleaned)).float()
        thresh = max(self.box_nms_thresh, CROP_NMS_THRESH)
        kept = nms(boxes, torch.tensor(untouched), thresh).numpy()
        return Masks(cleaned[kept], masks.predicted_iou[kept], masks.stability[kept])


def _no_masks() -> MaskData:
    """Return an empty list of masks, kept as bits on the host: 1/8 byte per pixel and mask."""
    numbers = {name: torch.zeros(0) for name in ('iou', 'stability', 'crop_area')}
    return MaskData(bits=[], boxes=torch.zeros(0, 4), **numbers)

"""One generator on some photos, in a process of its own; `benchmarks.extract` starts it and reads what it writes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import sapd_plugin.priors.segmenters.fast  # noqa: F401  (its imports are no part of the memory that is measured)
from sapd_plugin.evaluation.memory import resident
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.segmenters.checkpoints import detect_variant, load_state
from sapd_plugin.priors.segmenters.sam import THRESHOLDS, build_sam

Generator = Callable[[np.ndarray], np.ndarray]


def upstream(checkpoint: Path, points: int) -> Generator:
    """The generator of segment_anything itself, with the thresholds that suit the variant."""
    from segment_anything import SamAutomaticMaskGenerator

    state = load_state(checkpoint)
    iou, stability = THRESHOLDS[detect_variant(state, checkpoint)]
    generator = SamAutomaticMaskGenerator(
        build_sam(state, str(checkpoint)),
        points_per_side=points,
        pred_iou_thresh=iou,
        stability_score_thresh=stability,
    )
    return lambda image: np.stack(
        [mask['segmentation'] for mask in generator.generate(image)] or [np.zeros((0, *image.shape[:2]), bool)]
    ).reshape(-1, *image.shape[:2])


def build(name: str, checkpoint: Path, points: int) -> Generator:
    """Build 'upstream', 'stock' or 'fast'."""
    if name == 'upstream':
        return upstream(checkpoint, points)
    settings: dict[str, Any] = {'points_per_side': points} if name == 'stock' else {}
    segmenter = build_segmenter('sam', checkpoint=checkpoint, preset=name, **settings)
    return lambda image: segmenter.masks(image).masks


def main(name: str, checkpoint: str, points: str, output: str, *photos: str) -> None:
    """Segment the photos; write masks as bits, seconds, and the peak of memory.

    The peak counts from before the model was built, less the checkpoint's size, so what building it takes for a while
    and what the allocator keeps of it is counted as well.
    """
    before = resident('VmRSS') + Path(checkpoint).stat().st_size
    generate = build(name, Path(checkpoint), int(points))
    rows = []
    for index, photo in enumerate(photos):
        image = read_image(photo)
        begun = time.perf_counter(), time.process_time()
        masks = generate(image)
        seconds, processor = time.perf_counter() - begun[0], time.process_time() - begun[1]
        np.save(f'{output}/{index}.npy', np.packbits(masks.reshape(len(masks), -1), axis=1))
        rows.append({'seconds': seconds, 'processor': processor, 'masks': len(masks), 'shape': image.shape[:2]})
    result = {'photos': rows, 'megabytes': (resident('VmHWM') - before) / 2**20}
    Path(output, 'result.json').write_text(json.dumps(result), encoding='utf-8')


if __name__ == '__main__':
    main(*sys.argv[1:])

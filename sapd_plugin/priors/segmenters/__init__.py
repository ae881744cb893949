"""Segmenters by name: each maps an RGB photo to a `LabelMap`, and users can register their own."""

from sapd_plugin.priors.segmenters import felzenszwalb, sam, sam2
from sapd_plugin.priors.segmenters.checkpoints import find_sam_checkpoint
from sapd_plugin.priors.segmenters.registry import (
    SEGMENTERS,
    Segmenter,
    build_online_segmenter,
    build_segmenter,
    register_segmenter,
)

__all__ = [
    'SEGMENTERS',
    'Segmenter',
    'build_online_segmenter',
    'build_segmenter',
    'felzenszwalb',
    'find_sam_checkpoint',
    'register_segmenter',
    'sam',
    'sam2',
]

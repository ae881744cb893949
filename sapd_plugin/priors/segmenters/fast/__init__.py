"""SAM's automatic masks with less work: the decoder shared over prompts, the stock generator on it, an adaptive one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from segment_anything.modeling import Sam

from sapd_plugin.priors.segmenters.fast.adaptive import AdaptiveGenerator
from sapd_plugin.priors.segmenters.fast.candidates import Masks
from sapd_plugin.priors.segmenters.fast.prompting import Prompter
from sapd_plugin.priors.segmenters.fast.stock import StockGenerator

__all__ = ['AdaptiveGenerator', 'Masks', 'Prompter', 'StockGenerator', 'build_generator']


def build_generator(sam: Sam, preset: str, dtype: str, parameters: dict[str, Any]) -> Callable[[np.ndarray], Masks]:
    """Build the generator of a preset.

    Args:
        sam: in evaluation mode, on its device; its image encoder is changed in place.
        preset: 'fast' or 'stock'.
        dtype: of the image encoder: 'float32', 'bfloat16' or 'float16'.
        parameters: the generator's settings.
    """
    if preset == 'stock':
        return StockGenerator(Prompter(sam, dtype), **parameters)
    return AdaptiveGenerator(Prompter(sam, dtype, pool=True), **parameters)

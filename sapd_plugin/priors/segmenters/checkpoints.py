"""Checkpoints of SAM: finding them, detecting their variant, loading them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.home import expanded
from sapd_plugin.weight_files import read_weights

# Variant -> the authors' file name, best variant first.
OFFICIAL_FILES = {
    'sam_vit_h': 'sam_vit_h_4b8939.pth',
    'sam_vit_l': 'sam_vit_l_0b3195.pth',
    'sam_vit_b': 'sam_vit_b_01ec64.pth',
    'mobile_sam': 'mobile_sam.pt',
}
ENVIRONMENT_VARIABLE = 'SAPD_SAM_CHECKPOINT'


def find_sam_checkpoint(explicit: str | os.PathLike[str] | None = None, variant: str | None = None) -> Path | None:
    """Return ``explicit``, SAPD_SAM_CHECKPOINT, a SAM checkpoint in the torch hub cache, or None.

    In the cache, ``variant`` ('sam_vit_h', ...) is looked for; without it, the best variant there.

    Raises:
        SAPDError: ``explicit`` or the environment variable names a file that does not exist.
    """
    named = {'checkpoint': explicit, ENVIRONMENT_VARIABLE: os.environ.get(ENVIRONMENT_VARIABLE)}
    for origin, path in named.items():
        if path:
            if not expanded(path).is_file():
                raise SAPDError(f'{origin}: found no file {path}, expected a SAM checkpoint.')
            return expanded(path)
    return next((path for path in _cached(variant) if path.is_file()), None)


def require_sam_checkpoint(explicit: str | os.PathLike[str] | None = None, variant: str | None = None) -> Path:
    """Return a SAM checkpoint as `find_sam_checkpoint` does, or raise an error.

    Raises:
        SAPDError: no checkpoint was found; the places searched and the official file names are listed.
    """
    path = find_sam_checkpoint(explicit, variant)
    if path is None:
        places = _cached(variant)
        raise SAPDError(
            f"segmenter '{variant or 'sam'}': found no checkpoint. Looked at the setting 'checkpoint' (not given), the "
            f'environment variable {ENVIRONMENT_VARIABLE} (not set), {", ".join(map(str, places))}. Expected a file '
            f'that the authors publish: {", ".join(place.name for place in places)}.'
        )
    return path


def detect_variant(keys: Collection[str] | Mapping[str, Any], where: str | os.PathLike[str]) -> str:
    """Return the SAM variant that a state dict belongs to, by the names of its parameters.

    Raises:
        SAPDError: these are not SAM's parameter names.
    """
    if 'image_encoder.layers.0.blocks.0.conv1.c.weight' in keys:
        return 'mobile_sam'
    blocks = {key.split('.')[2] for key in keys if key.startswith('image_encoder.blocks.')}
    variant = {32: 'sam_vit_h', 24: 'sam_vit_l', 12: 'sam_vit_b'}.get(len(blocks))
    if variant is None:
        raise SAPDError(
            f"checkpoint: {where} holds {len(keys)} other names, expected SAM's ({', '.join(OFFICIAL_FILES)})."
        )
    return variant


def load_state(path: Path) -> dict[str, Any]:
    """Read a checkpoint's state dict, on the CPU, without running code from it.

    Raises:
        SAPDError: the file does not hold a state dict.
    """
    import torch

    state = read_weights('checkpoint', path, "SAM's weights")
    state = state.get('model', state)
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SAPDError(f"checkpoint: {path} does not hold tensors by name, expected SAM's weights.")
    return state


def _cached(variant: str | None) -> list[Path]:
    """Return where the torch hub cache would hold the file of a variant, or of all variants."""
    import torch

    cache = Path(torch.hub.get_dir()) / 'checkpoints'
    return [cache / file for name, file in OFFICIAL_FILES.items() if variant in (None, name)]

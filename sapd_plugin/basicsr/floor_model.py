"""A BasicSR model whose images are truncated to 8 bits instead of rounded, as some authors measure theirs."""

from __future__ import annotations

from collections import OrderedDict

from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor


@MODEL_REGISTRY.register()
class FloorSRModel(SRModel):
    """SRModel that passes floor(255 x) / 255 to the tester, whose rounding leaves it unchanged.

    PReNet's authors measure this way: they cast ``255 * output`` to uint8. Training is SRModel's.
    """

    def get_current_visuals(self) -> OrderedDict[str, Tensor]:
        """Return SRModel's images, 'result' (N,C,H,W) clamped to [0, 1] and on 8-bit steps."""
        visuals = super().get_current_visuals()
        visuals['result'] = (255 * visuals['result'].float().clamp(0, 1)).floor() / 255
        return visuals

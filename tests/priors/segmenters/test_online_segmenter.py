from __future__ import annotations

import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters.online import build_online_segmenter


def test_sam_in_the_loop(checkpoint, street):
    """MobileSAM on a patch of a photo, as the adapters call it."""
    block = {'segmenter': 'mobile_sam', 'checkpoint': str(checkpoint)}
    patch = np.ascontiguousarray(street[100:196, 60:180])
    labels = build_online_segmenter('model.online', block, 'cpu')(patch)
    assert labels.shape == (96, 120)
    assert labels.max() >= 1


def test_mistakes_are_named():
    with pytest.raises(SAPDError, match='model.online.segmenter: missing'):
        build_online_segmenter('model.online', {'preset': 'fast'})
    with pytest.raises(SAPDError, match="segmenter: found 'mobile_sm'.*Did you mean 'mobile_sam'"):
        build_online_segmenter('model.online', {'segmenter': 'mobile_sm'})
    with pytest.raises(SAPDError, match="segmenter 'felzenszwalb': unknown key 'preset'"):
        build_online_segmenter('model.online', {'segmenter': 'felzenszwalb', 'preset': 'fast'})

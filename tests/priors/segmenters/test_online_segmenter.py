from __future__ import annotations

import cv2
import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters.online import build_online_segmenter


def test_sam_in_the_loop(shared_data):
    """MobileSAM on a patch of a real photo, as the adapters call it."""
    block = {'segmenter': 'mobile_sam', 'checkpoint': str(shared_data / 'sam/mobile_sam.pt')}
    photo = cv2.imread(str(shared_data / 'cbsd68/3096.png'))[100:196, 60:180, ::-1]
    labels = build_online_segmenter('model.online', block, 'cpu')(np.ascontiguousarray(photo))
    assert labels.shape == (96, 120)
    assert labels.max() >= 1


def test_mistakes_are_named():
    with pytest.raises(SAPDError, match='model.online.segmenter: missing'):
        build_online_segmenter('model.online', {'preset': 'fast'})
    with pytest.raises(SAPDError, match="segmenter: found 'mobile_sm'.*Did you mean 'mobile_sam'"):
        build_online_segmenter('model.online', {'segmenter': 'mobile_sm'})
    with pytest.raises(SAPDError, match="segmenter 'felzenszwalb': unknown key 'preset'"):
        build_online_segmenter('model.online', {'segmenter': 'felzenszwalb', 'preset': 'fast'})

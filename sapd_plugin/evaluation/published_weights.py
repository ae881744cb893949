"""The weights that SAM segmenters and SGR read, as their authors publish them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sapd_plugin.core.perceptual import TORCHVISION_FILE
from sapd_plugin.files import digest
from sapd_plugin.priors.segmenters.checkpoints import ENVIRONMENT_VARIABLE, OFFICIAL_FILES


class Published(NamedTuple):
    """A file that its authors publish."""

    use: str  # the segmenter or loss that reads it
    file: str  # the name that its authors gave it
    folder: str  # URL of the folder that it is in
    algorithm: str = ''  # of the hash that the name contains
    prefix: str = ''  # the first digits of that hash; empty if the name contains none


_SAM = 'https://dl.fbaipublicfiles.com/segment_anything/'
_MOBILE_SAM = 'https://github.com/ChaoningZhang/MobileSAM/raw/master/weights/'
_VGG = 'https://download.pytorch.org/models/'
PUBLISHED = (
    Published('sam_vit_h', OFFICIAL_FILES['sam_vit_h'], _SAM, 'md5', '4b8939'),
    Published('sam_vit_l', OFFICIAL_FILES['sam_vit_l'], _SAM, 'md5', '0b3195'),
    Published('sam_vit_b', OFFICIAL_FILES['sam_vit_b'], _SAM, 'md5', '01ec64'),
    Published('mobile_sam', OFFICIAL_FILES['mobile_sam'], _MOBILE_SAM),
    Published('SGRLoss', TORCHVISION_FILE, _VGG, 'sha256', 'dcbb9e9d'),
)
VARIABLES = (ENVIRONMENT_VARIABLE, 'SAPD_VGG_CHECKPOINT')


def verdict(path: Path) -> tuple[bool, str]:
    """Return whether a file is consistent with its name, and a sentence about it."""
    published = {item.file: item for item in PUBLISHED}.get(path.name)
    if published is None:
        return True, 'its name is not that of a published file, so its digest is not compared'
    if not published.prefix:
        return True, 'its authors published no digest to compare with'
    value = digest(path, published.algorithm)
    if value.startswith(published.prefix):
        return True, f'its {published.algorithm} digest matches its name'
    return False, f'NOT the published file: {published.algorithm} {value} does not begin with {published.prefix}'

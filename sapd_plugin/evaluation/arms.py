"""The images of one arm of an evaluation, matched with the clean ones by name and size."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.image_header import image_size
from sapd_plugin.priors.extraction.images import list_images, read_image
from sapd_plugin.priors.extraction.sources import Photos
from sapd_plugin.priors.store.keys import mask_key, nearest_keys

# Names of the two arms without restoration.
CLEAN, DEGRADED = 'clean', 'degraded'

# What a name template may hold besides text.
_FIELD = re.compile(r'\{\{|\}\}|\{0?\}')

# (H, W) in pixels.
Size = tuple[int, int]


@dataclass(frozen=True)
class Clean:
    """The clean images: files and sizes by key."""

    files: dict[str, Path]
    sizes: dict[str, Size]

    @classmethod
    def find(cls, folder: Path, limit: int | None = None) -> Clean:
        """List a folder's images, the first ``limit`` of them by name.

        Raises:
            SAPDError: the folder holds no images, or a file that is not an image.
        """
        files = dict(list(by_key(f'--{CLEAN}', folder).items())[:limit])
        return cls(files, {key: _size(path) for key, path in files.items()})


def arm_photos(
    name: str, folder: Path, clean: Clean, template: str | None = None, side_by_side: bool = False, scaled: bool = False
) -> Photos:
    """Match the images of an arm with the clean ones.

    Args:
        name: of the arm, for messages.
        folder: of its images, searched with its sub-folders.
        clean: the images to match.
        template: name of the arm's image, without extension, from that of the clean one: '{}_stock' or
            '{0}/{0}_5000'. By default the same name, or a common ending of all images: BasicSR's test
            saves NAME_SUFFIX or NAME_EXPERIMENT, MMagic's NAME_STEP.
        side_by_side: use the right end of an image that has the clean one's height but is wider: MMagic's default
            picture has the ground truth, the input and the restored image from left to right.
        scaled: resize a smaller image to the size of the clean one, bicubic: degraded images of super-resolution.

    Returns:
        Photos by the clean images' keys; they are read at the clean image's size.

    Raises:
        SAPDError: images are missing, names match in several ways, or sizes differ.
    """
    option = f'--{name}' if name in (CLEAN, DEGRADED) else f'--restored {name}'
    files = match_names(name, by_key(option, folder), list(clean.files), template)
    for key, path in files.items():
        found, expected = _size(path), clean.sizes[key]
        wider = found[0] == expected[0] and found[1] > expected[1]
        if found != expected and not scaled and not (wider and side_by_side):
            hint = " MMagic's test saves ground truth, input and restored image side by side: add --side-by-side."
            hint = hint if wider else ''
            raise SAPDError(
                f'{name}: found {path} of {found[0]}x{found[1]}, expected {expected[0]}x{expected[1]} as '
                f'{clean.files[key]}.{hint}'
            )
    sizes = {str(path): clean.sizes[key] for key, path in files.items()}

    def read(path: str) -> np.ndarray:
        image, (height, width) = read_image(path), sizes[path]
        if image.shape[:2] == (height, width):
            return image
        if scaled:
            return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        return np.ascontiguousarray(image[:, -width:])

    return Photos(folder, [(key, str(path)) for key, path in files.items()], read)


def match_names(arm: str, found: Mapping[str, Path], keys: Sequence[str], template: str | None) -> dict[str, Path]:
    """Return the file of the arm for each key of a clean image, see `arm_photos`."""
    templates = _templates(found, keys[0]) if template is None else [template]
    fitting = [t for t in templates if all(_named(key, t) in found for key in keys)]
    if len(fitting) > 1 and fitting[0] != '{}':
        raise SAPDError(
            f'{arm}: found several images of each name ({", ".join(fitting[:5])}), expected --name-template {arm}=... '
            'to choose.'
        )
    if fitting:
        return {key: found[_named(key, fitting[0])] for key in keys}
    best = max(templates, key=lambda t: sum(_named(key, t) in found for key in keys), default='{}')
    lacking = [key for key in keys if _named(key, best) not in found]
    near = nearest_keys(_named(lacking[0], best), found)
    raise SAPDError(
        f"{arm}: found no image for {len(lacking)} of {len(keys)} clean images by the names '{best}', the first is "
        f"'{_named(lacking[0], best)}', expected all. Nearest: {near}. --name-template {arm}='{{}}_SUFFIX' sets their "
        'names.'
    )


def _size(path: Path) -> Size:
    try:
        return image_size(path)
    except OSError as error:
        raise SAPDError(f'{path}: cannot be read ({error}), expected an image.') from error


def _templates(found: Mapping[str, Path], key: str) -> list[str]:
    """Return possible templates of the arm's name of the image ``key``: the same name first, then each ending."""
    endings = [_literal(other.removeprefix(key)) for other in found if other.startswith(key) and other != key]
    # While training, BasicSR saves one folder per image.
    inner = f'{key}/{key.rpartition("/")[2]}'
    nested = [_literal(other.removeprefix(inner)) for other in found if other.startswith(inner)]
    return ['{}', *('{}' + ending for ending in endings if '/' not in ending), *('{0}/{0}' + end for end in nested)]


def _literal(text: str) -> str:
    return text.replace('{', '{{').replace('}', '}}')


def _named(key: str, template: str) -> str:
    """Return the key of an arm's image: the last part of ``key``, put in the template's fields {} or {0}.

    Not by `str.format`, whose other fields can fill the memory; {{ and }} are braces, as there.
    """
    folder, slash, name = key.rpartition('/')
    values = {'{}': name, '{0}': name, '{{': '{', '}}': '}'}
    rest = _FIELD.sub('', template)
    if '{' in rest or '}' in rest or not {'{}', '{0}'} & {*_FIELD.findall(template)}:
        raise SAPDError(f"--name-template: found '{template}', expected {{}} in place of the clean name.")
    return folder + slash + _FIELD.sub(lambda field: values[field[0]], template)


def by_key(option: str, folder: Path) -> dict[str, Path]:
    """Return a folder's images by their keys; ``option`` named it. Raises SAPDError, also if two share a key."""
    if not folder.is_dir():
        raise SAPDError(f'{option}: found no folder {folder}, expected one of images.')
    files, root, _ = list_images(folder)
    images: dict[str, Path] = {}
    for path in files:
        key = mask_key(path, root)
        if images.setdefault(key, path) != path:
            raise SAPDError(f'{option}: found {images[key].name} and {path.name}, expected one image per name.')
    return images

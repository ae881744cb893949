"""The image files of a pipeline before training: content, size, and how the pipeline's loader turns them."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import mmcv
import mmcv.image.io
import numpy as np
from mmengine.fileio import get_file_backend

from sapd_plugin.errors import SAPDError, describe
from sapd_plugin.image_header import read_header
from sapd_plugin.priors.extraction.images import decode_image
from sapd_plugin.priors.image_lmdb import ImageLMDB
from sapd_plugin.priors.verification import ImageFile
from sapd_plugin.regular_files import read_regular

# Modes of mmcv's backend cv2 that turn images as the extraction of masks does.
_AS_MASKS = ('color', 'grayscale')


class ImageReader:
    """Reads the images of a LoadImageFromFile without the loader's own file backend.

    That one must not be used before workers fork, because it keeps an LMDB environment open.

    Args:
        where: the config key of the pipeline, for messages.
        loader: the transform; None means local files that OpenCV decodes.
    """

    def __init__(self, where: str, loader: Any = None) -> None:
        self._where, self._loader = where, loader
        # Of the loader's files; equal for loaders that read from the same place.
        self.place: dict[str, Any] = getattr(loader, 'backend_args', None) or {'backend': 'local'}
        if self._kind == 'lmdb' and 'db_path' in self.place:
            ImageLMDB(Path(self.place['db_path']))  # a damaged one would end the process

    def content(self, path: str) -> bytes:
        """Return the content of an image file, from where the loader reads it."""
        if self._kind == 'local':
            return read_regular(path)  # a named pipe is waited for without end
        name = PurePath(path).stem if self._kind == 'lmdb' else path
        found = self._files.get(name)
        if found is None:
            raise KeyError(name)
        return bytes(found)

    def file(self, path: str) -> ImageFile:
        """Return a ground truth for the comparison with its mask; to load it checks how the loader turns it."""
        return ImageFile(path, lambda: self._checked(path, self.content(path)))

    def size(self, path: str) -> tuple[int, int] | None:
        """Return (H, W) of a ground truth from its header; None for a remote file, which is checked when it is loaded.

        Raises:
            SAPDError: the loader turns the image otherwise than its mask is turned.
        """
        if self._kind not in ('local', 'lmdb'):
            return None
        image = path if self._kind == 'local' else self.content(path)
        header = read_header(image)
        if header.may_turn and not self._turns_as_masks:
            self._checked(path, self.content(path))
        return header.height, header.width

    def size_as_read(self, path: str) -> tuple[int, int] | None:
        """Return (H, W) of a degraded image from its header; None if that does not tell what the loader makes of it.

        Raises:
            SAPDError: it cannot be read.
        """
        if self._kind not in ('local', 'lmdb') or self._backend != 'cv2':
            return None
        try:
            header = read_header(path if self._kind == 'local' else self.content(path))
        except (OSError, KeyError) as error:
            raise SAPDError(f'{self._where}: {path} cannot be read ({describe(error)}), expected an image.') from error
        return None if header.may_turn and not self._turns_as_masks else (header.height, header.width)

    def channels(self, path: str) -> int | None:
        """Return how many channels the loader gives an image that it keeps as it is in the file; None if not known.

        Raises:
            SAPDError: it cannot be read.
        """
        kept = self._loader is not None and str(self._loader.color_type).startswith('unchanged')
        if not kept or self._kind not in ('local', 'lmdb') or self._backend != 'cv2':
            return None
        try:
            found = read_header(path if self._kind == 'local' else self.content(path)).channels
            if found in (1, 3):
                return found
            # Transparency, or colors for print, of which OpenCV makes something else.
            image = mmcv.imfrombytes(self.content(path), self._loader.color_type, backend='cv2')
        except (OSError, KeyError) as error:
            raise SAPDError(f'{self._where}: {path} cannot be read ({describe(error)}), expected an image.') from error
        return image.shape[2] if image.ndim == 3 else 1

    @cached_property
    def _files(self) -> Any:
        return get_file_backend(backend_args=self.place)

    @property
    def _kind(self) -> str:
        return str(self.place.get('backend'))

    @property
    def _backend(self) -> str:
        return str(self._loader.imdecode_backend or mmcv.image.io.imread_backend)

    @property
    def _turns_as_masks(self) -> bool:
        """Whether it turns every image as the extraction of masks does, because it decodes with the same function."""
        return self._loader is None or (self._backend == 'cv2' and self._loader.color_type in _AS_MASKS)

    def _checked(self, path: str, content: bytes) -> bytes:
        """Return the content if the loader turns the image as masks are turned."""
        if self._turns_as_masks or not read_header(content).may_turn:
            return content
        loader = self._loader
        backend, mode = self._backend, loader.color_type
        found = f"LoadImageFromFile(key='{loader.key}', color_type='{mode}', imdecode_backend='{backend}')"
        try:
            seen = mmcv.imfrombytes(content, mode, loader.channel_order, backend)
        except Exception as error:
            raise SAPDError(f'{self._where}: {found} cannot read {path} ({type(error).__name__}: {error}).') from error
        if not is_turned_alike(seen, decode_image(content, path)):
            raise SAPDError(
                f"{self._where}: {found} turns {path} otherwise than its mask, which follows the file's EXIF "
                "orientation as OpenCV does. Expected color_type='color' or 'grayscale' with imdecode_backend='cv2', "
                'or images without an orientation.'
            )
        return content


def is_turned_alike(first: np.ndarray, second: np.ndarray) -> bool:
    """Return whether two decodings of one image, (H,W) or (H,W,C), are not turned or mirrored against each other.

    Their values may differ: in range, in the order of channels, and by the rounding of a decoder.
    """
    if first.shape[:2] != second.shape[:2]:
        return False
    ours, theirs = _plane(first), _plane(second)
    turns = [turn for upright in (theirs, theirs.T) for turn in _mirrored(upright) if turn.shape == ours.shape]
    scores = [float((ours * turn).mean()) for turn in turns]  # of which the first is `theirs` itself
    return scores[0] >= max(scores) - 1e-6


def _mirrored(image: np.ndarray) -> list[np.ndarray]:
    return [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]


def _plane(image: np.ndarray) -> np.ndarray:
    """Return the mean of the colors as (H,W), with mean 0 and deviation 1."""
    values = image.astype(np.float64)
    if values.ndim == 3:
        values = values[..., : 3 if values.shape[2] >= 3 else 1].mean(axis=2)
    return (values - values.mean()) / (values.std() + 1e-9)

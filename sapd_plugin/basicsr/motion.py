"""How a data set has moved the pixels of a sample: what BasicSR's crop and augmentation did while it was made."""

from __future__ import annotations

import functools
import inspect
import sys
import threading
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from basicsr.data import transforms

# Of hflip, vflip and rot90 of `augment`, in this order, on (H,W,1).
_TURNS: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda image: image[:, ::-1],
    lambda image: image[::-1],
    lambda image: image.transpose(1, 0, 2),
)
_SQUARE = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
_SIDE = 48  # of what is compared of an image, in pixels
_FLAT = 0.02  # deviation of colors, of 0..1, below which an image is nearly flat
_EXPLAINED = 0.7  # share of an image's variance; changes of colors leave more, moved pixels less
_active = threading.local()  # a loader without workers may read ahead in a thread


class Motion:
    """The crops and turns of the ground truth of one sample, in order.

    Attributes:
        steps: each maps an image or a mask, (H,W,1), to what became of it.
        shapes: (H, W) of the image before each step; None for a turn.
        reference: the image as it is after the steps, (h,w,C), or None if there was no step.
        restarted: whether steps were discarded, because a later one did not begin with what they had made. A data set
            that draws again until it likes a sample does that, and so does one that moves pixels in between.
    """

    def __init__(self) -> None:
        self.steps: list[Callable[[Any], Any]] = []
        self.shapes: list[tuple[int, int] | None] = []
        self.reference: np.ndarray | None = None
        self.restarted = False

    def crop(self, image: Any, cropped: Any, rows: slice, columns: slice) -> None:
        """Note a crop."""
        shape = image.shape[-2:] if isinstance(image, torch.Tensor) else image.shape[:2]
        if self.reference is not None and (
            self.reference.shape[:2] != tuple(shape) or not self._continues(pixels(image))
        ):
            self._restart()
        self._add(lambda mask: mask[rows, columns], cropped)
        self.shapes.append((int(shape[0]), int(shape[1])))

    def turn(self, image: np.ndarray | None, turned: np.ndarray) -> None:
        """Note a turn of an image, (h,w,C); ``turned`` is what became of a square of four different pixels."""
        if image is not None and not self._continues(image):
            self._restart()
        for kind in range(8):
            functions = [function for bit, function in enumerate(_TURNS) if kind >> bit & 1]
            if np.array_equal(functools.reduce(lambda a, f: f(a), functions, _SQUARE), turned):
                break
        known = self.reference is not None
        self._add(lambda mask: functools.reduce(lambda a, f: f(a), functions, mask[:, :]), None)
        self.shapes.append(None)
        if not known and image is not None:
            self.reference = self.steps[-1](image)

    def _continues(self, image: np.ndarray) -> bool:
        """Return whether an image, (h,w,C), is what the steps so far have made."""
        known = self.reference
        return known is None or np.array_equal(image, known) or shows(image, known)

    def _restart(self) -> None:
        self.__init__()  # type: ignore[misc]
        self.restarted = True

    def _add(self, step: Callable[[Any], Any], first: Any) -> None:
        self.steps.append(step)
        if self.reference is not None:
            self.reference = step(self.reference)
        elif first is not None:
            self.reference = pixels(first)

    def fits(self, shape: tuple[int, int]) -> bool:
        """Return whether an image of (H, W) can have gone this way."""
        mask: Any = np.broadcast_to(np.uint8(0), (*shape, 1))
        for step, before in zip(self.steps, self.shapes):
            if before not in (None, mask.shape[:2]):
                return False
            mask = step(mask)
        return True

    def follow(self, mask: Any) -> np.ndarray:
        """Return what becomes of a mask, or an image, (H,W,1), that can be sliced."""
        for step in self.steps:
            mask = step(mask)
        followed: np.ndarray = mask[:, :]
        return followed


def pixels(image: Any) -> np.ndarray:
    """Return a copy, (h,w,C) float32, of an array (h,w,C) or (h,w), or a tensor (C,h,w), or the first of (N,C,h,w)."""
    if isinstance(image, torch.Tensor):
        image = image.detach().cpu().numpy().reshape(-1, *image.shape[-3:])[0].transpose(1, 2, 0)
    return np.array(image if image.ndim == 3 else image[..., None], dtype=np.float32)


def shows(image: np.ndarray, original: np.ndarray) -> bool:
    """Return whether an image shows the pixels of another at the same places, in whatever colors.

    The colors of the other have to explain most of it, by a linear map.

    Args:
        image: (h,w,C).
        original: (h,w,C'). If it is nearly flat, it looks the same however it is turned.
    """
    if image.shape[:2] != original.shape[:2]:
        return False
    step = max(1, min(image.shape[:2]) // _SIDE)
    known, found = (each[::step, ::step].reshape(-1, each.shape[2]).astype(np.float64) for each in (original, image))
    known, found = known - known.mean(axis=0), found - found.mean(axis=0)
    if known.std() < _FLAT * (255 if np.abs(original).max() > 2 else 1):
        return True
    fitted = known @ np.linalg.lstsq(known, found, rcond=1e-6)[0]
    left = np.square(found - fitted).sum()
    return bool(left < (1 - _EXPLAINED) * np.square(found).sum())


def is_recording() -> bool:
    """Return whether this thread is inside of :func:`recorded`."""
    return getattr(_active, 'motion', None) is not None


@contextmanager
def recorded() -> Iterator[Motion]:
    """Note what BasicSR's crop and augmentation do inside the block, in this thread."""
    _install()
    motion = _active.motion = Motion()
    try:
        yield motion
    finally:
        del _active.motion


class _Window:
    """Takes the place of an image in a crop, and returns which part was asked for."""

    def __init__(self, shape: Any) -> None:
        self.shape = shape

    def __getitem__(self, index: tuple[Any, ...]) -> tuple[slice, slice]:
        rows, columns = [part for part in index if isinstance(part, slice) and part != slice(None)]
        return rows, columns


def _noting_crop(stock: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(stock)
    def paired_random_crop(img_gts: Any, *args: Any, **kwargs: Any) -> Any:
        motion: Motion | None = getattr(_active, 'motion', None)
        if motion is None:
            return stock(img_gts, *args, **kwargs)
        images = img_gts if isinstance(img_gts, list) else [img_gts]
        (*cropped, (rows, columns)), degraded = stock([*images, _Window(images[0].shape)], *args, **kwargs)
        motion.crop(images[0], cropped[0], rows, columns)
        return cropped if len(cropped) > 1 else cropped[0], degraded

    return paired_random_crop


def _noting_augment(stock: Callable[..., Any]) -> Callable[..., Any]:
    signature = inspect.signature(stock)

    @functools.wraps(stock)
    def augment(imgs: Any, *args: Any, **kwargs: Any) -> Any:
        motion: Motion | None = getattr(_active, 'motion', None)
        if motion is None:
            return stock(imgs, *args, **kwargs)
        images = imgs if isinstance(imgs, list) else [imgs]
        before = pixels(images[0]) if images else None
        given = signature.bind(imgs, *args, **kwargs).arguments
        result = stock([*images, _SQUARE.copy()], *args, **kwargs)
        pair = given.get('flows') is not None or given.get('return_status')
        *turned, square = result[0] if pair else result
        motion.turn(before, square)
        kept = turned[0] if len(turned) == 1 else turned
        return (kept, result[1]) if pair else kept

    return augment


@functools.cache
def _install() -> None:
    """Put the noting functions in the place of BasicSR's, once per process, in every module that has these.

    They draw the same numbers and return the same images; outside of :func:`recorded` they only call BasicSR's.
    """
    noting = {
        transforms.paired_random_crop: _noting_crop(transforms.paired_random_crop),
        transforms.augment: _noting_augment(transforms.augment),
    }
    for module in list(sys.modules.values()):
        names = getattr(module, '__dict__', {})
        for name, value in list(names.items()) if isinstance(names, dict) else ():
            if type(value) is types.FunctionType and value in noting:
                names[name] = noting[value]

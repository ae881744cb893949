"""Digests of the image that a mask was extracted from: a key is only a name, and says nothing of the pixels."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np

DIGEST_BYTES = 16
# In place of a file's digest, of an image that does not come from one.
NO_FILE = bytes(DIGEST_BYTES)


class ImageDigests(NamedTuple):
    """Two digests of an image; an image with one of them is the same.

    Attributes:
        pixels: of the decoded image, so that it may be copied to another format without loss.
        file: of the content of its file, so that another decoder of JPEG files may round differently; or `NO_FILE`.
    """

    pixels: bytes
    file: bytes = NO_FILE


def digest_pixels(image: np.ndarray) -> bytes:
    """Return the 16-byte digest of an image, (H,W,3) uint8 RGB: of its shape and its bytes."""
    state = hashlib.blake2b(repr(image.shape).encode(), digest_size=DIGEST_BYTES)
    state.update(np.ascontiguousarray(image).data)
    return state.digest()


def digest_file(content: bytes) -> bytes:
    """Return the 16-byte digest of a file's content."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()

"""LMDBs that both BasicSR and MMagic read, written by BasicSR's own maker.

A key is the file's name without suffix: what BasicSR reads from meta_info.txt, and what MMagic derives from a path. The
value is the file's bytes; nothing is re-encoded.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from sapd_plugin.datasets.checks import Shape
from sapd_plugin.datasets.files import PNG_COMPRESSION, Workshop
from sapd_plugin.errors import SAPDError
from sapd_plugin.progress import Bar
from sapd_plugin.texts import read_text

_PAGE = 4096


def is_made(database: Path, images: Sequence[Path]) -> bool:
    """Return whether the LMDB exists.

    Raises:
        SAPDError: it holds different images.
    """
    if not database.exists():
        return False
    meta = database / 'meta_info.txt'
    lines = read_text(meta, "the names of an LMDB's images").splitlines() if meta.is_file() else []
    found, expected = {line.split('.')[0] for line in lines}, {image.stem for image in images}
    if found != expected:
        differing = sorted(found ^ expected)
        raise SAPDError(
            f'{database}: found {len(found)} images, expected {len(expected)}; {differing[0]} is in only one of '
            'the two. Remove the LMDB to create it again.'
        )
    return True


@lru_cache
def lmdb_maker() -> Any:
    """Load the class ``basicsr.utils.lmdb_util.LmdbMaker``.

    Only its file is imported: the package imports all networks and metrics, which takes many seconds.

    Raises:
        SAPDError: BasicSR is not installed.
    """
    package = importlib.util.find_spec('basicsr')
    if package is None or not package.submodule_search_locations:
        raise SAPDError('--lmdb: BasicSR, whose LMDB maker is used, is not installed: pip install basicsr.')
    path = Path(package.submodule_search_locations[0]) / 'utils' / 'lmdb_util.py'
    spec = importlib.util.spec_from_file_location('basicsr_lmdb_util', path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.LmdbMaker


def make_database(database: Path, images: Sequence[Path], shapes: Mapping[str, Shape], workshop: Workshop) -> None:
    """Write images to an LMDB folder, which appears once it is complete; ``shapes`` go to its meta_info.txt."""
    # Each record takes whole pages; the maker's own estimate, ten times the first image, can be too small.
    room = sum(os.path.getsize(image) + 2 * _PAGE for image in images) * 5 // 4 + (1 << 26)
    temporary = workshop.path(database.name)
    maker = lmdb_maker()(str(temporary), map_size=room, compress_level=PNG_COMPRESSION)
    for image in Bar(images, desc=database.name, unit='image'):
        maker.put(image.read_bytes(), image.stem, shapes[image.stem])
    maker.close()
    os.replace(temporary, database)

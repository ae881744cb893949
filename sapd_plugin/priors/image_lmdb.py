"""LMDB folders of images, as BasicSR and MMagic read them."""

from __future__ import annotations

import re
from pathlib import Path

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store.meta_info import META_INFO, read_lines
from sapd_plugin.priors.store.pages import DamagedError, check_pages

_SIZE = re.compile(r' \((\d+), ?(\d+)[,)]')


class ImageLMDB:
    """An LMDB folder of images, whose pages are checked before LMDB trusts them.

    Raises:
        SAPDError: it is damaged or cannot be read, or its meta_info.txt is not UTF-8 text.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._keys = sorted(check_pages(folder / 'data.mdb', strict=False))
        except (DamagedError, OSError) as error:
            raise self._unreadable(error) from error
        # BasicSR's list of images; MMagic's LMDBs have none.
        self._lines = (
            [line for line in read_lines(folder, complete=False).split('\n') if line.strip()]
            if (folder / META_INFO).exists()
            else None
        )
        self._env: lmdb.Environment | None = None

    def names(self) -> list[str]:
        """Return the sorted keys: those in meta_info.txt, cut at the first dot as BasicSR cuts them, or else all."""
        if self._lines is not None:
            return sorted(line.split('.')[0] for line in self._lines)
        return [key.decode('utf-8', 'surrogateescape') for key in self._keys]

    def sizes(self) -> dict[str, tuple[int, int]]:
        """Return (H, W) of each image whose line in meta_info.txt says it."""
        found = ((line.split('.')[0], _SIZE.search(line)) for line in self._lines or ())
        return {name: (int(size[1]), int(size[2])) for name, size in found if size is not None}

    def load(self, name: str) -> bytes | None:
        """Return the content of an image's file, or None if there is no such key.

        Raises:
            SAPDError: it cannot be read.
        """
        try:
            if self._env is None:
                self._env = lmdb.open(str(self.folder), readonly=True, create=False, lock=False, readahead=False)
            with self._env.begin() as transaction:
                return transaction.get(name.encode('utf-8', 'surrogateescape'))
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def close(self) -> None:
        """Close the environment; the next reading opens it again."""
        if self._env is not None:
            self._env.close()
            self._env = None

    def _unreadable(self, error: Exception) -> SAPDError:
        return SAPDError(f'images: the LMDB {self.folder} cannot be read ({error}).')

"""meta_info.txt: one line per mask, as in BasicSR's LMDB folders; one file per shard and one per store."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.regular_files import read_regular

META_INFO = 'meta_info.txt'


def meta_line(key: str, shape: tuple[int, ...]) -> str:
    """Return BasicSR's line: name, shape, compression level."""
    return f'{key}.png ({shape[0]},{shape[1]},1) 9\n'


def read_lines(folder: Path, complete: bool = True) -> str:
    """Return the lines of a folder's meta_info.txt; without an unfinished last one if they have to be ``complete``.

    Raises:
        SAPDError: it is not a regular file of UTF-8 text.
    """
    path = folder / META_INFO
    try:
        data = read_regular(path)
        return data[: data.rfind(b'\n') + 1 if complete else None].decode('utf-8')
    except FileNotFoundError:
        return ''
    except OSError as error:
        raise SAPDError(f'{path}: cannot be read ({error.strerror}).') from error
    except UnicodeDecodeError as error:
        raise SAPDError(f'{path}: is damaged, expected UTF-8 text ({error}).') from error


def read_keys(folder: Path) -> Iterator[str]:
    """Yield the keys in a folder's meta_info.txt. Raises as `read_lines`."""
    for line in read_lines(folder).split('\n')[:-1]:
        # A key may contain spaces; the shape and the level do not.
        yield line.rsplit(' ', 2)[0].removesuffix('.png')


class LineWriter:
    """Append lines to a file, each complete or not at all, even on a full disk."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)

    def write(self, line: str) -> None:
        """Append a line that ends with a line break.

        Raises:
            OSError: it cannot be written; the file is as before.
        """
        data = line.encode('utf-8')
        before = os.fstat(self._descriptor).st_size
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError:
            os.ftruncate(self._descriptor, before)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

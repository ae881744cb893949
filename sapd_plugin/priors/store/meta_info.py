"""meta_info.txt: one line per mask, as in BasicSR's LMDB folders; one file per shard and one per store."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sapd_plugin.files import write_atomically
from sapd_plugin.priors.store.codec import Record
from sapd_plugin.priors.store.shards import ShardReader

META_INFO = 'meta_info.txt'


def meta_line(key: str, shape: tuple[int, ...]) -> str:
    """Return BasicSR's line: name, shape, compression level."""
    return f'{key}.png ({shape[0]},{shape[1]},1) 9\n'


def read_lines(folder: Path) -> str:
    """Return the complete lines of a folder's meta_info.txt, without an unfinished last one."""
    path = folder / META_INFO
    text = path.read_text(encoding='utf-8') if path.exists() else ''
    return text[: text.rfind('\n') + 1]


def read_keys(folder: Path) -> Iterator[str]:
    """Yield the keys in a folder's meta_info.txt."""
    for line in read_lines(folder).split('\n')[:-1]:
        # A key may contain spaces; the shape and the level do not.
        yield line.rsplit(' ', 2)[0].removesuffix('.png')


def repair(shard: Path, settings: Mapping[str, Any]) -> None:
    """Check a shard, and rewrite its meta_info.txt if a crash left a mask without its line.

    Call it while holding the shard's lock.

    Raises:
        SAPDError: the shard is damaged, or has different settings.
    """
    with contextlib.closing(ShardReader(shard, settings)) as reader:
        path = shard / META_INFO
        whole = path.exists() and path.read_bytes().endswith(b'\n')
        if len(reader) != read_lines(shard).count('\n') or (len(reader) and not whole) or not path.exists():
            sizes = ((name.decode('utf-8'), Record(value).shape) for name, value in reader.items())
            write_atomically(path, ''.join(meta_line(key, shape) for key, shape in sizes))

"""A shard's files are verified before LMDB opens them, once per process and the processes that it starts.

What a flipped bit can change is all covered: LMDB's own pages here, the keys by comparison with meta_info.txt, and each
record by its checksums when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store.keys import key_bytes
from sapd_plugin.priors.store.meta_info import META_INFO, read_keys
from sapd_plugin.priors.store.pages import DamagedError, check_pages

DATA = 'data.mdb'
# No file name contains NUL, so no image's key can collide. It sorts before all keys.
MANIFEST_KEY = b'\0manifest'

# What distinguishes a file from an earlier or another one: device, inode, bytes, time of the last change.
Stamp = tuple[int, int, int, int]
_verified: dict[str, Stamp] = {}


def verify(shard: Path) -> float:
    """Check all that LMDB trusts in a shard, unless this process or one that started it has done so before.

    It reads the file once, from its beginning to its end: half a second for 100,000 masks of 4 kB.

    Returns:
        The seconds that it took; 0 if the shard had been verified before.

    Raises:
        SAPDError: the shard is damaged, incomplete or not readable.
    """
    data, begun = shard / DATA, perf_counter()
    try:
        stamp = _stamp(data)
        if _verified.get(str(data)) == stamp:
            return 0.0
        keys = {_text(key) for key in check_pages(data) if key != MANIFEST_KEY}
    except OSError as error:
        raise SAPDError(f'mask store shard {shard}: {DATA} cannot be opened ({error.strerror}).') from error
    except DamagedError as error:
        raise _damaged(shard, f'{DATA} is damaged: {error}') from error
    # A mask is written before its line, so a killed run can leave a mask without a line, but no line without a mask.
    strange = next((key for key in read_keys(shard) if key not in keys), None)
    if strange is not None:
        raise _damaged(shard, f'{META_INFO} lists {strange!r}, which {DATA} lacks: one of them is damaged')
    _verified[str(data)] = stamp
    return perf_counter() - begun


def verified() -> dict[str, Stamp]:
    """Return what `trust` needs in a process that is not a fork of this one."""
    return dict(_verified)


def trust(stamps: Mapping[str, Stamp]) -> None:
    """Do not verify these files again, unless they have changed since."""
    _verified.update(stamps)


def _damaged(shard: Path, problem: str) -> SAPDError:
    return SAPDError(
        f'mask store shard {shard}: {problem}. Delete the folder {shard.name} and run `sapd extract-masks` again: it '
        'extracts the masks that are missing then.'
    )


def _text(key: bytes) -> str:
    try:
        text = key.decode('utf-8')
        key_bytes(text)
    except (UnicodeDecodeError, SAPDError) as error:
        raise DamagedError(f'found the key {key!r}, which is not the name of an image') from error
    return text


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

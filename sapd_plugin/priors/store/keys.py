"""Names of masks: one key per image of a folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from pathlib import PurePath

from sapd_plugin.errors import SAPDError

# LMDB's limit.
MAX_KEY_BYTES = 511


def mask_key(path: str | os.PathLike[str], root: str | os.PathLike[str]) -> str:
    """Return the key of an image's mask: its path below ``root``, '/' between folders, without the last extension.

    Dots inside a name are kept (``a.b.png`` is ``a.b``), and so are folders: ``x/1.png`` and ``y/1.png`` differ.

    Raises:
        SAPDError: a path outside ``root``, or a name that cannot be a key (see `key_bytes`).

    >>> mask_key('photos/day 1/a.b.png', 'photos')
    'day 1/a.b'
    """
    try:
        relative = PurePath(os.path.abspath(path)).relative_to(os.path.abspath(root))
    except ValueError as error:
        raise SAPDError(f'{path}: found an image outside its folder, expected one below {root}.') from error
    if not relative.name:
        raise SAPDError(f'{path}: found a folder, expected an image below {root}.')
    key = relative.with_suffix('').as_posix()
    key_bytes(key)
    return key


def template_key(key: str, template: str = '{}') -> str:
    """Return the key of a mask that is named differently from its image: '{}_restored' for x/1 is x/1_restored.

    Raises:
        SAPDError: the template is not text that holds {} once.

    >>> template_key('x/1', '{}_restored')
    'x/1_restored'
    """
    before, field, behind = template.partition('{}') if isinstance(template, str) else ('', '', '')
    # Nothing else that `str.format` knows: it can fill the memory, and a template without a field names one mask.
    if not field or any(brace in before + behind for brace in '{}'):
        raise SAPDError(
            f"mask_filename_tmpl: found {template!r}, expected text with one {{}}, for which the image's name is put, "
            "for example '{}_restored'."
        )
    folder, slash, name = key.rpartition('/')
    return f'{folder}{slash}{before}{name}{behind}'


def key_bytes(key: str) -> bytes:
    """Return the key as LMDB stores it, in UTF-8.

    Raises:
        SAPDError: the name is empty, is not valid UTF-8, has a line break, or has more than 511 bytes.
    """
    try:
        name = key.encode('utf-8')
    except UnicodeEncodeError as error:
        raise SAPDError(f'mask key {key!a}: the file name is not valid UTF-8, expected one that is.') from error
    if not 1 <= len(name) <= MAX_KEY_BYTES or name[0] == 0:
        raise SAPDError(
            f"mask key '{key}': found {len(name)} bytes, expected 1 to {MAX_KEY_BYTES}: shorten the path of the image "
            'below its folder.'
        )
    if '\n' in key or '\r' in key:
        raise SAPDError(f'mask key {key!a}: found a line break, but meta_info.txt has one line per mask.')
    return name


def nearest_keys(key: str, keys: Iterable[str], count: int = 3) -> list[str]:
    """Return up to ``count`` keys that a user may have meant by ``key``, the most likely first.

    Keys that differ only by an extension or by leading folders come first, then those with a similar spelling.
    """
    keys = list(keys)
    stem = PurePath(key).with_suffix('').as_posix() if key else key
    tail = PurePath(stem).name
    likely = [k for k in keys if k == stem or k.endswith('/' + key) or key.endswith('/' + k)]
    likely += [k for k in keys if tail and k.rpartition('/')[2] == tail]
    # Comparing spellings takes about 10 microseconds per key.
    likely += difflib.get_close_matches(key, keys[:100_000], n=count, cutoff=0.5)
    return list(dict.fromkeys(likely))[:count]

"""Names of users that become names of files and folders."""

from __future__ import annotations

import re

from sapd_plugin.errors import SAPDError, check_text

_FORM = re.compile(r'(?=.{1,100}$)[\w+-]([\w .+-]*[\w+-])?')
_DEVICES = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?', re.IGNORECASE)  # Windows has no files of these names
_LONGEST = 200  # bytes; file systems take 255, and the names of logs add a prefix and a date


def check_name(key: str, name: object, portable: bool = True) -> None:
    """Refuse a name that is not the name of one file on every system: a path, ``..``, ``CON`` or ``a:b``.

    Args:
        key: the config key or option, for the message.
        name: 1 to 100 letters, digits, spaces and ``_ . + -``, without a dot or space at its ends.
        portable: whether names of Windows' devices are refused, too. A network of ours is called PRN.

    Raises:
        SAPDError: naming the key, the name and what is expected.

    >>> check_name('--name', '../../x')
    Traceback (most recent call last):
    sapd_plugin.errors.SAPDError: --name: found '../../x', expected a name in letters, digits and _ . + -, not a path.
    """
    if not isinstance(name, str) or not _FORM.fullmatch(name):
        raise SAPDError(f'{key}: found {name!r}, expected a name in letters, digits and _ . + -, not a path.')
    if portable and _DEVICES.fullmatch(name):
        raise SAPDError(f'{key}: found {name!r}, expected another name: Windows has no file of this name.')


def check_folder_name(key: str, name: object) -> None:
    """Refuse a ``name`` of config key ``key`` that is not the name of one folder: a path, ``..``, or too long a name.

    This accepts more than :func:`check_name`, because a framework's own configs have such names.

    Raises:
        SAPDError: naming the key, the name and what is expected.

    >>> check_folder_name('name', '001_EDSR (x4)')
    >>> check_folder_name('name', '../x')
    Traceback (most recent call last):
    sapd_plugin.errors.SAPDError: name: found '../x', expected the name of one folder, not a path.
    """
    check_text(key, name)
    text = str(name)
    if text in ('.', '..') or text != text.strip() or any(each in '/\\' or not each.isprintable() for each in text):
        raise SAPDError(f'{key}: found {name!r}, expected the name of one folder, not a path.')
    if len(text.encode()) > _LONGEST:
        raise SAPDError(f'{key}: found a name of {len(text.encode())} bytes, expected at most {_LONGEST}.')

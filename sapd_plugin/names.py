"""Names of users that become names of files and folders."""

from __future__ import annotations

import re

from sapd_plugin.errors import SAPDError

_FORM = re.compile(r'(?=.{1,100}$)[\w+-]([\w .+-]*[\w+-])?')
_DEVICES = re.compile(r'(con|prn|aux|nul|com\d|lpt\d)(\..*)?', re.IGNORECASE)  # Windows has no files of these names


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

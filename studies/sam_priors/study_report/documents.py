"""Documents with marked blocks, whose text is made anew from what was measured."""

from __future__ import annotations

import re
from collections.abc import Callable

from sapd_plugin.errors import SAPDError

_MARKER = re.compile(r'<!--\s*(?P<word>study\b|end\b)(?P<rest>.*?)-->', re.DOTALL)


def fill(text: str, make: Callable[[str], str], where: str) -> str:
    """Put what ``make`` says in the place of all that stands between markers.

    A block begins with ``<!-- study: NAME ARGUMENTS -->`` and ends with ``<!-- end -->``. Both may stand in the middle
    of a sentence.

    Args:
        text: of the document.
        make: from what the first marker names to the text between both, line breaks included.
        where: the document's name, for errors.

    Raises:
        SAPDError: a marker without its other half, or one that is not written as above; or from ``make``.
    """
    parts, done, begin = [], 0, None
    for marker in _MARKER.finditer(text):
        line = f'{where} line {text.count(chr(10), 0, marker.start()) + 1}'
        if marker['word'] == 'study':
            if begin is not None:
                raise SAPDError(f"{line}: found '{marker[0]}' before the '<!-- end -->' of '{begin}'.")
            if not marker['rest'].startswith(':') or not marker['rest'][1:].strip():
                raise SAPDError(f"{line}: found '{marker[0]}', expected '<!-- study: NAME ARGUMENTS -->'.")
            begin = ' '.join(marker['rest'][1:].split())
            try:
                made = make(begin)
            except SAPDError as error:
                raise SAPDError(f'{line}: {error}') from error
            parts += [text[done : marker.end()], made]
        else:
            if begin is None:
                raise SAPDError(f"{line}: found '{marker[0]}' without a '<!-- study: NAME -->' before it.")
            begin, done = None, marker.start()
    if begin is not None:
        raise SAPDError(f"{where}: found no '<!-- end -->' after '<!-- study: {begin} -->'.")
    return ''.join([*parts, text[done:]])

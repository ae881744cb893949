"""Text and JSON files that a user may have edited or exchanged."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.regular_files import read_regular


def read_text(path: Path, expected: str = 'text') -> str:
    """Read a UTF-8 text file, without the mark that some editors put at its beginning.

    Raises:
        SAPDError: it is not UTF-8; the message names the file, the place and what is expected.
        OSError: it cannot be read.
    """
    data = read_regular(path)
    try:
        text = data.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        line = data.count(b'\n', 0, error.start) + 1
        found = f'the byte 0x{data[error.start]:02x} in line {line}, which is not UTF-8'
        raise SAPDError(f'{path}: found {found}, expected {expected}.') from error
    return text.replace('\r\n', '\n').replace('\r', '\n')


def read_json(path: Path, expected: str) -> Any:
    """Read a JSON file, whose numbers are finite.

    Raises:
        SAPDError: it is not UTF-8 or not JSON, or holds NaN or Infinity; the message ends with what is expected.
        OSError: it cannot be read.
    """
    text = read_text(path, expected)
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise SAPDError(f'{path}: found lists in lists without end, expected {expected}.') from error
    except ValueError as error:
        raise SAPDError(f'{path}: {" ".join(str(error).split())}; expected {expected}.') from error


def read_record(path: Path, expected: str) -> dict[str, Any]:
    """Read a JSON file of ours that holds a mapping, beside what it is about.

    Raises:
        SAPDError: as :func:`read_json`, or it does not hold a mapping.
        OSError: it cannot be read.
    """
    found = read_json(path, expected)
    if not isinstance(found, dict):
        raise SAPDError(f'{path}: found {json.dumps(found)[:100]}, expected {expected}.')
    return found


def _refuse(constant: str) -> float:
    raise ValueError(f'found {constant}, which is not a finite number')


def _finite(text: str) -> float:
    value = float(text)
    return value if math.isfinite(value) else _refuse(text)

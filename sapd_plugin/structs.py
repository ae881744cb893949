"""Typed records that the project's YAML files are read into, with unknown keys refused."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from sapd_plugin.errors import SAPDError, check_choice, check_keys
from sapd_plugin.texts import read_text

T = TypeVar('T')


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base class of the records; subclasses repeat ``frozen=True`` for mypy.

    A field whose YAML key is not an identifier, or is the name of a builtin, uses ``msgspec.field(name=KEY)``.
    """


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        SAPDError: there is no such file, it is not YAML, or it does not hold a mapping.
    """
    if not path.is_file():
        raise SAPDError(f'found no file {path}.')
    text = read_text(path, 'YAML')
    try:
        content = yaml.safe_load(text)
    except RecursionError as error:
        raise SAPDError(f'{path}: not YAML of ours: found lists in lists without end, expected a mapping.') from error
    except Exception as error:  # besides its own errors, those of the values that it makes: 2024-13-01, !!int x
        raise SAPDError(f'{path}: not YAML: {" ".join(str(error).split())[:500]}') from error
    if not isinstance(content, dict):
        raise SAPDError(f'{path}: found {type(content).__name__}, expected a mapping.')
    return content


def read_struct(path: Path, kind: type[T]) -> T:
    """Read a YAML file into a record.

    Raises:
        SAPDError: as :func:`read_yaml` and :func:`convert`.
    """
    return convert(read_yaml(path), kind, path.name)


def convert(value: Any, kind: type[T], where: str) -> T:
    """Convert the content of a YAML or JSON file to a record.

    Args:
        value: mappings, lists and plain values.
        kind: a :class:`Record`, or any type that msgspec supports.
        where: the file or key that holds ``value``, with which messages begin.

    Raises:
        SAPDError: naming the place of a key that is unknown or missing, or of a value that has the wrong type or is not
            one of those allowed.
    """
    try:
        _check(value, inspect.type_info(kind), where)
        return msgspec.convert(value, kind)
    except RecursionError as error:
        raise SAPDError(f'{where}: found a value that contains itself, or lists in lists without end.') from error
    except UnicodeEncodeError as error:  # JSON can escape half of a surrogate pair
        raise SAPDError(f'{where}: found {error.object!a}, which is not text.') from error
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(' - at `$')
        raise SAPDError(f'{where}{place.rstrip("`")}: {message}.') from error


def _check(value: Any, expected: inspect.Type, where: str) -> None:
    """Refuse wrong names here, because msgspec's messages lack the nearest valid name."""
    if isinstance(expected, inspect.UnionType):
        for option in expected.types:
            if not isinstance(option, inspect.NoneType):
                _check(value, option, where)
    elif isinstance(expected, inspect.StructType) and isinstance(value, Mapping):
        fields = {field.encode_name: field for field in expected.fields}
        check_keys(where, value, fields)
        for name, field in fields.items():
            if name in value:
                _check(value[name], field.type, f'{where}.{name}')
            elif field.required:
                raise SAPDError(f'{where}: found no key {name!r}, expected one.')
    elif isinstance(expected, inspect.DictType) and isinstance(value, Mapping):
        for name, part in value.items():
            _check(name, expected.key_type, where)
            _check(part, expected.value_type, f'{where}.{name}')
    elif isinstance(expected, (inspect.ListType, inspect.VarTupleType)) and isinstance(value, (list, tuple)):
        for number, part in enumerate(value):
            _check(part, expected.item_type, f'{where}[{number}]')
    elif isinstance(expected, inspect.FloatType) and isinstance(value, float) and not isfinite(value):
        raise SAPDError(f'{where}: found {value}, expected a finite number.')
    elif isinstance(expected, inspect.LiteralType):
        check_choice(where, value, [str(option) for option in expected.values])

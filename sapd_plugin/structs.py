"""YAML files of the project's own, read into typed records that refuse keys which nobody would read."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from sapd_plugin.errors import SAPDError, check_choice, check_keys

T = TypeVar('T')


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the records that YAML files of the project are read into; subclasses repeat ``frozen=True`` for mypy.

    A field whose YAML key is a builtin's name or not an identifier is declared with ``msgspec.field(name=KEY)``.
    """


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        SAPDError: there is no such file, it is not YAML, or it holds something else than a mapping.
    """
    if not path.is_file():
        raise SAPDError(f'found no file {path}.')
    try:
        content = yaml.safe_load(path.read_text(encoding='utf-8'))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SAPDError(f'{path}: not YAML: {error}') from error
    if not isinstance(content, dict):
        raise SAPDError(f'{path}: found {type(content).__name__}, expected a mapping.')
    return content


def read_struct(path: Path, kind: type[T]) -> T:
    """Read a YAML file into a record.

    Raises:
        SAPDError: as `read_yaml` and `convert` raise it.
    """
    return convert(read_yaml(path), kind, path.name)


def convert(value: Any, kind: type[T], where: str) -> T:
    """Turn plain mappings, lists and values into a record.

    Args:
        value: as YAML or JSON is read.
        kind: a `Record`, or any type that msgspec knows.
        where: the place of ``value``, which messages begin with.

    Raises:
        SAPDError: naming the place of an unknown or missing key, of a value that is not among those allowed (with the
            nearest valid one), or of a value of another type.
    """
    _check(value, inspect.type_info(kind), where)
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(' - at `$')
        raise SAPDError(f'{where}{place.rstrip("`")}: {message}.') from error


def _check(value: Any, expected: inspect.Type, where: str) -> None:
    """Refuse wrong names, whose messages msgspec words without the nearest valid name."""
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
    elif isinstance(expected, inspect.LiteralType):
        check_choice(where, value, [str(option) for option in expected.values])

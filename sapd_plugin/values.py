"""Types and ranges of config values, declared once: as the annotations of the arguments that take them.

>>> @checked
... def loss(loss_weight: Weight = 0.1, every: Count = 1, gate: Annotated[str, one_of('none', 'pixel')] = 'none'):
...     return loss_weight
>>> loss(every=0)
Traceback (most recent call last):
sapd_plugin.errors.SAPDError: every: found 0, expected an integer >= 1.
>>> loss('1e-1')
Traceback (most recent call last):
sapd_plugin.errors.SAPDError: loss_weight: found '1e-1', expected a number >= 0. In YAML, write 0.1.
"""

from __future__ import annotations

import functools
import inspect
import math
import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar

from sapd_plugin.errors import (
    SAPDError,
    check_choice,
    check_count,
    check_flag,
    check_integer,
    check_number,
    check_template,
    check_text,
)

Function = TypeVar('Function', bound=Callable[..., Any])


class Valid:
    """The annotation of a value: a function (key, value, **options) that raises SAPDError for what it refuses.

    Args:
        check: the function.
        **options: of each call.
    """

    def __init__(self, check: Callable[..., object], **options: Any) -> None:
        self.check, self.options = check, options

    def __call__(self, key: str, value: object) -> None:
        """Refuse an invalid value of a config key. Raises SAPDError."""
        self.check(key, value, **self.options)


def one_of(*names: str) -> Valid:
    """Return the annotation of a value that is one of ``names``."""
    return Valid(check_choice, valid=names)


def number(at_least: float = -float('inf'), at_most: float = float('inf'), above: float | None = None) -> Valid:
    """Return the annotation of a finite number in a range; ``above`` excludes its bound."""
    return Valid(check_number, at_least=at_least, at_most=at_most, above=above)


def check_path(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that cannot be a path. Raises SAPDError."""
    if not isinstance(value, (str, os.PathLike)) or not str(value) or '\0' in str(value):
        raise SAPDError(f'{key}: found {value!r}, expected a path.')


def check_block(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a block of settings. Raises SAPDError."""
    if not isinstance(value, Mapping):
        raise SAPDError(f'{key}: found {value!r}, expected a block of settings.')


def check_names(key: str, value: object, several: bool = True, valid: Iterable[str] = ()) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a list of different names.

    Args:
        key: config key, for the message.
        value: to check.
        several: False accepts one name, too.
        valid: all names that are allowed; empty means any.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    names = [value] if isinstance(value, str) and not several else value
    kind = 'a list of different names' if several else 'one name or a list of different ones'
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise SAPDError(f'{key}: found {value!r}, expected {kind}.')
    for name in names:
        if not isinstance(name, str) or not name:
            raise SAPDError(f'{key}: found {name!r} in the list, expected a name.')
        if valid:
            check_choice(key, name, valid)
    if len(set(names)) < len(names):
        raise SAPDError(f'{key}: found {value!r}, expected {kind}.')


Weight = Annotated[float, number(at_least=0)]
Positive = Annotated[float, number(above=0)]
Share = Annotated[float, number(at_least=0, at_most=1)]
Count = Annotated[int, Valid(check_count)]
Natural = Annotated[int, Valid(check_count, at_least=0)]
Seed = Annotated[int, Valid(check_integer, at_least=0, below=2**32)]
Name = Annotated[str, Valid(check_text)]
File = Annotated[str | os.PathLike[str], Valid(check_path)]
Template = Annotated[str, Valid(check_template)]
Block = Annotated[Mapping[str, Any], Valid(check_block)]


def check_betas(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is not the betas of an optimizer, numbers in [0, 1).

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) < 2:
        raise SAPDError(f'{key}: found {value!r}, expected a list of numbers in [0, 1).')
    for index, each in enumerate(value):
        check_number(f'{key}[{index}]', each, at_least=0, at_most=math.nextafter(1, 0))


# Of torch's optimizers, in every framework's config.
OPTIMIZER_KINDS: dict[str, Any] = {
    'lr': Weight,
    'weight_decay': Weight,
    'momentum': Weight,
    'eps': Weight,
    'betas': Annotated[Sequence[float], Valid(check_betas)],
}
# Of plain annotations.
_PLAIN: dict[object, Callable[[str, object], None]] = {
    bool: check_flag,
    int: check_integer,
    float: check_number,
    str: check_text,
}


# Text that YAML 1.1 reads as true or false, unless it is in quotation marks.
_TRUTH = ('true', 'false', 'yes', 'no', 'on', 'off')


def check_value(key: str, value: object, kind: Any) -> None:
    """Refuse a ``value`` of config key ``key`` that is not what an annotation says.

    Args:
        key: config key, for the message.
        value: to check.
        kind: bool, int, float, str, an ``Annotated`` with a :class:`Valid`, or one of these ``| None``. Anything else
            is not checked.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    if typing.get_origin(kind) is Annotated:
        for check in kind.__metadata__:
            if isinstance(check, Valid):
                check(key, value)
    elif typing.get_origin(kind) in (typing.Union, types.UnionType):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if value is None and len(options) < len(typing.get_args(kind)):
            return
        if len(options) == 1:
            check_value(key, value, options[0])
    elif kind in _PLAIN:
        _PLAIN[kind](key, value)


def check_values(where: str, values: Mapping[str, Any], kinds: Mapping[str, Any]) -> None:
    """Check those ``values`` that a table key -> annotation has; ``where`` is the key of their block, or empty.

    Raises:
        SAPDError: as :func:`check_value`.
    """
    for key, value in values.items():
        if key in kinds:
            check_value(f'{where}.{key}' if where else key, value, kinds[key])


def checked(function: Function) -> Function:
    """Check the arguments of each call against their annotations; messages begin with the argument's name.

    :func:`check_arguments` does the same before the call.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def check_and_call(*args: Any, **kwargs: Any) -> Any:
        given = signature.bind(*args, **kwargs).arguments
        check_values('', given, kinds_of(function))
        return function(*args, **kwargs)

    check_and_call.sapd_checked = True  # type: ignore[attr-defined]
    return typing.cast(Function, check_and_call)


def check_arguments(where: str, values: Mapping[str, Any], called: Callable[..., Any]) -> None:
    """Refuse arguments of a config block that a class or function of anybody's cannot mean.

    What is :func:`checked` is checked here as in the call. Anything else tells by its defaults what it takes: where the
    default is a number, text or a bool is a mistake, and where it is a bool, so is text such as 'no', which is true.

    Args:
        where: config key of the block, for messages.
        values: its arguments.
        called: what is called with them.

    Raises:
        SAPDError: naming the key, what was found and what is expected.

    >>> check_arguments('train.optim_g', {'lr': '1e-4'}, lambda lr=1e-3: None)
    Traceback (most recent call last):
    sapd_plugin.errors.SAPDError: train.optim_g.lr: found '1e-4', expected a number. In YAML, write 0.0001.
    """
    function: Any = inspect.getattr_static(called, '__init__') if isinstance(called, type) else called
    if getattr(function, 'sapd_checked', False):
        check_values(where, values, kinds_of(function))
    for name, parameter in inspect.signature(called).parameters.items():
        value, default = values.get(name), parameter.default
        key = f'{where}.{name}'
        if isinstance(default, bool):
            if isinstance(value, str) and value.lower() in _TRUTH:
                check_flag(key, value)
        elif isinstance(default, (int, float)) and isinstance(value, (str, bool)) and name in values:
            check_number(key, value)
        if isinstance(value, float) and not math.isfinite(value):
            check_number(key, value)


def check_fields(instance: Any) -> None:
    """Check the fields of a dataclass against their annotations; for its ``__post_init__``.

    Raises:
        SAPDError: as :func:`check_value`.
    """
    check_values(
        '', {field.name: getattr(instance, field.name) for field in fields(instance)}, kinds_of(type(instance))
    )


def kinds_of(function: Any) -> dict[str, Any]:
    """Return the annotations of a function's arguments, or of a class's fields."""
    return _kinds_of(function)


@functools.cache
def _kinds_of(function: Any) -> dict[str, Any]:
    return typing.get_type_hints(function, include_extras=True)

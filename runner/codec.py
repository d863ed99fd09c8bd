"""Dataclasses as JSON: rebuild a value of known types from what ``dataclasses.asdict`` and JSON made of it.

It imports only the standard library: workers in another interpreter use it too.
"""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from enum import StrEnum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


class DecodeError(Exception):
    """A value does not have the types of the dataclass that it should become."""


def rebuild(cls: type[T], fields: Any) -> T:
    """Return a dataclass from what :func:`dataclasses.asdict` and JSON made of it.

    Raises:
        DecodeError: a field is unknown, missing or ill-typed.
    """
    try:
        found: T = _rebuild(cls, fields, cls.__name__)
    except (TypeError, ValueError) as error:
        raise DecodeError(f"not a {cls.__name__}: {error}") from error
    return found


_JSON_TYPES: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
    NoneType: (NoneType,),
}
"""Scalar type hints, and the types that ``json.loads`` returns for them. A bool is not an int."""

_hints = cache(get_type_hints)


def _rebuild(hint: Any, value: Any, path: str) -> Any:
    """Return a JSON value as an instance of a type hint.

    Args:
        hint: a dataclass, a key of _JSON_TYPES, list[...], dict[str, ...], a union of these, or Any.
        value: a result of ``json.loads``.
        path: the field's dotted name, for the error.

    Raises:
        TypeError: the value does not match the hint.
    """
    if hint is Any or type(value) in _JSON_TYPES.get(hint, ()):
        return value
    origin, arguments = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        return _rebuild_dataclass(hint, value, path)
    if origin is list and isinstance(value, list):
        return [_rebuild(arguments[0], item, path) for item in value]
    if origin is dict and isinstance(value, dict):
        return {key: _rebuild(arguments[1], item, f"{path}.{key}") for key, item in value.items()}
    if isinstance(hint, type) and issubclass(hint, StrEnum) and isinstance(value, str):
        return hint(value)
    if origin is UnionType:
        for option in arguments:
            with suppress(TypeError, ValueError):
                return _rebuild(option, value, path)
    raise TypeError(f"{path}: received {str(value)[:40]!r}; allowed: {hint}")


def _rebuild_dataclass(cls: Any, value: dict[str, Any], path: str) -> Any:
    """Return a JSON object as a dataclass.

    Raises:
        TypeError: a field is unknown, missing or ill-typed.
    """
    hints = _hints(cls)
    if value.keys() != hints.keys():
        unknown, missing = sorted(value.keys() - hints.keys()), sorted(hints.keys() - value.keys())
        raise TypeError(f"{path}: unknown fields {unknown}, missing fields {missing}")
    return cls(**{name: _rebuild(hint, value[name], f"{path}.{name}") for name, hint in hints.items()})

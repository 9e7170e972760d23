"""JSON read back into frozen dataclasses: every key that the class has and no other, every value of its very type.

A reader is made once for each type; gc reads ten thousand manifests of hundreds of values.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]


class _Odd(ValueError):
    """Something is not what it should be; ``path`` grows on the way out."""

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.path: list[str] = []

    def __str__(self) -> str:
        return f"{'.'.join(reversed(self.path)) or 'it'} {self.args[0]}"


def decoded(kind: type[T], value: Any) -> T:
    """A dataclass from the object that ``asdict`` and JSON made of it.

    Raises:
        ValueError: a key is missing or unknown, or a value has another type; the text says which.
    """
    hint: Any = kind
    found: T = _reader(hint)(value)
    return found


@cache
def _reader(hint: Any) -> Reader:
    origin, inner = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        return _optional(_reader(next(kind for kind in inner if kind is not type(None))))
    if origin is Literal:
        return _word(inner)
    if origin is tuple:
        return _list(_reader(inner[0]))
    if origin is Mapping:
        return _map(_reader(inner[1]))
    return _object(hint) if is_dataclass(hint) else _plain(hint)


def _optional(inner: Reader) -> Reader:
    return lambda value: None if value is None else inner(value)


def _plain(kind: type) -> Reader:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise _Odd(f"is not of the type {kind.__name__}")
        return value

    return read


def _word(words: tuple[str, ...]) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in words:
            raise _Odd(f"is {str(value)[:40]!r}, not one of {', '.join(words)}")
        return value

    return read


def _list(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, list):
            raise _Odd("is no list")
        return tuple(_at(str(number), inner, item) for number, item in enumerate(value))

    return read


def _map(inner: Reader) -> Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Odd("is no object")
        return {name: _at(name, inner, item) for name, item in sorted(value.items())}

    return read


def _object(kind: Any) -> Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind)}

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise _Odd("is no object")
        if value.keys() != readers.keys():
            missing = [name for name in readers if name not in value]
            unknown = sorted(str(name)[:60] for name in value if name not in readers)
            raise _Odd(f"lacks the key {missing[0]}" if missing else f"has the unknown key {unknown[0]!r}")
        return kind(**{name: _at(name, reader, value[name]) for name, reader in readers.items()})

    return read


def _at(name: str, reader: Reader, value: Any) -> Any:
    try:
        return reader(value)
    except _Odd as odd:
        odd.path.append(name)
        raise

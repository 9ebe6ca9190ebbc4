"""JSON as clients usually write it, read into messages in a third of the time that protobuf's own mapping takes.

With sixty views a second from each of many clients, reading them is what a server's event loop does most.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias, TypeVar

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

Read: TypeAlias = Callable[[Any], Any]
"""From what JSON has to what a message's constructor takes; raises _NotPlainError for what it leaves to protobuf."""

M = TypeVar("M", bound=Message)


class _NotPlainError(ValueError):
    """Written in a way that is left to protobuf: perhaps right, perhaps wrong."""


def read_plain(text: str, kind: type[M]) -> M | None:
    """Read the JSON mapping of a message if it is written plainly; None where protobuf has to read, or to refuse it.

    Plain are the proto's own names, each once, and values as the mapping writes them: no null, no numbers in quotes, no
    enum by its number, no whole number as a fraction. Fields of other kinds than here are never plain.
    """
    try:
        return kind(**_reader(kind.DESCRIPTOR)(_DECODER.decode(text)))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise _NotPlainError
    return values


def _refuse(value: object) -> NoReturn:
    raise _NotPlainError


_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_refuse)


def _number(value: Any) -> Any:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int:
        return float(value)
    raise _NotPlainError


def _uint32(value: Any) -> Any:
    if type(value) is int and 0 <= value < 1 << 32:
        return value
    raise _NotPlainError


def _exactly(kind: type) -> Read:
    def read(value: Any) -> Any:
        if type(value) is kind:
            return value
        raise _NotPlainError

    return read


def _one_of(numbers: Mapping[str, int]) -> Read:
    def read(value: Any) -> Any:
        if type(value) is str and value in numbers:
            return numbers[value]
        raise _NotPlainError

    return read


def _each(read_one: Read) -> Read:
    def read(values: Any) -> Any:
        if type(values) is list:
            return [read_one(value) for value in values]
        raise _NotPlainError

    return read


_SCALARS: dict[int, Read] = {
    FieldDescriptor.TYPE_DOUBLE: _number,
    FieldDescriptor.TYPE_UINT32: _uint32,
    FieldDescriptor.TYPE_BOOL: _exactly(bool),
    FieldDescriptor.TYPE_STRING: _exactly(str),
}


@functools.cache
def _reader(descriptor: Descriptor) -> Read:
    """Return what reads the fields of a message."""
    readers = {field.name: _field_reader(field) for field in descriptor.fields}
    alternatives = {
        field.name: field.containing_oneof.name for field in descriptor.fields if field.containing_oneof is not None
    }

    def read(values: Any) -> Any:
        if type(values) is not dict:
            raise _NotPlainError
        chosen = [alternatives[name] for name in values if name in alternatives]
        if len(set(chosen)) < len(chosen):
            raise _NotPlainError
        return {name: readers[name](value) if name in readers else _refuse(value) for name, value in values.items()}

    return read


def _field_reader(field: FieldDescriptor) -> Read:
    if field.message_type is not None:
        read = _refuse if field.message_type.GetOptions().map_entry else _reader(field.message_type)
    elif field.enum_type is not None:
        read = _one_of({name: value.number for name, value in field.enum_type.values_by_name.items()})
    else:
        read = _SCALARS.get(field.type, _refuse)
    return _each(read) if field.is_repeated else read

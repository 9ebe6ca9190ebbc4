"""The stream's messages as they stand on a websocket: JSON texts, and binary frames."""

from __future__ import annotations

import enum
import functools
import json
import re
import struct
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from render.errors import ProtocolError
from render.stream.contract import CloseCode, UnreadableMessageError
from render.stream.plain_json import read_plain
from render.v1 import frame_pb2, stream_pb2

MAX_REASON_CHARACTERS = 200


def parse_client_message(text: str) -> stream_pb2.ClientMessage:
    """Read a client's text message: the JSON mapping of ClientMessage.

    Raises
    ------
    UnreadableMessageError
        If it is not JSON, or has unknown fields or values of the wrong type.
    ProtocolError
        If it holds no message.
    """
    message = read_plain(text, stream_pb2.ClientMessage)
    if message is None:
        message = stream_pb2.ClientMessage()
        try:
            json_format.Parse(text, message, max_recursion_depth=20)
        except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError, OverflowError) as error:
            raise UnreadableMessageError(f"not a ClientMessage: {_one_line(error)}", CloseCode.INVALID_DATA) from error
    return checked(message)


def checked(message: stream_pb2.ClientMessage) -> stream_pb2.ClientMessage:
    """Return the message.

    Raises
    ------
    ProtocolError
        If it holds none of the alternatives.
    """
    if message.WhichOneof("message") is None:
        raise ProtocolError("a ClientMessage that holds no message")
    return message


def to_json(message: Message) -> str:
    """Write a message as one line of JSON, with proto field names and defaults included."""
    return json_format.MessageToJson(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True, indent=None
    )


def frame_to_bytes(frame: stream_pb2.FrameMessage) -> bytes:
    """Write a frame: u32 little-endian length of the header, the FrameHeader as JSON, the payload."""
    header = _header_to_json(frame.header).encode()
    return b"".join((struct.pack("<I", len(header)), header, frame.payload))


def _header_to_json(header: frame_pb2.FrameHeader) -> str:
    """Write what `to_json` does, in a third of its time: there is one with every frame."""
    try:
        return json.dumps(_plain(header), allow_nan=False)
    except (ValueError, TypeError):
        return to_json(header)  # which has words for numbers that are not finite, and for bytes


def _plain(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {}
    for name, kind, enum_names in _fields(message.DESCRIPTOR):
        if kind is _Kind.ALWAYS:
            plain[name] = getattr(message, name)
        elif kind is _Kind.ENUM:
            number = getattr(message, name)
            plain[name] = enum_names.get(number, number)
        elif message.HasField(name):
            value = getattr(message, name)
            plain[name] = _plain(value) if kind is _Kind.MESSAGE else value
    return plain


class _Kind(enum.Enum):
    """How a field of FrameHeader, or of a message in it, stands in JSON. None has 64 bits."""

    ALWAYS = enum.auto()
    ENUM = enum.auto()
    OPTIONAL = enum.auto()
    MESSAGE = enum.auto()


@functools.cache
def _fields(descriptor: Descriptor) -> tuple[tuple[str, _Kind, dict[int, str]], ...]:
    return tuple(_field(field) for field in descriptor.fields)


def _field(field: FieldDescriptor) -> tuple[str, _Kind, dict[int, str]]:
    if field.message_type is not None:
        return field.name, _Kind.MESSAGE, {}
    if field.enum_type is not None:
        return field.name, _Kind.ENUM, {value.number: value.name for value in field.enum_type.values}
    return field.name, _Kind.OPTIONAL if field.has_presence else _Kind.ALWAYS, {}


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    # protobuf's advice for NaN and infinities is to quote them: they are refused all the same, later.
    text = re.sub(r"Couldn't parse .*use quoted .* instead\.?", "numbers must be finite", text)
    return text[:MAX_REASON_CHARACTERS] or type(error).__name__

"""The stream's messages as they stand on a websocket: JSON texts, and binary frames."""

from __future__ import annotations

import re
import struct

from google.protobuf import json_format
from google.protobuf.message import Message

from render.errors import ProtocolError
from render.stream.contract import CloseCode, UnreadableMessageError
from render.v1 import stream_pb2

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
    header = to_json(frame.header).encode()
    return b"".join((struct.pack("<I", len(header)), header, frame.payload))


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    # protobuf's advice for NaN and infinities is to quote them: they are refused all the same, later.
    text = re.sub(r"Couldn't parse .*use quoted .* instead\.?", "numbers must be finite", text)
    return text[:MAX_REASON_CHARACTERS] or type(error).__name__

"""A client's text, read: what is wrong with it is said in words that help."""

from __future__ import annotations

import json
import struct

import pytest
from google.protobuf.descriptor import Descriptor
from hypothesis import given
from hypothesis import strategies as st

from render.stream.contract import UnreadableMessageError
from render.stream.messages import frame_to_bytes, parse_client_message, to_json
from render.v1 import frame_pb2, stream_pb2


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_a_number_that_is_not_finite_is_refused_as_that(number: str) -> None:
    text = '{"set_view": {"view_id": "a", "revision": 1, "view": {"slab_mm": %s}}}'
    with pytest.raises(UnreadableMessageError, match="numbers must be finite") as caught:
        parse_client_message(text % number)
    assert "quoted" not in caught.value.message
    assert parse_client_message(text % "2.5").set_view.view.slab_mm == 2.5


def test_what_protobuf_says_of_other_faults_stays() -> None:
    with pytest.raises(UnreadableMessageError, match="no field named"):
        parse_client_message('{"set_vieww": {}}')


FLOATS = st.floats(allow_nan=True, allow_infinity=True)


@st.composite
def headers(draw: st.DrawFn) -> frame_pb2.FrameHeader:
    """Return a header whose fields are set or not, whatever they may be."""

    def fill(message: object, descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            if draw(st.booleans()):
                continue
            if field.message_type is not None:
                part = getattr(message, field.name)
                part.SetInParent()
                fill(part, field.message_type)
            else:
                values = {
                    field.TYPE_DOUBLE: FLOATS,
                    field.TYPE_BOOL: st.booleans(),
                    field.TYPE_STRING: st.text(max_size=9),
                    field.TYPE_BYTES: st.binary(max_size=9),
                }
                setattr(message, field.name, draw(values.get(field.type, st.integers(0, 9))))

    header = frame_pb2.FrameHeader()
    fill(header, header.DESCRIPTOR)
    return header


@given(headers(), st.binary(max_size=20))
def test_a_frame_is_its_header_as_protobuf_writes_it_and_its_payload(
    header: frame_pb2.FrameHeader, payload: bytes
) -> None:
    written = frame_to_bytes(stream_pb2.FrameMessage(header=header, payload=payload))
    (length,) = struct.unpack_from("<I", written)
    assert json.loads(written[4 : 4 + length]) == json.loads(to_json(header))
    assert written[4 + length :] == payload

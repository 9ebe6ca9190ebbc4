"""What is read plainly is what protobuf's own mapping reads; all else is left to that."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

from render.stream.plain_json import read_plain
from render.v1 import stream_pb2
from tests.stream.engines import view_message

VIEW = json_format.MessageToDict(view_message(), preserving_proto_field_name=True)
SET_VIEW = {"set_view": {"view_id": "a", "revision": 3, "view": VIEW}}


def by_protobuf(text: str) -> stream_pb2.ClientMessage | None:
    """Read it as protobuf does; None where that refuses it."""
    try:
        return json_format.Parse(text, stream_pb2.ClientMessage(), max_recursion_depth=20)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError, OverflowError):
        return None


@pytest.mark.parametrize(
    "message",
    [
        SET_VIEW,
        {"acknowledge": {"view_id": "a", "sequence": 4294967295}},
        {"hello": {"protocol_version": 1, "token": "t\u00e4", "client": "page"}},
        {"ping": {}},
        {"set_visibility": {"visible": False}},
        {"open_volume": {"volume_id": "v", "in_part": True}},
        {"set_view": {"view_id": "", "revision": 0, "view": {"camera": {"position": {}}, "layers": []}}},
    ],
)
def test_what_clients_write_is_read_plainly(message: dict[str, Any]) -> None:
    text = json.dumps(message)
    read = read_plain(text, stream_pb2.ClientMessage)
    assert read is not None
    assert read == by_protobuf(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "nul",
        '{"ping": {}} {}',
        '{"ping": null}',
        '{"ping": []}',
        '{"pong": {}}',
        '{"ping": {"x": 1}}',
        '{"ping": {}, "drive": {}}',
        '{"ping": {}, "ping": {}}',
        '{"setVisibility": {"visible": true}}',
        '{"set_visibility": {"visible": 1}}',
        '{"set_visibility": {"visible": "true"}}',
        '{"acknowledge": {"sequence": -1}}',
        '{"acknowledge": {"sequence": 4294967296}}',
        '{"acknowledge": {"sequence": 1.0}}',
        '{"acknowledge": {"sequence": 1.5}}',
        '{"acknowledge": {"sequence": true}}',
        '{"acknowledge": {"sequence": "1"}}',
        '{"acknowledge": {"view_id": 1}}',
        '{"acknowledge": {"view_id": "\\ud800"}}',
        '{"set_view": {"view": {"slab_mm": NaN}}}',
        '{"set_view": {"view": {"slab_mm": "NaN"}}}',
        '{"set_view": {"view": {"slab_mm": 1e999}}}',
        '{"set_view": {"view": {"slab_mm": 1' + 400 * "0" + "}}}",
        '{"set_view": {"view": {"slab_mm": true}}}',
        '{"set_view": {"view": {"rendering_method": 2}}}',
        '{"set_view": {"view": {"rendering_method": "RENDERING_METHOD_OTHER"}}}',
        '{"set_view": {"view": {"camera": {"fov_deg": 30, "parallel_scale_mm": 30}}}}',
        '{"set_view": {"view": {"layers": {}}}}',
        '{"set_view": {"view": {"layers": [null]}}}',
        '{"set_view": {"view": {"layers": [{"window": {"table": {"entries": "AAA="}}}]}}}',
        '{"set_view": ' + 100 * "[" + 100 * "]" + "}",
    ],
)
def test_what_is_written_otherwise_is_left_to_protobuf(text: str) -> None:
    assert read_plain(text, stream_pb2.ClientMessage) is None


WHATEVER = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-1, 2**33),
    st.floats(),
    st.sampled_from(["", "1", "RENDERING_METHOD_MAXIMUM_IP", "NaN", "view_id"]),
    st.text(max_size=3),
    st.lists(st.integers(0, 2), max_size=2),
    st.dictionaries(st.sampled_from(["x", "view_id"]), st.integers(0, 2), max_size=2),
)


@st.composite
def trees(draw: st.DrawFn) -> Any:
    """Return JSON much like a message's: most fields right, some with any value, some by another name."""

    def fill(descriptor: Descriptor) -> dict[str, Any]:
        chosen = draw(st.lists(st.sampled_from(list(descriptor.fields)), max_size=3)) if descriptor.fields else []
        return {draw(st.sampled_from(3 * [field.name] + [field.json_name])): value(field) for field in chosen}

    def value(field: FieldDescriptor) -> Any:
        if draw(st.integers(0, 9)) == 0:
            return draw(WHATEVER)
        if field.message_type is not None:
            made = fill(field.message_type)
        elif field.enum_type is not None:
            made = draw(st.sampled_from([each.name for each in field.enum_type.values]))
        else:
            made = draw(
                {
                    field.TYPE_DOUBLE: st.one_of(st.floats(), st.integers()),
                    field.TYPE_BOOL: st.booleans(),
                    field.TYPE_STRING: st.text(max_size=3),
                }.get(field.type, st.integers(-1, 2**33))
            )
        return [made] if field.is_repeated else made

    return fill(stream_pb2.ClientMessage.DESCRIPTOR)


@given(trees())
def test_nothing_is_read_that_protobuf_reads_otherwise_or_refuses(tree: Any) -> None:
    text = json.dumps(tree)
    read = read_plain(text, stream_pb2.ClientMessage)
    if read is not None:
        assert read == by_protobuf(text)
        assert read.WhichOneof("message") == by_protobuf(text).WhichOneof("message")  # type: ignore[union-attr]

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from render.encoding import decode_values
from render.service.convert.views import view_to_proto
from render.v1 import frame_pb2, stream_pb2
from render.v1 import render_service_pb2 as pb
from tests.fakes import make_view
from tests.service.calls import failure, render_frame, render_request, until
from tests.service.conftest import Served

CODE = grpc.StatusCode
HELLO = {"hello": stream_pb2.Hello(protocol_version=1, client="test")}


class Client:
    """A stream's client that acknowledges every frame that it has whole."""

    def __init__(self, call: Any) -> None:
        self.call = call

    async def send(self, **message: Any) -> None:
        await self.call.write(pb.StreamFramesRequest(message=stream_pb2.ClientMessage(**message)))

    async def next_message(self, kind: str) -> Any:
        """Return the next message of a kind; those of other kinds are passed over."""
        while True:
            response = await self.call.read()
            assert response is not grpc.aio.EOF, "the call has ended"
            if response.message.HasField(kind):
                return getattr(response.message, kind)

    async def read_out(self) -> None:
        while await self.call.read() is not grpc.aio.EOF:
            pass

    async def next_frame(self) -> tuple[frame_pb2.FrameHeader, bytes]:
        payload = b""
        while True:
            response = await self.call.read()
            assert response is not grpc.aio.EOF, "the call has ended"
            if response.WhichOneof("event") != "frame":
                continue
            header = response.frame.header
            payload += response.frame.payload
            if header.chunk_index + 1 == header.chunk_count:
                await self.send(acknowledge=stream_pb2.Acknowledge(view_id=header.view_id, sequence=header.sequence))
                return header, payload


@pytest.fixture
async def client(served: Served) -> AsyncIterator[Client]:
    call = served.stub.StreamFrames()
    yield Client(call)
    call.cancel()


def set_view(revision: int, volume_id: str = "a") -> dict[str, Any]:
    view = view_to_proto(make_view(volume_id, width=16, height=8))
    return {"set_view": stream_pb2.SetView(view_id="axial", revision=revision, view=view)}


async def test_a_view_ends_in_a_lossless_final_frame(served: Served, client: Client) -> None:
    await client.send(**HELLO)
    welcome = await client.next_message("welcome")
    assert [volume.volume_id for volume in welcome.volumes] == ["a", "b", "c"]
    await client.send(**set_view(1))
    header, payload = await client.next_frame()
    while header.quality != frame_pb2.FRAME_QUALITY_FINAL:
        header, payload = await client.next_frame()
    assert (header.view_id, header.view_revision, header.lossless) == ("axial", 1, True)
    assert header.encoding == frame_pb2.FRAME_ENCODING_VALUES_DEFLATE
    values = decode_values(
        payload, header.width_px, header.height_px, header.value_slope, header.value_intercept, deflated=True
    )
    np.testing.assert_array_equal(values, np.full((8, 16), 42.5))


async def test_the_status_counts_the_session_and_names_its_pin(served: Served, client: Client) -> None:
    await client.send(**HELLO)
    await client.next_message("welcome")
    await client.send(open_volume=stream_pb2.OpenVolume(volume_id="a"))
    opened = await client.next_message("volume_opened")
    assert opened.volume.summary.volume_id == "a"
    status = await served.stub.GetStatus(pb.GetStatusRequest())
    assert status.sessions == 1
    assert list(status.volumes[0].pinned_by) == ["session-1"]


async def test_leaving_ends_the_session_and_its_pins(served: Served, client: Client) -> None:
    await client.send(**HELLO)
    await client.send(open_volume=stream_pb2.OpenVolume(volume_id="a"))
    await client.next_message("volume_opened")
    await client.call.done_writing()
    assert await client.call.code() is CODE.OK
    assert served.engine.status().cache.pinned_bytes == 0
    assert (await served.stub.GetStatus(pb.GetStatusRequest())).sessions == 0


async def test_a_client_that_vanishes_stops_its_rendering(served: Served, client: Client) -> None:
    served.renderer.gate.clear()
    await client.send(**HELLO)
    await client.send(**set_view(1))
    await until(served.renderer.rendering)
    client.call.cancel()
    await until(served.renderer.saw_cancelled)


async def test_an_error_of_a_view_is_told_and_the_session_goes_on(served: Served, client: Client) -> None:
    await client.send(**HELLO)
    await client.send(**set_view(1, "nothing"))
    error = await client.next_message("error")
    assert error.reason == "VOLUME_NOT_FOUND"
    await client.send(**set_view(2))
    header, _ = await client.next_frame()
    assert header.view_revision == 2


@pytest.mark.parametrize(
    ("first", "match"),
    [
        (pb.StreamFramesRequest(), "no message"),
        (pb.StreamFramesRequest(message=stream_pb2.ClientMessage()), "no message"),
        (
            pb.StreamFramesRequest(message=stream_pb2.ClientMessage(list_volumes=stream_pb2.ListVolumes())),
            "",
        ),
        (
            pb.StreamFramesRequest(
                message=stream_pb2.ClientMessage(hello=stream_pb2.Hello(protocol_version=1, client="x" * 20_000))
            ),
            "bytes",
        ),
    ],
)
async def test_what_breaks_the_protocol_ends_the_call_with_a_status(
    served: Served, first: pb.StreamFramesRequest, match: str
) -> None:
    call = served.stub.StreamFrames()
    await call.write(first)
    code, line, detail = await failure(call)
    assert (code, detail.reason) == (CODE.INVALID_ARGUMENT, "PROTOCOL")
    assert match in line
    await render_frame(served.stub, render_request())


async def test_a_server_that_drains_says_so(served: Served, client: Client) -> None:
    await client.send(**HELLO)
    await client.next_message("welcome")
    draining = asyncio.create_task(served.sessions.drain())
    await client.next_message("draining")
    code, _, detail = await failure(client.read_out())
    assert (code, detail.reason) == (CODE.UNAVAILABLE, "DRAINING")
    await draining
    code, _, _ = await failure(served.stub.StreamFrames(iter([])))
    assert code is CODE.UNAVAILABLE

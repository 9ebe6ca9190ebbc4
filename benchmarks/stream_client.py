"""A scripted client of the stream: the Python client's own state machine, over a websocket.

It sends a view 60 times a second, decodes each frame and only then acknowledges it, as a page does that paints.
Input-to-paint is the time from the input whose revision a frame echoes until that frame is decoded; input that was
merged into a later view has no lag of its own. It runs on the same cores as the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeAlias

from google.protobuf import json_format
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from benchmarks.stream_link import reading
from benchmarks.stream_script import INPUT_HZ, Paint, Record, Script
from render.v1.frame_pb2 import FrameHeader
from render.v1.render_service_pb2 import StreamFramesResponse
from render.v1.stream_pb2 import FrameMessage, ServerMessage
from render.v1.volume_pb2 import VolumeDescription
from voxelcast import View, convert
from voxelcast.decoding import decode_frame
from voxelcast.stream_state import EncodedFrame, StreamState, is_exact

Schedule: TypeAlias = Sequence[tuple[float, Callable[[], None]]]
"""Seconds from the first input, and what happens then."""

VIEW = "only"
SETTLE_TIMEOUT_S = 30.0
LOSSLESS = 101


class StreamClient:
    """One connection; made by `connected`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._state = StreamState("benchmark")
        self._input_at: dict[int, float] = {}
        self._writing_s: dict[int, float] = {}  # by the view's revision
        self._painted = asyncio.Condition()
        self._last: FrameHeader | None = None
        self.record = Record()
        self._began = time.perf_counter()
        self.description: VolumeDescription | None = None

    async def open(self, volume_id: str) -> VolumeDescription:
        """Return what the server says of a volume, once it is open."""
        await self._flush()
        await self._socket.send(json.dumps({"open_volume": {"volume_id": volume_id}}))
        async with self._painted:
            await self._painted.wait_for(lambda: self.description is not None)
        assert self.description is not None
        return self.description

    async def move(
        self, script: Script, seconds: float, *, input_hz: float = INPUT_HZ, schedule: Schedule = ()
    ) -> None:
        """Show the first view until it is exact, move for some seconds, and wait until the last view is exact.

        What is on the schedule is done meanwhile.
        """
        await self._show(script(0.0))
        await self._settle()
        self.record, self._began = Record(), time.perf_counter()
        loop = asyncio.get_running_loop()
        for at_s, act in schedule:
            loop.call_later(at_s, act)
        steps = max(1, round(seconds * input_hz))
        for number in range(1, steps + 1):
            await asyncio.sleep(self._began + number / input_hz - time.perf_counter())
            await self._show(script(number / input_hz))
        self.record.moved_s = time.perf_counter() - self._began
        self.record.final_view = script(steps / input_hz)
        with contextlib.suppress(TimeoutError):
            await self._settle()

    async def step(self, script: Script, steps: int, pause_s: float = 0.02) -> None:
        """Show one view after the other, each only when the one before it has been painted."""
        for number in range(steps):
            count = len(self.record.paints)
            await self._show(script(number / INPUT_HZ))
            async with self._painted:
                await self._painted.wait_for(lambda count=count: len(self.record.paints) > count)  # type: ignore[misc]
            self.record.steps.append(self.record.paints[count])
            await asyncio.sleep(pause_s)

    async def _show(self, view: View) -> None:
        now = time.perf_counter()
        revision = self._state.show(VIEW, convert.view_to_proto(view))
        self._input_at[revision] = now
        self._writing_s[revision] = time.perf_counter() - now
        await self._flush()

    async def _settle(self) -> None:
        async with asyncio.timeout(SETTLE_TIMEOUT_S), self._painted:
            await self._painted.wait_for(lambda: self._state.is_settled)
        settled = self._state.settled_frame(VIEW)
        assert settled is not None
        self.record.final_header, self.record.final_payload = settled.header, settled.payload
        self.record.final_at_s = self.record.paints[-1].at_s if self.record.paints else None

    async def _flush(self) -> None:
        while (message := self._state.next_message(time.perf_counter())) is not None:
            begun = time.perf_counter()
            text = json_format.MessageToJson(message, indent=None, preserving_proto_field_name=True)
            if message.HasField("set_view"):
                self._writing_s[message.set_view.revision] += time.perf_counter() - begun
            await self._socket.send(text)
        again_at = self._state.send_again_at_s()
        if again_at is not None:  # the state spaces views out by 2 ms
            await asyncio.sleep(max(0.0, again_at - time.perf_counter()))
            await self._flush()

    async def read(self) -> None:
        """Take what comes until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            async for message in self._socket:
                begun = time.perf_counter()
                response = _response(message)
                read_s = time.perf_counter() - begun
                if response.message.HasField("volume_opened"):
                    self.description = response.message.volume_opened.volume
                self._state.receive(response)
                frame = self._state.take()
                if frame is not None:
                    self._paint(frame, read_s)
                    await self._flush()
                async with self._painted:
                    self._painted.notify_all()

    def _paint(self, frame: EncodedFrame, read_s: float) -> None:
        header = frame.header
        begun = time.perf_counter()
        decode_frame(header, frame.payload)
        now = time.perf_counter()
        timings = header.timings
        self.record.paints.append(
            Paint(
                now - self._began,
                (now - self._input_at[header.view_revision]) * 1e3,
                len(frame.payload),
                (header.width_px, LOSSLESS if is_exact(header) else header.jpeg_quality),
                timings.render_ms + timings.encode_ms,
                (self._writing_s[header.view_revision] + read_s + now - begun) * 1e3,
            )
        )
        self._last = header


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[StreamClient]:
    """Connect to a server, or the link before it, at 127.0.0.1."""
    async with reading(f"ws://127.0.0.1:{port}/stream", StreamClient) as client:
        yield client


def _response(message: str | bytes) -> StreamFramesResponse:
    """Read a message of the websocket into what the same message is on gRPC."""
    if isinstance(message, str):
        return StreamFramesResponse(message=json_format.Parse(message, ServerMessage()))
    (length,) = struct.unpack_from("<I", message)
    header = json_format.Parse(message[4 : 4 + length], FrameHeader())
    return StreamFramesResponse(frame=FrameMessage(header=header, payload=message[4 + length :]))

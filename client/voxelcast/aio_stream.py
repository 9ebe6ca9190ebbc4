"""The live stream for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Any, Self

import grpc

from render.v1.render_service_pb2 import StreamFramesRequest
from voxelcast import convert
from voxelcast.channel import Endpoint, client_name
from voxelcast.decoding import decode_frame
from voxelcast.errors import DeadlineExceededError, UnavailableError, VoxelcastError, from_rpc
from voxelcast.frames import Frame
from voxelcast.stream import MAIN_VIEW
from voxelcast.stream_state import EncodedFrame, StreamState
from voxelcast.views import View


class AsyncStream:
    """`Stream` for asyncio: ``async with volume.stream() as stream``, ``async for frame in stream``.

    `show` and `close_view` don't wait: they set what is sent next. A cancelled wait takes no frame.

    Examples
    --------
    >>> import asyncio
    >>> from voxelcast import AsyncClient
    >>> async def scroll() -> float:
    ...     async with AsyncClient(address) as client, await client.open("head") as volume:
    ...         async with volume.stream() as stream:
    ...             for slice_mm in (10.0, 20.0, 30.0):
    ...                 stream.show(volume.axial(slice_mm))
    ...             return (await stream.settle()).plane.top_left_mm[2]
    >>> asyncio.run(scroll())
    30.0
    """

    def __init__(self, stub: Any, endpoint: Endpoint, timeout_s: float, view: View | None) -> None:
        self._timeout_s = timeout_s
        self._endpoint = endpoint
        self._state = StreamState(client_name(), endpoint.token)
        if view is not None:
            self._state.show(MAIN_VIEW, convert.view_to_proto(view))
        # Something to send; something to take.
        self._outgoing = asyncio.Event()
        self._incoming = asyncio.Event()
        self._closed = False
        self._failure: VoxelcastError | None = None
        self._call = stub.StreamFrames(metadata=endpoint.metadata)
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]

    def show(self, view: View, view_id: str = MAIN_VIEW) -> int:
        """Set a view; the latest wins. See `Stream.show`."""
        self._check_open()
        revision = self._state.show(view_id, convert.view_to_proto(view))
        self._outgoing.set()
        return revision

    def close_view(self, view_id: str = MAIN_VIEW) -> None:
        """Stop showing a view."""
        self._state.close_view(view_id)
        self._outgoing.set()

    async def next_frame(self, *, timeout_s: float | None = None, view_id: str | None = None) -> Frame:
        """Wait for the next frame and take it. See `Stream.next_frame`."""
        encoded = await self._within(self._take(view_id), timeout_s)
        return decode_frame(encoded.header, encoded.payload)

    def __aiter__(self) -> AsyncIterator[Frame]:
        return self

    async def __anext__(self) -> Frame:
        try:
            return await self.next_frame(timeout_s=math.inf)
        except UnavailableError:
            if self._closed:
                raise StopAsyncIteration from None
            raise

    async def until_settled(self, *, timeout_s: float | None = None) -> AsyncIterator[Frame]:
        """Yield frames until all views show their exact, final one, which comes last.

        `timeout_s` is for each frame.
        """
        while not self._state.is_settled:
            yield await self.next_frame(timeout_s=timeout_s)

    async def settle(
        self, view: View | None = None, *, view_id: str = MAIN_VIEW, timeout_s: float | None = None
    ) -> Frame:
        """Show a view (None: what is shown now), wait for its exact frame and return that. See `Stream.settle`."""
        if view is not None:
            self.show(view, view_id)
        encoded = await self._within(self._take_exact(view_id), timeout_s)
        return decode_frame(encoded.header, encoded.payload)

    async def close(self) -> None:
        """End the stream. Frames that were not taken are dropped."""
        self._closed = True
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._incoming.set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError("the stream is closed")
        if self._failure is not None:
            raise self._failure

    async def _within(self, waiting: Any, timeout_s: float | None) -> EncodedFrame:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                encoded: EncodedFrame = await waiting
                return encoded
        except TimeoutError:
            raise DeadlineExceededError(f"no frame within {timeout_s:g} s") from None

    async def _take(self, view_id: str | None) -> EncodedFrame:
        while (frame := self._state.take(view_id)) is None:
            self._check_open()
            self._incoming.clear()
            await self._incoming.wait()
        self._outgoing.set()  # its acknowledgement
        return frame

    async def _take_exact(self, view_id: str) -> EncodedFrame:
        while (settled := self._state.settled_frame(view_id)) is None:
            await self._take(view_id)
        return settled

    async def _write(self) -> None:
        """Send what there is to send, until the stream ends."""
        try:
            while True:
                self._outgoing.clear()
                while (message := self._state.next_message(time.monotonic())) is not None:
                    await self._call.write(StreamFramesRequest(message=message))
                with contextlib.suppress(TimeoutError):
                    # A deadline of the loop's clock, which is time.monotonic's.
                    async with asyncio.timeout_at(self._state.send_again_at_s()):
                        await self._outgoing.wait()
        except (grpc.RpcError, asyncio.InvalidStateError):
            pass  # the call has ended: the reader learns why

    async def _read(self) -> None:
        """Feed the state until the stream ends."""
        failure: VoxelcastError = UnavailableError("the server ended the stream", reason="DRAINING")
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF:
                self._state.receive(response)
                self._incoming.set()
        except grpc.RpcError as error:
            failure = from_rpc(error, self._endpoint.address)
        except VoxelcastError as error:
            failure = error
            self._call.cancel()
        finally:
            self._failure = failure
            self._incoming.set()

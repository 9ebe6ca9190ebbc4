"""The live stream for asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from voxelcast.channel import Endpoint
from voxelcast.decoding import decode_frame
from voxelcast.descriptions import Sharing
from voxelcast.errors import UnavailableError
from voxelcast.frames import Frame
from voxelcast.stream_call import MAIN_VIEW, StreamCall
from voxelcast.stream_view import EncodedFrame
from voxelcast.views import View

Result = TypeVar("Result")


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

    def __init__(
        self, stub: Any, endpoint: Endpoint, timeout_s: float, view: View | None = None, watched: str = ""
    ) -> None:
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._incoming = asyncio.Event()
        self._call = StreamCall(stub, endpoint, view, watched, notify=self._notify)

    def show(self, view: View, view_id: str = MAIN_VIEW) -> int:
        """Set a view; the latest wins. See `Stream.show`."""
        return self._call.show(view, view_id)

    def close_view(self, view_id: str = MAIN_VIEW) -> None:
        """Stop showing a view."""
        self._call.close_view(view_id)

    @property
    def views(self) -> dict[str, View]:
        """What is shown, by the views' names. See `Stream.views`."""
        return self._call.views

    @property
    def is_connected(self) -> bool:
        """Whether the server answers. See `Stream.is_connected`."""
        return self._call.is_connected

    @property
    def sharing(self) -> Sharing | None:
        """Who drives; None where nothing is shared."""
        return self._call.sharing

    async def share(self, *, timeout_s: float | None = None) -> str:
        """Let others watch what this stream shows; return the id to watch it by. See `Stream.share`."""
        self._call.share()
        return (await self._within(self._shared(driving=False), timeout_s, "answer")).share_id

    async def drive(self, *, timeout_s: float | None = None) -> None:
        """Take the wheel of what is watched. See `Stream.drive`."""
        self._call.drive()
        await self._within(self._shared(driving=True), timeout_s, "answer")

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
            if self._call.is_closed:
                raise StopAsyncIteration from None
            raise

    async def until_settled(self, *, timeout_s: float | None = None) -> AsyncIterator[Frame]:
        """Yield frames until all views show their exact, final one, which comes last.

        `timeout_s` is for each frame.
        """
        while not self._call.is_settled:
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
        self._call.cancel()
        await asyncio.to_thread(self._call.join)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def _notify(self) -> None:
        """Wake whoever waits; called on other threads."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._loop.call_soon_threadsafe(self._incoming.set)

    async def _within(
        self, waiting: Coroutine[Any, Any, Result], timeout_s: float | None, what: str = "frame"
    ) -> Result:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(None if timeout_s == math.inf else timeout_s):
                return await waiting
        except TimeoutError:
            raise self._call.overdue(what, timeout_s) from None

    async def _take(self, view_id: str | None) -> EncodedFrame:
        while True:
            self._incoming.clear()
            if (frame := self._call.take(view_id)) is not None:
                return frame
            await self._incoming.wait()

    async def _take_exact(self, view_id: str) -> EncodedFrame:
        while (settled := self._call.settled_frame(view_id)) is None:
            await self._take(view_id)
        return settled

    async def _shared(self, *, driving: bool) -> Sharing:
        while True:
            self._incoming.clear()
            if (sharing := self._call.shared(driving=driving)) is not None:
                return sharing
            await self._incoming.wait()

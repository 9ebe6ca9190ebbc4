"""A volume of the asyncio client."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy.typing as npt

from render.v1.frame_pb2 import FrameHeader
from render.v1.render_service_pb2 import OpenedVolume
from voxelcast.aio_stream import AsyncStream
from voxelcast.calls import DEFAULT_LOAD_TIMEOUT_S
from voxelcast.decoding import checked, decode_frame
from voxelcast.errors import LEASE_NOT_FOUND, NotFoundError
from voxelcast.frames import Encoding, Frame
from voxelcast.handle import VolumeHandle
from voxelcast.views import Orientation, View

if TYPE_CHECKING:
    from voxelcast.aio import AsyncClient


class AsyncVolume(VolumeHandle):
    """`Volume` for asyncio: the same methods, awaited. Made by `AsyncClient.open` and `AsyncClient.upload`."""

    def __init__(self, client: AsyncClient, opened: OpenedVolume) -> None:
        super().__init__(opened, client._dropped)
        self._client = client

    async def render(
        self,
        view: View | Orientation | None = None,
        *,
        encoding: Encoding = "values",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> npt.NDArray[Any]:
        """Render a view to an array; see `Volume.render`."""
        frame = await self.render_frame(view, encoding=encoding, jpeg_quality=jpeg_quality, timeout_s=timeout_s)
        return frame.array

    async def render_frame(
        self,
        view: View | Orientation | None = None,
        *,
        encoding: Encoding = "values",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> Frame:
        """Render a view to a `Frame`; see `Volume.render_frame`."""
        answer = await self._render(self._view(view), encoding, jpeg_quality, timeout_s)
        return self._with_table(decode_frame(*answer))

    async def render_bytes(
        self,
        view: View | Orientation | None = None,
        *,
        encoding: Encoding = "jpeg",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Render a view and return it as it travelled; see `Volume.render_bytes`."""
        return checked(*await self._render(self._view(view), encoding, jpeg_quality, timeout_s))

    async def _render(
        self, view: View, encoding: Encoding, jpeg_quality: int | None, timeout_s: float | None
    ) -> tuple[FrameHeader, bytes]:
        """Render under the lease; one that has ended is taken again."""
        try:
            return await self._client._render(view, encoding, jpeg_quality, self.lease_id, timeout_s)
        except NotFoundError as error:
            if error.reason != LEASE_NOT_FOUND:
                raise
        self._opened(await self._client._open(self._open_request(), None, DEFAULT_LOAD_TIMEOUT_S))
        return await self._client._render(view, encoding, jpeg_quality, self.lease_id, timeout_s)

    async def open_phase(self, number: int, *, timeout_s: float = DEFAULT_LOAD_TIMEOUT_S) -> AsyncVolume:
        """Open another volume of the series on this grid; see `Volume.open_phase`."""
        return await self._client.open(self._phase_id(number), timeout_s=timeout_s)

    def stream(self, view: View | Orientation | None = None, *, timeout_s: float | None = None) -> AsyncStream:
        """Open a live stream that begins with a view, or a plane by its name (None: the axial); see `AsyncStream`."""
        return self._client.stream(self._view(view), timeout_s=timeout_s)

    async def refresh(self, *, timeout_s: float | None = None) -> None:
        """Ask the server for the description again, and for how many slices are missing."""
        self._described(await self._client._describe(self.id, timeout_s))

    async def release(self, *, timeout_s: float | None = None) -> None:
        """End the lease. The volume stays resident while there is room, but may be evicted."""
        if self.lease_id:
            await self._client.release(self.lease_id, timeout_s=timeout_s)
            self.lease_id = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.release()

"""The client for asyncio."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
import numpy.typing as npt

from render.v1 import render_service_pb2 as messages
from render.v1.frame_pb2 import FrameHeader
from render.v1.render_service_pb2_grpc import RenderServiceStub
from voxelcast import convert, errors, uploads
from voxelcast.aio_stream import AsyncStream
from voxelcast.aio_volume import AsyncVolume
from voxelcast.calls import (
    DEFAULT_LOAD_TIMEOUT_S,
    DEFAULT_TIMEOUT_S,
    FrameAssembler,
    OpenReceiver,
    ProgressCallback,
    open_request,
    render_request,
    still_scanning,
)
from voxelcast.channel import CHANNEL_OPTIONS, channel_to, endpoint
from voxelcast.decoding import checked, decode_frame
from voxelcast.descriptions import ServerStatus, VolumeDescription, VolumeSummary
from voxelcast.errors import DeadlineExceededError, InvalidArgumentError, NotFoundError, from_rpc
from voxelcast.frames import Encoding, Frame
from voxelcast.geometry import Vector
from voxelcast.views import View


class AsyncClient:
    """`Client` for asyncio: the same methods, awaited. Cancelling a call cancels it on the server.

    Make it inside a running event loop, and use it in that one only. Parameters are those of `Client`.

    Examples
    --------
    >>> import asyncio
    >>> from voxelcast import AsyncClient
    >>> async def main() -> tuple[int, ...]:
    ...     async with AsyncClient(address) as client, await client.open("head") as volume:
    ...         planes = await asyncio.gather(*(volume.render(volume.axial(z)) for z in (10.0, 20.0)))
    ...     return planes[0].shape
    >>> asyncio.run(main())
    (512, 512)
    """

    def __init__(
        self,
        address: str = "localhost:50051",
        *,
        token: str | None = None,
        tls: bool = False,
        ca_file: str | Path | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> None:
        self._endpoint = endpoint(address, token, tls, ca_file)
        self._timeout_s = timeout_s
        self._dropped: deque[str] = deque()  # leases of volumes that nobody refers to any more
        credentials = self._endpoint.credentials
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(address, CHANNEL_OPTIONS)
        else:
            self._channel = grpc.aio.secure_channel(address, credentials, CHANNEL_OPTIONS)
        # Streams have a connection of their own, made when it is needed; see voxelcast.stream_call.
        self._stream_channel: grpc.Channel | None = None
        # The generated stub has no annotations.
        self._stub: Any = RenderServiceStub(self._channel)  # type: ignore[no-untyped-call]

    async def volumes(self, *, wait: bool = True, timeout_s: float = DEFAULT_LOAD_TIMEOUT_S) -> list[VolumeSummary]:
        """Return what there is to open; see `Client.volumes`."""
        until_s = time.monotonic() + timeout_s
        while True:
            async with self._call(min(self._timeout_s, max(0.0, until_s - time.monotonic()))) as options:
                answer = await self._stub.ListVolumes(messages.ListVolumesRequest(), **options)
            if not (wait and answer.scanning):
                return [convert.summary_from_proto(summary) for summary in answer.volumes]
            if time.monotonic() + errors.SCAN_INTERVAL_S > until_s:
                raise still_scanning(len(answer.volumes), timeout_s)
            await asyncio.sleep(errors.SCAN_INTERVAL_S)

    async def open(
        self,
        source: str | os.PathLike[str] | VolumeSummary,
        *,
        series: str | int = "",
        volume_index: int | None = None,
        in_part: bool = False,
        progress: ProgressCallback | None = None,
        timeout_s: float = DEFAULT_LOAD_TIMEOUT_S,
    ) -> AsyncVolume:
        """Make a volume resident and pin it; see `Client.open`."""
        return AsyncVolume(
            self, await self._open(open_request(source, series, volume_index, in_part=in_part), progress, timeout_s)
        )

    async def _open(
        self, request: messages.OpenVolumeRequest, progress: ProgressCallback | None, timeout_s: float
    ) -> messages.OpenedVolume:
        await self._release_dropped()
        until_s = time.monotonic() + timeout_s
        missing: NotFoundError | None = None
        while True:
            receiver = OpenReceiver(progress)
            try:
                async with self._call(max(0.0, until_s - time.monotonic())) as options:
                    await _drain(self._stub.OpenVolume(request, **options), receiver.receive)
                return receiver.finish()
            except NotFoundError as error:
                if not error.may_come or time.monotonic() + errors.SCAN_INTERVAL_S > until_s:
                    raise
                missing = error
            except DeadlineExceededError as error:
                raise missing or error from None
            await asyncio.sleep(errors.SCAN_INTERVAL_S)

    async def upload(
        self,
        array: npt.ArrayLike,
        *,
        spacing_mm: Vector | None = None,
        affine: npt.ArrayLike | None = None,
        slope: float = 1.0,
        intercept: float = 0.0,
        invalid_value: int | None = None,
        modality: str = "",
        units: str = "",
        description: str = "",
        timeout_s: float = DEFAULT_LOAD_TIMEOUT_S,
    ) -> AsyncVolume:
        """Bring an array to the server as a volume, and pin it; see `Client.upload`."""
        return await self._upload(
            uploads.voxel_messages(
                array,
                spacing_mm=spacing_mm,
                affine=affine,
                slope=slope,
                intercept=intercept,
                invalid_value=invalid_value,
                modality=modality,
                units=units,
                description=description,
            ),
            timeout_s,
        )

    async def upload_dicom(
        self, paths: uploads.Paths, *, series: str = "", timeout_s: float = DEFAULT_LOAD_TIMEOUT_S
    ) -> AsyncVolume:
        """Bring DICOM files to the server as a volume, and pin it; see `Client.upload_dicom`."""
        requests = await asyncio.to_thread(uploads.instance_messages, paths, series)
        return await self._upload(requests, timeout_s)

    async def _upload(self, requests: Iterable[messages.UploadVolumeRequest], timeout_s: float) -> AsyncVolume:
        await self._release_dropped()
        async with self._call(timeout_s) as options:
            answer = await _send_upload(self._stub.UploadVolume(**options), iter(requests))
        return AsyncVolume(self, answer.opened)

    async def status(self, *, timeout_s: float | None = None) -> ServerStatus:
        """Return devices, budget, what is resident and who pins it."""
        async with self._call(timeout_s) as options:
            return convert.status_from_proto(await self._stub.GetStatus(messages.GetStatusRequest(), **options))

    async def render_frame(
        self,
        view: View,
        *,
        encoding: Encoding = "values",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> Frame:
        """Render one view of any volume, under no lease; see `Volume.render_frame`."""
        return decode_frame(*await self._render(view, encoding, jpeg_quality, "", timeout_s))

    async def render_bytes(
        self,
        view: View,
        *,
        encoding: Encoding = "jpeg",
        jpeg_quality: int | None = None,
        timeout_s: float | None = None,
    ) -> bytes:
        """Render one view of any volume, under no lease; see `Volume.render_bytes`."""
        return checked(*await self._render(view, encoding, jpeg_quality, "", timeout_s))

    async def _render(
        self, view: View, encoding: Encoding, jpeg_quality: int | None, lease_id: str, timeout_s: float | None
    ) -> tuple[FrameHeader, bytes]:
        request = render_request(view, encoding, jpeg_quality, lease_id)
        assembler = FrameAssembler()
        async with self._call(timeout_s) as options:
            await _drain(self._stub.Render(request, **options), assembler.receive)
        return assembler.finish()

    async def describe(self, volume_id: str, *, timeout_s: float | None = None) -> VolumeDescription:
        """Describe a volume that is resident, also in part."""
        return convert.description_from_proto((await self._describe(volume_id, timeout_s)).volume)

    async def _describe(self, volume_id: str, timeout_s: float | None) -> messages.DescribeVolumeResponse:
        request = messages.DescribeVolumeRequest(volume_id=volume_id)
        async with self._call(timeout_s) as options:
            answer: messages.DescribeVolumeResponse = await self._stub.DescribeVolume(request, **options)
        return answer

    async def release(self, lease_id: str, *, timeout_s: float | None = None) -> None:
        """End a lease; one that has ended is no error."""
        try:
            async with self._call(timeout_s) as options:
                await self._stub.ReleaseVolume(messages.ReleaseVolumeRequest(lease_id=lease_id), **options)
        except NotFoundError:
            pass

    async def _release_dropped(self) -> None:
        while self._dropped:
            await self.release(self._dropped.popleft())

    def stream(self, view: View | None = None, *, timeout_s: float | None = None) -> AsyncStream:
        """Open a live stream that begins with a view of any volume, or without one; see `AsyncStream`."""
        return self._stream(timeout_s, view=view)

    def watch(self, share_id: str, *, timeout_s: float | None = None) -> AsyncStream:
        """Open a live stream of what another client shows; see `Client.watch`."""
        if not share_id:
            raise InvalidArgumentError("watch: a share's id is needed")
        return self._stream(timeout_s, watched=share_id)

    def _stream(self, timeout_s: float | None, **begin: Any) -> AsyncStream:
        if self._stream_channel is None:
            self._stream_channel = channel_to(self._endpoint)
        stub: Any = RenderServiceStub(self._stream_channel)  # type: ignore[no-untyped-call]
        return AsyncStream(stub, self._endpoint, self._timeout_s if timeout_s is None else timeout_s, **begin)

    async def close(self) -> None:
        """Close the connection. Volumes stay pinned until their leases end."""
        await self._channel.close()
        if self._stream_channel is not None:
            self._stream_channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncClient {self._endpoint.address}>"

    @asynccontextmanager
    async def _call(self, timeout_s: float | None) -> AsyncIterator[dict[str, Any]]:
        """Yield the options of a call, and turn its failure into the client's errors."""
        try:
            yield {
                "timeout": self._timeout_s if timeout_s is None else timeout_s,
                "metadata": self._endpoint.metadata,
            }
        except grpc.RpcError as error:
            raise from_rpc(error, self._endpoint.address) from None


async def _send_upload(call: Any, requests: Iterator[messages.UploadVolumeRequest]) -> messages.UploadVolumeResponse:
    """Send the header, and the rest once the server has accepted it.

    gRPC's asyncio stack may lose the status of a call that is refused while it is still being written to, so nothing
    is sent to a server that has refused already.
    """
    try:
        await call.write(next(requests))
        accepted = uploads.UPLOAD_ACCEPTED in tuple(await call.initial_metadata())
        while accepted and (request := await asyncio.to_thread(next, requests, None)) is not None:  # they read files
            await call.write(request)
        if accepted:
            await call.done_writing()
        answer: messages.UploadVolumeResponse = await call
    finally:
        call.cancel()
    return answer


async def _drain(call: Any, receive: Callable[[Any], None]) -> None:
    """Hand all messages of a call over; whatever interrupts that cancels it on the server."""
    try:
        async for message in call:
            receive(message)
    finally:
        call.cancel()

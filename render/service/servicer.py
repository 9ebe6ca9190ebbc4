"""``render.v1.RenderService``: each RPC as the proto's comments say, in terms of the engine.

Errors leave as they are raised; `render.service.interceptors` makes statuses of them. gRPC cancels the task of an RPC
whose client has gone or whose deadline has passed, and with it the load or the frame that it waits for.
"""

# ruff: noqa: N802 -- the methods' names are the proto's

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc.aio

import render
from render.encoding import EncodedFrame, Encoding, encode
from render.engine import Engine
from render.errors import InvalidArgumentError
from render.frame import PictureRequest
from render.lease import Lease
from render.service.convert.frames import encoding_from_proto, frame_header
from render.service.convert.views import view_from_proto
from render.service.convert.volumes import description_to_proto, status_to_proto, summary_to_proto
from render.service.leases import LeaseTable
from render.service.stream_frames import GrpcTransport
from render.service.uploads import UploadReceiver
from render.stream.registry import SessionRegistry
from render.stream.session import Session
from render.v1 import render_service_pb2 as pb
from render.v1 import render_service_pb2_grpc, volume_pb2
from render.view import View

CHUNK_BYTES = 1 << 20
"""Of a message's payload: a frame may be larger than the 4 MiB that clients accept by default."""
DEFAULT_JPEG_QUALITY = 90
MAX_PROGRESS_EVENTS = 64
UPLOAD_ACCEPTED = ("render-upload", "accepted")
"""Initial metadata of UploadVolume once its header is accepted. To a client that is writing when a call ends, gRPC's
asyncio stack may report a failed write instead of the status: one that waits for this before its first chunk, and
writes none where it is missing, surely learns why its header was refused."""

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class RenderServicer(render_service_pb2_grpc.RenderServiceServicer):
    """The RPCs of one server.

    Parameters
    ----------
    engine
        Does the work.
    leases
        What clients hold.
    sessions
        The live sessions, of the websocket as well; their number is reported.
    """

    def __init__(self, engine: Engine, leases: LeaseTable, sessions: SessionRegistry) -> None:
        self._engine = engine
        self._leases = leases
        self._sessions = sessions
        self._uploads = UploadReceiver(engine)

    async def ListVolumes(self, request: pb.ListVolumesRequest, context: Context) -> pb.ListVolumesResponse:
        """List what there is to open."""
        scanning = self._engine.is_scanning  # before the list: what is scanned between the two is in it
        volumes = map(summary_to_proto, self._engine.summaries())
        return pb.ListVolumesResponse(volumes=volumes, scanning=scanning)

    async def OpenVolume(self, request: pb.OpenVolumeRequest, context: Context) -> AsyncIterator[pb.OpenVolumeResponse]:
        """Load, report progress, lease, describe."""
        source = request.WhichOneof("source")
        if source is None:
            raise InvalidArgumentError("OpenVolume: one of volume_id and path is needed", field="source")
        holder = self._leases.next_holder()
        volume_id = request.volume_id
        if source == "path":
            volume_id = await self._engine.resolve(
                request.path,
                series=request.series or None,
                volume_index=request.volume_index if request.HasField("volume_index") else None,
            )
        # A reader that is slower than the load misses steps of it: the newest says everything.
        events: asyncio.Queue[volume_pb2.LoadProgress | None] = asyncio.Queue()

        def report(stage: str, done: int, total: int) -> None:
            if events.qsize() >= MAX_PROGRESS_EVENTS:
                events.get_nowait()
            events.put_nowait(volume_pb2.LoadProgress(volume_id=volume_id, stage=stage, done=done, total=total))

        opening = asyncio.create_task(
            self._engine.open(volume_id, holder=holder, progress=report, in_part=request.in_part)
        )
        opening.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield pb.OpenVolumeResponse(progress=event)
        except BaseException:
            opening.cancel()
            with contextlib.suppress(BaseException):
                (await opening).release()
            raise
        opened = self._opened(await opening)
        try:
            yield pb.OpenVolumeResponse(opened=opened)
        except BaseException:  # nobody has heard of the lease
            self._leases.release(opened.lease_id)
            raise

    async def DescribeVolume(self, request: pb.DescribeVolumeRequest, context: Context) -> pb.DescribeVolumeResponse:
        """Describe a volume that is resident, also in part."""
        with self._engine.open_resident(request.volume_id, holder="describe call") as lease:
            return pb.DescribeVolumeResponse(
                volume=description_to_proto(self._engine.describe(lease)),
                missing_slices=lease.resident.volume.missing_slices,
            )

    async def ReleaseVolume(self, request: pb.ReleaseVolumeRequest, context: Context) -> pb.ReleaseVolumeResponse:
        """End a lease."""
        self._leases.release(request.lease_id)
        return pb.ReleaseVolumeResponse()

    async def UploadVolume(
        self, request_iterator: AsyncIterator[pb.UploadVolumeRequest], context: Context
    ) -> pb.UploadVolumeResponse:
        """Take a volume from the client and lease it."""

        async def accepted() -> None:
            await context.send_initial_metadata((UPLOAD_ACCEPTED,))

        lease = await self._uploads.receive(request_iterator, holder=self._leases.next_holder(), accepted=accepted)
        return pb.UploadVolumeResponse(opened=self._opened(lease))

    async def Render(self, request: pb.RenderRequest, context: Context) -> AsyncIterator[pb.RenderResponse]:
        """Render one final frame; all that can be refused is refused before any work."""
        encoding = encoding_from_proto(request.encoding)
        jpeg_quality = request.jpeg_quality if request.HasField("jpeg_quality") else DEFAULT_JPEG_QUALITY
        if not 1 <= jpeg_quality <= 100:
            raise InvalidArgumentError(f"jpeg_quality {jpeg_quality}: 1 to 100 needed", field="jpeg_quality")
        view = view_from_proto(request.view)
        _check_encoding(encoding, view)
        with await self._pin(request.lease_id, view) as lease:
            picture = PictureRequest(jpeg_quality) if encoding is Encoding.JPEG else None
            frame = await self._engine.render(view, {lease.volume_id: lease}, picture=picture)
        encoded: EncodedFrame = await asyncio.to_thread(encode, frame, encoding, jpeg_quality=jpeg_quality)
        payload = memoryview(encoded.payload)
        starts = range(0, len(payload), CHUNK_BYTES)
        yield pb.RenderResponse(header=frame_header(frame, encoded, chunk_count=len(starts)))
        for start in starts:
            yield pb.RenderResponse(chunk=bytes(payload[start : start + CHUNK_BYTES]))

    async def StreamFrames(self, request_iterator: AsyncIterator[pb.StreamFramesRequest], context: Context) -> None:
        """Serve a live session until the client goes or the session ends with an error."""
        # The token, where one is needed, has been checked as the call's metadata: Hello may come without.
        transport = GrpcTransport(request_iterator, context)
        await Session(self._engine, transport, sessions=self._sessions).run()
        if transport.error is not None:
            raise transport.error

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """Say what is resident, and who pins it."""
        return status_to_proto(self._engine.status(), server_version=render.__version__, sessions=self._sessions.count)

    async def _pin(self, lease_id: str, view: View) -> Lease:
        (layer,) = view.layers
        if not lease_id:
            return await self._engine.open(layer.volume_id, holder="render call")
        lease = self._leases.renew(lease_id)
        if lease.volume_id != layer.volume_id:
            raise InvalidArgumentError("lease_id: of another volume than the view's", field="lease_id")
        return lease.share("render call")

    def _opened(self, lease: Lease) -> pb.OpenedVolume:
        try:
            description = description_to_proto(self._engine.describe(lease))
        except BaseException:
            lease.release()
            raise
        return pb.OpenedVolume(
            volume=description,
            lease_id=self._leases.grant(lease),
            lease_seconds=self._leases.lease_seconds,
            missing_slices=lease.resident.volume.missing_slices,
        )


def _check_encoding(encoding: Encoding, view: View) -> None:
    if encoding.needs_values and view.is_color:
        raise InvalidArgumentError(f"encoding {encoding.name}: volume_rendered has no values", field="encoding")
    if encoding.needs_color and not view.is_color:
        raise InvalidArgumentError(f"encoding {encoding.name}: only volume_rendered has colour", field="encoding")

"""A server that draws a ramp, so that the client can be tested alone, and made to misbehave."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

import voxelcast
from render.encoding import EncodedFrame, Encoding, encode
from render.errors import VoxelcastError
from render.frame import Frame
from render.geometry import VolumeGeometry
from render.service.convert.frames import encoding_from_proto, frame_header
from render.service.convert.views import view_from_proto, window_to_proto
from render.service.convert.volumes import geometry_to_proto
from render.service.status import grpc_code
from render.transfer import Window
from render.v1 import frame_pb2, render_service_pb2, stream_pb2, view_pb2, volume_pb2
from render.v1.render_service_pb2_grpc import RenderServiceServicer, add_RenderServiceServicer_to_server
from render.view import View

VOLUME_ID = "0123456789abcdef"
GEOMETRY = VolumeGeometry.from_axes((20, 48, 64), (-30, -20, 0), (1, 0, 0), (0, 1, 0), (0, 0, 2))
CHUNK_BYTES = 1 << 20
STREAM_CHUNK_BYTES = 256
WINDOW = Window(40, 400)


def ramp_values(view: View) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return ``x + y + z`` mm at each pixel's centre as modality values; NaN in the first column."""
    plane, viewport = view.plane, view.viewport
    rows, columns = np.mgrid[: viewport.height_px, : viewport.width_px]
    down_mm, right_mm = plane.pixel_spacing_mm
    points = (
        np.array(plane.top_left_mm)
        + rows[..., None] * down_mm * np.array(plane.column_direction)
        + columns[..., None] * right_mm * np.array(plane.row_direction)
    )
    values = points.sum(axis=-1).astype(np.float32)
    values[:, 0] = np.nan
    return values


def ramp_color(view: View) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Return a picture whose channels differ, premultiplied."""
    rows, columns = np.mgrid[: view.viewport.height_px, : view.viewport.width_px]
    alpha = (rows + columns) % 256
    return np.stack([alpha // 2, alpha // 3, rows % 5 * alpha // 5, alpha], axis=-1).astype(np.uint8)


def draw(view: View, view_revision: int = 0) -> Frame:
    """Draw a frame as a renderer would."""
    values, color = (None, ramp_color(view)) if view.is_color else (ramp_values(view), None)
    return Frame(
        view=view,
        view_revision=view_revision,
        volume_revision=1,
        plane=view.plane,
        window=view.layers[0].window or WINDOW,
        values=values,
        color=color,
        units="HU",
        slab_mm=view.slab_mm,
        timings_ms={"render": 1.5},
    )


class FakeService(RenderServiceServicer):
    """Answers as the protocol says, unless told otherwise.

    Attributes
    ----------
    error
        Raised by every call but StreamFrames.
    spoil
        Given the header and chunks of Render's answer, returns those to send instead.
    gate
        Render waits for it.
    waiting, cancelled
        Set when a Render has come to the gate, and when its call has ended.
    received
        What clients sent on streams.
    shown
        The latest view of any stream: what a share shows, whatever its id.
    metadata
        Of the latest call.
    listed
        How many volumes each list has, the last once the roots are scanned; None for one volume, ever.
    """

    def __init__(self) -> None:
        self.error: VoxelcastError | None = None
        self.spoil: Callable[[frame_pb2.FrameHeader, list[bytes]], tuple[Any, list[bytes]]] | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.waiting, self.cancelled = threading.Event(), threading.Event()
        self.received: list[stream_pb2.ClientMessage] = []
        self.shown = stream_pb2.ViewSet()
        self.resume_token = "resume"
        self.stream_script: Callable[[Iterator[Any]], Iterator[Any]] | None = None
        self.metadata: dict[str, str | bytes] = {}
        self.leases: dict[str, str] = {}
        self.listed: list[int] | None = None
        self.used_leases: list[str] = []
        self.open_requests: list[render_service_pb2.OpenVolumeRequest] = []
        self.upload: list[render_service_pb2.UploadVolumeRequest] = []

    def ListVolumes(self, request: Any, context: Any) -> render_service_pb2.ListVolumesResponse:  # noqa: N802
        self._begin(context)
        if self.listed is None:
            return render_service_pb2.ListVolumesResponse(volumes=[_summary()])
        return render_service_pb2.ListVolumesResponse(
            volumes=[_summary()] * self.listed.pop(0), scanning=bool(self.listed)
        )

    def OpenVolume(self, request: Any, context: Any) -> Iterator[render_service_pb2.OpenVolumeResponse]:  # noqa: N802
        self._begin(context)
        self.open_requests.append(request)
        if request.path not in ("", "head"):
            _abort(context, grpc.StatusCode.NOT_FOUND, "PATH_NOT_FOUND", "no such path", {})
        for done in (0, 10, 20):
            yield render_service_pb2.OpenVolumeResponse(
                progress=volume_pb2.LoadProgress(volume_id=VOLUME_ID, stage="decoding", done=done, total=20)
            )
        yield render_service_pb2.OpenVolumeResponse(opened=self._opened())

    def DescribeVolume(self, request: Any, context: Any) -> render_service_pb2.DescribeVolumeResponse:  # noqa: N802
        self._begin(context)
        return render_service_pb2.DescribeVolumeResponse(volume=_description(revision=2))

    def ReleaseVolume(self, request: Any, context: Any) -> render_service_pb2.ReleaseVolumeResponse:  # noqa: N802
        self._begin(context)
        if self.leases.pop(request.lease_id, None) is None:
            _abort(context, grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND", "no such lease", {})
        return render_service_pb2.ReleaseVolumeResponse()

    def UploadVolume(self, requests: Any, context: Any) -> render_service_pb2.UploadVolumeResponse:  # noqa: N802
        self._begin(context)
        context.send_initial_metadata((("render-upload", "accepted"),))
        self.upload = list(requests)
        opened = self._opened()
        if (header := self.upload[0].header).HasField("voxels"):
            opened.volume.geometry.CopyFrom(header.voxels.geometry)
        return render_service_pb2.UploadVolumeResponse(opened=opened)

    def GetStatus(self, request: Any, context: Any) -> render_service_pb2.GetStatusResponse:  # noqa: N802
        self._begin(context)
        return render_service_pb2.GetStatusResponse(
            server_version="0.1.0",
            devices=[render_service_pb2.DeviceStatus(name="cpu", budget_bytes=1000, resident_bytes=10, pinned_bytes=5)],
            volumes=[
                render_service_pb2.ResidentStatus(
                    volume_id=VOLUME_ID,
                    device="cpu",
                    residency=volume_pb2.RESIDENCY_RESIDENT,
                    bytes=10,
                    pinned_by=["grpc lease 1"],
                )
            ],
            sessions=1,
            presets=["CT-Bone"],
        )

    def Render(self, request: Any, context: Any) -> Iterator[render_service_pb2.RenderResponse]:  # noqa: N802
        self._begin(context)
        context.add_callback(self.cancelled.set)
        if request.lease_id and request.lease_id not in self.leases:
            _abort(context, grpc.StatusCode.NOT_FOUND, "LEASE_NOT_FOUND", "no such lease", {})
        self.used_leases.append(request.lease_id)
        self.waiting.set()
        self.gate.wait(30)
        encoding = encoding_from_proto(request.encoding)
        frame = draw(view_from_proto(request.view))
        encoded = encode(frame, encoding, jpeg_quality=request.jpeg_quality or 90)
        chunks = _split(encoded.payload, CHUNK_BYTES)
        header = frame_header(frame, encoded, chunk_count=len(chunks))
        if self.spoil is not None:
            header, chunks = self.spoil(header, chunks)
        if header is not None:
            yield render_service_pb2.RenderResponse(header=header)
        for chunk in chunks:
            yield render_service_pb2.RenderResponse(chunk=chunk)

    def StreamFrames(self, requests: Any, context: Any) -> Iterator[render_service_pb2.StreamFramesResponse]:  # noqa: N802
        self.metadata = {item.key: item.value for item in context.invocation_metadata()}
        yield from (self.stream_script or self._frames)(requests)

    def _frames(self, requests: Iterator[Any]) -> Iterator[render_service_pb2.StreamFramesResponse]:
        """Answer each view with a JPEG, then its exact frame in small chunks."""
        sequences: dict[str, int] = {}
        for request in requests:
            self.received.append(request.message)
            match request.message.WhichOneof("message"):
                case "hello":
                    yield welcome(resume_token=self.resume_token)
                case "ping":
                    pong = stream_pb2.ServerMessage(pong=stream_pb2.Pong())
                    yield render_service_pb2.StreamFramesResponse(message=pong)
                case "share":
                    yield sharing(driving=True)
                case "watch":
                    yield sharing(driving=False, share_id=request.message.watch.share_id)
                    yield render_service_pb2.StreamFramesResponse(message=stream_pb2.ServerMessage(view_set=self.shown))
                    view = view_from_proto(self.shown.view)
                    yield from stream_frame(view, self.shown.view_id, self.shown.revision, 1, lossless=True)
                case "set_view":
                    message = request.message.set_view
                    try:
                        view = view_from_proto(message.view)
                    except VoxelcastError as error:
                        yield stream_error(error.reason, error.message, message.view_id, message.revision)
                        continue
                    self.shown = stream_pb2.ViewSet(
                        view_id=message.view_id, revision=message.revision, view=message.view
                    )
                    for lossless in (False, True):
                        sequences[message.view_id] = sequences.get(message.view_id, 0) + 1
                        yield from stream_frame(
                            view, message.view_id, message.revision, sequences[message.view_id], lossless=lossless
                        )

    def _opened(self) -> render_service_pb2.OpenedVolume:
        lease_id = f"lease-{len(self.used_leases)}-{len(self.open_requests)}"
        self.leases[lease_id] = VOLUME_ID
        return render_service_pb2.OpenedVolume(volume=_description(), lease_id=lease_id, lease_seconds=600)

    def _begin(self, context: Any) -> None:
        self.metadata = {item.key: item.value for item in context.invocation_metadata()}
        if (error := self.error) is not None:
            details = {name: str(value) for name, value in error.details.items()}
            _abort(context, grpc_code(error), error.reason, error.message, details)


def welcome(
    epoch: int = 1, protocol_version: int = 1, resume_token: str = "", scanning: bool = False
) -> render_service_pb2.StreamFramesResponse:
    """Return the answer to Hello."""
    return render_service_pb2.StreamFramesResponse(
        message=stream_pb2.ServerMessage(
            welcome=stream_pb2.Welcome(
                protocol_version=protocol_version,
                server_version="0.1.0",
                epoch=epoch,
                resume_token=resume_token,
                scanning=scanning,
            )
        )
    )


def sharing(*, driving: bool, share_id: str = "shared", driven: bool = True) -> render_service_pb2.StreamFramesResponse:
    """Return who drives."""
    told = stream_pb2.Sharing(share_id=share_id, driving=driving, driven=driven, participants=2)
    return render_service_pb2.StreamFramesResponse(message=stream_pb2.ServerMessage(sharing=told))


def stream_error(reason: str, message: str, view_id: str, revision: int) -> render_service_pb2.StreamFramesResponse:
    """Return an error about a view."""
    return render_service_pb2.StreamFramesResponse(
        message=stream_pb2.ServerMessage(
            error=stream_pb2.StreamError(reason=reason, message=message, view_id=view_id, revision=revision)
        )
    )


def stream_frame(
    view: View, view_id: str, revision: int, sequence: int, *, lossless: bool, epoch: int = 1
) -> Iterator[render_service_pb2.StreamFramesResponse]:
    """Return the chunks of a frame."""
    frame = draw(view, revision)
    encoding = Encoding.JPEG
    if lossless:
        encoding = Encoding.RGBA_DEFLATE if view.is_color else Encoding.VALUES_DEFLATE
    encoded: EncodedFrame = encode(frame, encoding, jpeg_quality=80)
    chunks = _split(encoded.payload, STREAM_CHUNK_BYTES)
    for index, chunk in enumerate(chunks):
        header = frame_header(
            frame,
            encoded,
            view_id=view_id,
            sequence=sequence,
            epoch=epoch,
            chunk_index=index,
            chunk_count=len(chunks),
        )
        yield render_service_pb2.StreamFramesResponse(frame=stream_pb2.FrameMessage(header=header, payload=chunk))


@contextmanager
def serving(service: FakeService, port: int = 0) -> Iterator[str]:
    """Serve on a port of this machine, a free one if 0, and yield the address."""
    server = grpc.server(ThreadPoolExecutor(8))
    add_RenderServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        service.gate.set()
        server.stop(None).wait()


def _split(payload: bytes, size: int) -> list[bytes]:
    return [payload[start : start + size] for start in range(0, len(payload), size)]


def _abort(context: Any, code: grpc.StatusCode, reason: str, message: str, figures: dict[str, str]) -> None:
    detail = render_service_pb2.ErrorDetail(reason=reason, figures=figures)
    context.set_trailing_metadata((("render-error-bin", detail.SerializeToString()),))
    context.abort(code, message)


def _summary() -> volume_pb2.VolumeSummary:
    slices, rows, columns = GEOMETRY.shape
    return volume_pb2.VolumeSummary(
        volume_id=VOLUME_ID,
        modality="CT",
        description="ramp",
        series_number=3,
        path="head",
        columns=columns,
        rows=rows,
        slices=slices,
        spacing_mm=GEOMETRY.spacing_mm,
        bytes=1 << 20,
        residency=volume_pb2.RESIDENCY_RESIDENT,
    )


def _description(revision: int = 1) -> volume_pb2.VolumeDescription:
    camera = view_pb2.Camera(
        position=view_pb2.Vector3(z=-100),
        look_at=view_pb2.Vector3(),
        up=view_pb2.Vector3(y=-1),
        parallel_scale_mm=30,
    )
    return volume_pb2.VolumeDescription(
        summary=_summary(),
        geometry=geometry_to_proto(GEOMETRY),
        voxel_type=volume_pb2.VOXEL_TYPE_INT16,
        slope=1,
        units="HU",
        minimum_value=-1000,
        maximum_value=3000,
        windows=[window_to_proto(WINDOW)],
        default_window=window_to_proto(WINDOW),
        default_preset="CT-AAA",
        warnings=["spacing varies"],
        revision=revision,
        initial_views=[
            volume_pb2.NamedView(
                name="acquisition",
                view=view_pb2.View(
                    camera=camera,
                    slab_mm=0,
                    rendering_method=view_pb2.RENDERING_METHOD_AVERAGE_IP,
                    layers=[view_pb2.Layer(volume_id=VOLUME_ID)],
                ),
            )
        ],
    )


def expected(view: voxelcast.View) -> np.ndarray[Any, Any]:
    """Return the pixels of a client's view."""
    theirs = view_from_proto(voxelcast.convert.view_to_proto(view))
    return ramp_color(theirs) if view.is_color else ramp_values(theirs)


def assert_shows(frame: voxelcast.Frame, view: voxelcast.View) -> None:
    """Assert that a frame is the exact one of a view."""
    assert frame.is_exact
    np.testing.assert_allclose(frame.array, expected(view), atol=frame.value_step / 2)

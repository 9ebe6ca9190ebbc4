"""A protocol with a clock that is set by hand, and frames without a renderer."""

from __future__ import annotations

import functools
import zlib
from dataclasses import dataclass, field
from typing import Any

from render.errors import UnauthenticatedError
from render.service.convert.views import view_from_proto
from render.stream.contract import Action, Close, CloseCode, OpenVolume, SavedSession
from render.stream.hello import Host
from render.stream.limits import Limits
from render.stream.pacing import REMEMBERED_RATES
from render.stream.protocol import StreamProtocol
from render.stream.view_state import SETTLE_S, RenderedFrame, RenderJob
from render.v1 import frame_pb2, stream_pb2, view_pb2
from render.view import View
from tests.stream.engines import view_message


@dataclass
class Clock:
    """Seconds, moved by the test."""

    now: float = 100.0

    def __call__(self) -> float:
        return self.now


@functools.cache
def _view(serialized: bytes) -> View:
    return view_from_proto(view_pb2.View.FromString(serialized))


@functools.cache
def _message(volume_id: str, color: bool, size_px: int) -> view_pb2.View:
    return view_message(volume_id, color=color, size_px=size_px)


def rendered(
    job: RenderJob,
    size: int,
    *,
    lossless: bool = True,
    missing_slices: int = 0,
    volume_revision: int = 1,
    render_ms: float = 10.0,
) -> RenderedFrame:
    """Make what a session makes of a job: its picture, or its lossless frame."""
    final = lossless and job.is_final and not missing_slices
    payload = bytes(size)
    if not lossless:
        encoding = frame_pb2.FRAME_ENCODING_JPEG
    elif job.view.is_color:
        encoding = frame_pb2.FRAME_ENCODING_RGBA_DEFLATE
    else:
        encoding = frame_pb2.FRAME_ENCODING_VALUES_DEFLATE
    header = frame_pb2.FrameHeader(
        view_id=job.view_id,
        view_revision=job.view_revision,
        volume_revision=volume_revision,
        encoding=encoding,
        quality=frame_pb2.FRAME_QUALITY_FINAL if final else frame_pb2.FRAME_QUALITY_INTERACTIVE,
        payload_bytes=size,
        payload_crc32=zlib.crc32(payload),
        lossless=lossless,
        missing_slices=missing_slices,
        timings=frame_pb2.StageTimings(render_ms=render_ms),
    )
    return RenderedFrame(header, payload)


@dataclass
class Harness:
    """A protocol, and what a client would send it."""

    limits: Limits = field(default_factory=Limits)
    token: str = ""
    scanning: bool = False
    saved: dict[str, SavedSession] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.clock = Clock()
        self.protocol = self.connect()

    def connect(self) -> StreamProtocol:
        host = Host(
            authenticate=self._authenticate,
            resume=lambda token: self.saved.pop(token, None),
            list_volumes=list,
            is_scanning=lambda: self.scanning,
            resume_token="next",
        )
        self.protocol = StreamProtocol(
            host,
            clock=self.clock,
            view_from_proto=lambda message: _view(message.SerializeToString(deterministic=True)),
            limits=self.limits,
        )
        return self.protocol

    def _authenticate(self, token: str) -> None:
        if token != self.token:
            raise UnauthenticatedError("the token is wrong")

    def receive(self, **message: Any) -> None:
        self.protocol.receive(stream_pb2.ClientMessage(**message))

    def hello(self, **fields: Any) -> stream_pb2.Welcome:
        self.receive(hello=stream_pb2.Hello(protocol_version=1, **fields))
        return self.answer("welcome")  # type: ignore[no-any-return]

    def set_view(
        self, view_id: str, revision: int, volume_id: str = "vol", *, color: bool = False, size_px: int = 64
    ) -> None:
        view = _message(volume_id, color, size_px)
        self.receive(set_view=stream_pb2.SetView(view_id=view_id, revision=revision, view=view))

    def acknowledge(self, header: frame_pb2.FrameHeader) -> None:
        self.receive(acknowledge=stream_pb2.Acknowledge(view_id=header.view_id, sequence=header.sequence))

    def set_visible(self, visible: bool) -> None:
        self.receive(set_visibility=stream_pb2.SetVisibility(visible=visible))

    def open_volumes(self) -> list[Action]:
        """Open what the protocol wants opened; return the other actions."""
        others: list[Action] = []
        for action in self.protocol.take_actions():
            if isinstance(action, OpenVolume):
                self.protocol.volume_opened(action.volume_id, 1)
            else:
                others.append(action)
        return others

    def answer(self, kind: str) -> Any:
        """Return the next message, which must be this answer."""
        message = self.protocol.next_message()
        assert isinstance(message, stream_pb2.ServerMessage), message
        assert message.WhichOneof("message") == kind, message
        return getattr(message, kind)

    def frame(self) -> stream_pb2.FrameMessage:
        """Return the next message, which must be a frame or a chunk."""
        message = self.protocol.next_message()
        assert isinstance(message, stream_pb2.FrameMessage), message
        return message

    def carry(self, bytes_per_s: float) -> None:
        """Let the link be measured: so many bytes a second, as often as is remembered."""
        link, now = self.protocol.link, self.clock.now
        for _ in range(REMEMBERED_RATES):
            shipment = link.begin(now)
            link.sent(now, shipment, int(bytes_per_s / 1000))
            link.acknowledged(now + 0.001, shipment)
        link.bytes_per_s = bytes_per_s

    def job(self) -> RenderJob:
        job = self.protocol.next_job()
        assert job is not None
        return job

    def finish(self, job: RenderJob, *, picture_bytes: int = 2000, final_bytes: int = 5000, **kw: Any) -> None:
        """Do what a session does with a job."""
        if job.picture is not None:
            self.protocol.frame_ready(job, rendered(job, picture_bytes, lossless=False, **kw))
        if job.lossless is not None:
            self.protocol.frame_ready(job, rendered(job, final_bytes, **kw))
        self.protocol.job_done(job)

    def closed(self) -> tuple[CloseCode, str]:
        """How the protocol wants the socket closed."""
        (close,) = [action for action in self.protocol.take_actions() if isinstance(action, Close)]
        return close.code, close.reason


def opened(*view_ids: str, **options: Any) -> Harness:
    """Return a session past Hello whose volume is resident, with these views at revision 1."""
    harness = Harness(**options)
    harness.hello(token=harness.token)
    for view_id in view_ids:
        harness.set_view(view_id, 1)
    harness.open_volumes()
    return harness


def rest(harness: Harness) -> None:
    """Let the hand lie still until views rest."""
    harness.clock.now += SETTLE_S

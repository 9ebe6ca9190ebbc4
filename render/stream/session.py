"""One client's session on the event loop: drives the state machine with a transport, the engine and the clock."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from render.encoding import EncodedFrame, Encoding
from render.engine import Engine
from render.errors import (
    DrainingError,
    InvalidArgumentError,
    ProtocolError,
    RenderCancelledError,
    TakenOverError,
    VoxelcastError,
)
from render.frame import Frame, PictureRequest
from render.service.convert.frames import frame_header
from render.service.convert.views import view_from_proto
from render.service.convert.volumes import summary_to_proto
from render.service.status import INTERNAL_MESSAGE, client_message, reason
from render.stream.alarm import Alarm
from render.stream.contract import (
    Close,
    CloseCode,
    DescribeVolume,
    OpenVolume,
    ReleaseVolume,
    SavedSession,
    ShareViews,
    StopSharing,
    TakeWheel,
    UnreadableMessageError,
    WatchViews,
)
from render.stream.hello import Host
from render.stream.leases import SessionLeases
from render.stream.outbox import Outgoing
from render.stream.protocol import StreamProtocol
from render.stream.registry import SessionRegistry
from render.stream.sharing import Share, SharedFrame, make_frame
from render.stream.view_state import RenderedFrame, RenderJob
from render.transfer import preset_names
from render.v1 import stream_pb2

__all__ = ["Session", "SessionRegistry", "Transport"]

logger = logging.getLogger(__name__)

MAX_QUEUED_ANSWERS = 64
"""A client that asks faster than it reads is not read any more until it does."""


class Transport(Protocol):
    """How a session reaches its client: a websocket, or a gRPC call."""

    async def receive(self, max_bytes: int) -> stream_pb2.ClientMessage | None:
        """Return the client's next message; None once it has gone.

        Raises
        ------
        ProtocolError
            If it can't be read. An UnreadableMessageError says what to close with.
        """

    async def send(self, message: Outgoing) -> None:
        """Hand a message over; return once there is room for the next.

        Raises
        ------
        ConnectionError
            If the client has gone.
        """

    async def close(self, code: CloseCode, reason: str) -> None:
        """Close; does nothing if the client has gone."""


class Session:
    """One client, from its connection to its end.

    Parameters
    ----------
    engine
        Opens and renders.
    transport
        To the client.
    sessions
        Counts this one and knows the resume tokens.
    authenticate
        Given Hello's token; raises UnauthenticatedError. None where anybody may come.
    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        *,
        sessions: SessionRegistry,
        authenticate: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._transport = transport
        self._sessions = sessions
        self._clock = sessions.clock
        self.name, self._token = sessions.enter(self)
        host = Host(
            authenticate=authenticate or _anybody,
            resume=self._resume,
            list_volumes=lambda: [summary_to_proto(summary) for summary in engine.summaries()],
            is_scanning=lambda: engine.is_scanning,
            resume_token=self._token,
            presets=preset_names(),
        )
        self.protocol = StreamProtocol(host, clock=self._clock, view_from_proto=view_from_proto, limits=sessions.limits)
        self._rendering: set[asyncio.Task[None]] = set()
        self._closing: Close | None = None
        self._resumed: SavedSession | None = None
        self._share: Share | None = None
        self._sendable = asyncio.Event()
        self._leases = SessionLeases(
            engine, self.protocol, holder=self.name, log=self._log, told=self._sendable.set, changed=self.pump
        )
        self._progressed = asyncio.Event()
        self._ended = asyncio.Event()
        self._alarm = Alarm(self._clock, self.pump)

    async def run(self) -> None:
        """Serve the client until it goes, breaks the protocol, or the server drains.

        Cancelling it ends the session: what is being rendered is given up, leases end, and what was shown is kept for
        its resume token.
        """
        reader = asyncio.create_task(self._read())
        sender = asyncio.create_task(self._write())
        try:
            self.pump()
            await asyncio.wait({reader, sender}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            saved = self.saved()
            self.protocol.disconnected()
            if self._share is not None:
                self._share.leave(self)
                self._sessions.share(self._share.share_id)
            self._alarm.cancel()
            tasks = {reader, sender, *self._leases.give_up(), *self._rendering}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._leases.close()
            self._sessions.leave(self._token, saved)
            self._ended.set()
        for task in (reader, sender):
            if not task.cancelled() and (error := task.exception()) is not None:
                logger.error("%s: unexpected error", self.name, exc_info=error)
                await self._transport.close(CloseCode.INTERNAL, INTERNAL_MESSAGE)

    async def drain(self) -> None:
        """Tell the client that the server goes away, wait for what is in flight, close."""
        self.protocol.drain()
        self.pump()
        try:
            while not self.protocol.is_idle and not self._ended.is_set():
                self._progressed.clear()
                await self._progressed.wait()
        finally:  # also where the time for it is over
            self.protocol.close(CloseCode.GOING_AWAY, "the server is shutting down")
            self.pump()
        await self._ended.wait()

    def saved(self) -> SavedSession:
        """Return what this session's resume token stands for."""
        saved = self.protocol.saved()
        if self._share is None:
            return saved
        return replace(saved, share_id=self._share.share_id, driving=self._share.driver is self)

    def supersede(self) -> None:
        """End this session: its client has come back by another connection."""
        if self._share is not None:
            self._share.leave(self)
            self._share = None
        self.protocol.fail(TakenOverError("taken up by another connection"), CloseCode.POLICY)
        self.pump()

    def make_room(self) -> None:
        """End this session, whose client has not said hello, for another one."""
        self.protocol.fail(
            DrainingError("as many connections as the server takes, and no hello yet"), CloseCode.TRY_LATER
        )
        self.pump()

    async def _read(self) -> None:
        protocol = self.protocol
        while not protocol.is_closed:
            while protocol.queued_answers > MAX_QUEUED_ANSWERS:
                self._progressed.clear()
                await self._progressed.wait()
            try:
                message = await self._transport.receive(protocol.max_message_bytes)
            except UnreadableMessageError as error:
                protocol.fail(error, error.code)
            except ProtocolError as error:
                protocol.fail(error)
            else:
                if message is None:
                    return
                protocol.receive(message)
                self._rejoin()
            self.pump()
            if self._share is not None and self._share.driver is self:
                self._share.follow()
        await self._ended.wait()  # the sender has the last word

    async def _write(self) -> None:
        """Hand over one message at a time: the next is chosen only when this one has found room."""
        while True:
            message = self.protocol.next_message()
            if message is not None:
                try:
                    await self._transport.send(message)
                except ConnectionError:
                    return
                self._observe(message)
                self._progressed.set()
            elif self._closing is not None:
                await self._transport.close(self._closing.code, self._closing.reason)
                return
            else:
                self._alarm.set(self.protocol.next_deadline())
                self._sendable.clear()
                # A chunk that came due between the look and the alarm rings no more, and would wait for the client.
                if not self.protocol.is_chunk_due:
                    await self._sendable.wait()

    def pump(self) -> None:
        """Do what the protocol says is to be done, and see when it will have more."""
        protocol = self.protocol
        protocol.tick()
        for action in protocol.take_actions():
            match action:
                case OpenVolume(volume_id):
                    self._leases.open(volume_id)
                case DescribeVolume(volume_id):
                    self._leases.describe(volume_id)
                case ReleaseVolume(volume_id):
                    self._leases.release(volume_id)
                case Close():
                    self._closing = action
                case ShareViews():
                    self._join(self._share or self._sessions.new_share(), driving=True)
                case WatchViews(share_id):
                    self._watch(share_id)
                case StopSharing():
                    self._stop_sharing()
                case TakeWheel():
                    self._take_wheel()
        while (job := protocol.next_job()) is not None:
            task = asyncio.create_task(self._render(job))
            self._rendering.add(task)
            task.add_done_callback(self._rendering.discard)
        self._sendable.set()
        self._progressed.set()
        self._alarm.set(protocol.next_deadline())

    def _resume(self, token: str) -> SavedSession | None:
        self._resumed = self._sessions.resume(token)
        return self._resumed

    def _rejoin(self) -> None:
        """Take part again in what a session shared that was taken up."""
        saved, self._resumed = self._resumed, None
        share = self._sessions.share(saved.share_id) if saved is not None else None
        if saved is not None and share is not None:
            self._join(share, driving=saved.driving and share.driver is None)
        elif saved is not None and saved.share_id:
            self.on_its_own()  # it ended meanwhile

    def _watch(self, share_id: str) -> None:
        share = self._sessions.share(share_id)
        if share is None:
            self.protocol.refuse(InvalidArgumentError("share_id: nothing is shared under it (any more)"))
        else:
            self._join(share, driving=False)

    def _join(self, share: Share, *, driving: bool) -> None:
        if self._share is share:
            share.tell(self)
            return
        if self._share is not None:
            self._share.leave(self)
        self._share = share
        share.join(self, driving=driving)

    def _stop_sharing(self) -> None:
        share = self._share
        if share is None:
            self.protocol.refuse(InvalidArgumentError("stop_sharing: this session shares nothing"))
        elif share.driver is self:
            self._sessions.end_share(share)
        else:
            share.leave(self)
            self.on_its_own()

    def on_its_own(self) -> None:
        """Go on with the views as this session's own: it takes part in nothing any more."""
        self._share = None
        self.protocol.sharing(stream_pb2.Sharing(driving=True))
        self.pump()

    def _take_wheel(self) -> None:
        if self._share is None:
            self.protocol.refuse(InvalidArgumentError("drive: this session shares nothing"))
        else:
            self._share.drive(self)

    async def _render(self, job: RenderJob) -> None:
        if job.cancelled:  # before its first step: the lease may have ended as well
            self.protocol.job_done(job)
            self.pump()
            return
        try:
            made = await self._frame(job)
            job.quality = made.frame.quality  # another session's, where that was first
            if job.picture is not None:
                level = job.picture
                self._deliver(job, made.frame, await made.encode(Encoding.JPEG, level.jpeg_quality, level.divisor))
            if job.lossless is not None and not job.cancelled:
                if job.picture is not None:
                    self.pump()  # it is not kept for the other
                self._deliver(job, made.frame, await made.encode(job.lossless))
        except Exception as error:
            if not isinstance(error, RenderCancelledError):
                self._log(error)
            self.protocol.job_done(job, error, reason(error), client_message(error))
        else:
            self.protocol.job_done(job)
        self.pump()

    async def _frame(self, job: RenderJob) -> SharedFrame:
        """Return the frame of a job, from whoever makes it where views are shared."""
        lease = self._leases[job.volume_id]
        shared = self._share is not None

        async def render(cancelled: Callable[[], bool], afterwards: Callable[[Frame], None]) -> Frame:
            return await self._engine.render(
                job.view,
                {job.volume_id: lease},
                quality=job.quality,
                view_revision=job.view_revision,
                cancelled=cancelled,
                # What a card would encode for one is not what another may want.
                picture=None if shared else _picture_request(job),
                afterwards=afterwards,
            )

        if self._share is None:
            return await make_frame(job, lambda: job.cancelled, render)
        return await self._share.frames.frame(job, lease.resident.volume.revision, render)

    def _deliver(self, job: RenderJob, frame: Frame, encoded: EncodedFrame) -> None:
        header = frame_header(frame, encoded, view_id=job.view_id)
        self.protocol.frame_ready(job, RenderedFrame(header, encoded.payload))

    def _observe(self, message: Outgoing) -> None:
        observer = self._sessions.observer
        if observer is None:
            return
        if isinstance(message, stream_pb2.FrameMessage):
            observer.bytes_sent(len(message.payload))
            if message.header.chunk_index + 1 == message.header.chunk_count:
                observer.frame_sent(message.header)
        elif message.HasField("error"):
            observer.error(message.error.reason)

    def _log(self, error: Exception) -> None:
        if not isinstance(error, VoxelcastError):
            logger.error("%s: unexpected error", self.name, exc_info=error)


def _picture_request(job: RenderJob) -> PictureRequest | None:
    """Return the JPEG that a job wants, so that a card may make it; its pixels are needed for a lossless frame too."""
    if job.picture is None:
        return None
    return PictureRequest(job.picture.jpeg_quality, job.picture.divisor, with_pixels=job.lossless is not None)


def _anybody(token: str) -> None:
    """Accept any token: the server asks for none."""

"""The server's side of the stream as a state machine: events in, messages and jobs out.

No sockets, threads, tasks or clocks in here. The driver (``session.py``) feeds it what arrives, takes from it what to
do (`take_actions`), what to render (`next_job`) and what to send (`next_message`), and asks when to come back
(`next_deadline`). All three answer "nothing" as soon as there is nothing, so a settled session costs nothing.

What it guarantees:

- no frame is begun without credit: at most `Link.window` frames of a view are rendered, waiting or unacknowledged,
  and none is begun while the bytes on their way exceed `Link.cap_bytes`;
- a view's revision never goes back: neither what is rendered, nor what is sent;
- a visible view is dirty until a final, lossless frame of its latest revision and its volume's is acknowledged;
- nothing is rendered or sent for a hidden client but answers.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict
from collections.abc import Callable, Sequence

import render
from render.errors import (
    DrainingError,
    InvalidArgumentError,
    InvalidViewError,
    ProtocolError,
    RenderCancelledError,
    UnauthenticatedError,
    VoxelcastError,
)
from render.stream.contract import (
    Action,
    Close,
    CloseCode,
    Limits,
    SavedSession,
    SavedView,
    ShareViews,
    TakeWheel,
    WatchViews,
)
from render.stream.holds import Allowance, VolumeHolds
from render.stream.outbox import Outbox, Outgoing
from render.stream.pacing import Link
from render.stream.view_state import RenderedFrame, RenderJob, Transfer, ViewState
from render.v1 import frame_pb2, stream_pb2, view_pb2, volume_pb2
from render.view import View

PROTOCOL_VERSION = 1
MAX_RUNNING_JOBS = 2
"""One renders while another is encoded."""
FINAL_PATIENCE_S = 1.0
"""How long the final frame of a resting view waits for other views of the session that still move."""
MAX_VOLUME_ID_CHARACTERS = 256
PREVIEW_ABOVE_S = 0.3
"""A lossless frame that takes longer is preceded by a full-quality picture."""


class _State(enum.Enum):
    AWAITING_HELLO = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


class StreamProtocol:
    """One client's session.

    Parameters
    ----------
    clock
        Seconds, monotonic.
    authenticate
        Given Hello's token; raises UnauthenticatedError.
    resume
        Given a resume token; returns what it stands for, or None where it stands for nothing (any more).
    view_from_proto
        Reads a View; raises VoxelcastError.
    list_volumes
        What there is to open.
    is_scanning
        Whether there may be more to open soon.
    resume_token
        To give to the client.
    presets
        Names of the transfer functions.
    limits
        What the session may do.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        authenticate: Callable[[str], None],
        resume: Callable[[str], SavedSession | None],
        view_from_proto: Callable[[view_pb2.View], View],
        list_volumes: Callable[[], Sequence[volume_pb2.VolumeSummary]],
        is_scanning: Callable[[], bool],
        resume_token: str,
        presets: Sequence[str] = (),
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.link = Link()
        self.epoch = 1
        self.client = ""
        self._clock = clock
        self._authenticate = authenticate
        self._resume = resume
        self._view_from_proto = view_from_proto
        self._list_volumes = list_volumes
        self._is_scanning = is_scanning
        self._resume_token = resume_token
        self._presets = presets
        self._state = _State.AWAITING_HELLO
        self._hello_by = clock() + self.limits.hello_seconds
        self._views: OrderedDict[str, ViewState] = OrderedDict()
        self._holds = VolumeHolds(lambda action: self._actions.append(action))
        self._running: set[RenderJob] = set()
        self._visible = True
        self._draining = False
        self._watching = False
        self._sequence_floor = 0
        self._outbox = Outbox(self.link)
        self._actions: list[Action] = []
        self._allowance = Allowance(self.limits.messages_per_s, clock())

    # What the driver reads.

    @property
    def max_message_bytes(self) -> int:
        """What the next message from the client may measure."""
        waiting = self._state is _State.AWAITING_HELLO
        return self.limits.max_hello_bytes if waiting else self.limits.max_message_bytes

    @property
    def is_closed(self) -> bool:
        """Whether the session has ended; what is queued may still be sent."""
        return self._state is _State.CLOSED

    @property
    def is_settled(self) -> bool:
        """Whether the client has painted the final frame of every view that can be drawn."""
        return all(view.failed or view.is_settled(self._volume_revision(view)) for view in self._views.values())

    @property
    def views(self) -> tuple[ViewState, ...]:
        """What the client shows."""
        return tuple(self._views.values())

    @property
    def queued_answers(self) -> int:
        """Answers that wait to be sent; a driver stops reading while there are many."""
        return len(self._outbox)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being rendered, and nothing waits to be sent."""
        waiting = any(view.picture is not None or view.final is not None for view in self._views.values())
        return not (self._running or waiting or len(self._outbox))

    def saved(self) -> SavedSession:
        """Return what the resume token is to stand for."""
        views = tuple(SavedView(v.view_id, v.view, v.revision) for v in self._views.values())
        return SavedSession(self.epoch, views)

    def take_actions(self) -> list[Action]:
        """Return what is to be done, once."""
        actions, self._actions = self._actions, []
        return actions

    # Events.

    def receive(self, message: stream_pb2.ClientMessage) -> None:
        """Take a client's message. Never raises: what is wrong with it is answered."""
        if self._state is _State.CLOSED:
            return
        if not self._allowance.spend(self._clock()):
            rate = f"{self.limits.messages_per_s:g}"
            self.fail(ProtocolError(f"more than {rate} messages a second"), CloseCode.POLICY)
            return
        kind = message.WhichOneof("message")
        try:
            if (kind == "hello") != (self._state is _State.AWAITING_HELLO):
                raise ProtocolError("hello must be the first message, and only that")
            match kind:
                case "hello":
                    self._hello(message.hello)
                case "set_view" | "close_view" if self._watching:
                    self._refuse_watcher(getattr(message, kind).view_id, message.set_view.revision)
                case "set_view":
                    self._set_view(message.set_view)
                case "close_view":
                    self._close_view(message.close_view.view_id)
                case "acknowledge":
                    self._acknowledge(message.acknowledge)
                case "set_visibility":
                    self._set_visibility(message.set_visibility.visible)
                case "list_volumes":
                    # Asked before the list: what is scanned between the two is in it.
                    scanning = self._is_scanning()
                    self._send(volume_list=stream_pb2.VolumeList(volumes=self._list_volumes(), scanning=scanning))
                case "open_volume":
                    self._open_volume(message.open_volume.volume_id, in_part=message.open_volume.in_part)
                case "share":
                    self._actions.append(ShareViews())
                case "watch":
                    self._actions.append(WatchViews(message.watch.share_id))
                case "drive":
                    self._actions.append(TakeWheel())
        except ProtocolError as error:
            self.fail(error)
        except UnauthenticatedError as error:
            self.fail(error, CloseCode.POLICY)
        except DrainingError as error:
            self.fail(error, CloseCode.GOING_AWAY)

    def tick(self) -> None:
        """Look at the clock: call when `next_deadline` has come."""
        if self._state is _State.AWAITING_HELLO and self._clock() >= self._hello_by:
            seconds = f"{self.limits.hello_seconds:g}"
            self.fail(UnauthenticatedError(f"no hello within {seconds} s"), CloseCode.POLICY)

    def fail(self, error: VoxelcastError, code: CloseCode = CloseCode.PROTOCOL) -> None:
        """End the session: the error is told, then the socket is to be closed."""
        if self._state is not _State.CLOSED:
            self._error(error.reason, error.message)
            self.close(code, error.message)

    def close(self, code: CloseCode, reason: str) -> None:
        """End the session once what is queued has been sent."""
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            for job in self._running:
                job.cancelled = True
            self._actions.append(Close(code, reason))

    def drain(self) -> None:
        """Tell the client that the server will go away; frames in flight end, none is begun."""
        if self._state is not _State.CLOSED and not self._draining:
            self._draining = True
            self._send(draining=stream_pb2.Draining())

    def disconnected(self) -> None:
        """Note that the client has gone: nothing is rendered or sent any more."""
        self._state = _State.CLOSED
        self._outbox.clear()
        self._actions.clear()
        for job in self._running:
            job.cancelled = True

    def volume_opened(self, volume_id: str, revision: int, *, is_whole: bool = True) -> None:
        """Note that a volume is resident, or has more slices than before."""
        if is_whole:
            self._outbox.drop_progress(volume_id)
        self._holds.opened(volume_id, revision, is_whole=is_whole)

    def volume_failed(self, volume_id: str, reason: str, message: str) -> None:
        """Note that a volume can't be opened: its views wait for their next SetView, which tries again."""
        self._outbox.drop_progress(volume_id)
        held, asked = self._holds.failed(volume_id)
        for view in self._views.values():
            if held and view.volume_id == volume_id:
                view.failed = True
                if view.job is not None:  # of the part that was there
                    view.job.cancelled = True
                    view.job = None
                self._error(reason, message, view.view_id, volume_id, view.revision)
        if asked:
            self._error(reason, message, "", volume_id)

    def load_progress(self, volume_id: str, stage: str, done: int, total: int) -> None:
        """Note how far a volume is that the client waits for; only the latest word of each is sent."""
        if self._holds.is_loading(volume_id):
            self._outbox.put_progress(volume_pb2.LoadProgress(volume_id=volume_id, stage=stage, done=done, total=total))

    def describe(self, description: volume_pb2.VolumeDescription, missing_slices: int = 0) -> None:
        """Answer OpenVolume."""
        self._send(volume_opened=stream_pb2.VolumeOpened(volume=description, missing_slices=missing_slices))

    def watch(self) -> None:
        """Show what others set from now on, and nothing else."""
        self._watching = True
        for view_id in tuple(self._views):
            self._close_view(view_id)

    def mirror(self, view_id: str, view: View, revision: int, message: view_pb2.View) -> None:
        """Show what the driver of shared views has set, as if the client had."""
        if self._state is _State.OPEN:
            self._outbox.put_view(stream_pb2.ViewSet(view_id=view_id, revision=revision, view=message))
            self._show(view_id, view, revision, self._clock())

    def mirror_closed(self, view_id: str) -> None:
        """End a view that the driver has closed."""
        if self._state is _State.OPEN:
            self._outbox.drop_view(view_id)
            self._close_view(view_id)
            self._send(view_closed=stream_pb2.ViewClosed(view_id=view_id))

    def sharing(self, sharing: stream_pb2.Sharing) -> None:
        """Tell who drives the views that are shared."""
        if self._state is _State.OPEN:
            self._watching = not sharing.driving
            self._send(sharing=sharing)

    def refuse(self, error: VoxelcastError) -> None:
        """Tell the client of what it asked for in vain; the session goes on."""
        self._error(error.reason, error.message)

    def frame_ready(self, job: RenderJob, frame: RenderedFrame) -> None:
        """Take what a job has made: a picture, or the lossless frame."""
        view = self._views.get(job.view_id)
        if job.cancelled or view is None or view.job is not job or self.is_closed:
            return
        view.drawn_revision = max(view.drawn_revision, job.view_revision)
        if frame.header.encoding != frame_pb2.FRAME_ENCODING_JPEG:
            # With slices missing it is shown all the same, and made again when the volume's revision rises.
            view.complete = frame.revisions
            view.lossless_bytes = len(frame.payload)
            view.final = Transfer(frame)
        else:
            pixels = job.view.viewport.width_px * job.view.viewport.height_px
            if job.picture is not None:
                view.pictures.measured(job.picture, len(frame.payload), pixels)
            view.picture = Transfer(frame)
        view.rendering.measured(job.quality, frame.header.timings.render_ms)

    def job_done(self, job: RenderJob, error: BaseException | None = None, reason: str = "", message: str = "") -> None:
        """Note that a job has ended, after its frames. An error that is no cancellation is told to the client."""
        self._running.discard(job)
        view = self._views.get(job.view_id)
        if view is None or view.job is not job:
            return
        view.job = None
        if error is not None and not isinstance(error, RenderCancelledError):
            view.failed = view.revision == job.view_revision
            self._error(reason, message, view.view_id, view.volume_id, job.view_revision)

    # What is to be done.

    def next_job(self) -> RenderJob | None:
        """Return what to render now. Each must end in `job_done`."""
        if self._state is not _State.OPEN or not self._visible or self._draining:
            return None
        if len(self._running) >= MAX_RUNNING_JOBS:
            return None
        now = self._clock()
        moving = [view for view in self._views.values() if now < view.rests_at]
        for make in (self._picture_job, self._final_job):
            for view in self._views.values():
                if self._can_draw(view) and (job := make(view, moving, now)):
                    self._running.add(job)
                    self._views.move_to_end(view.view_id)  # the others have their turn first
                    return job
        return None

    def next_message(self) -> Outgoing | None:
        """Return what to hand over now: answers, then pictures, then lossless chunks."""
        answer = self._outbox.next_answer()
        if answer is not None or self._state is not _State.OPEN:
            return answer
        return self._outbox.next_frame(self._views.values(), self.epoch, self._clock())

    def next_deadline(self) -> float | None:
        """Return when time alone will make something to do, seconds of the clock; None if never."""
        if self._state is _State.AWAITING_HELLO:
            return self._hello_by
        if self._state is _State.CLOSED or not self._visible:
            return None
        now = self._clock()
        chunk_at = self._outbox.next_chunk_at(self._views.values())
        times = [] if chunk_at is None else [chunk_at]
        for view in self._views.values():
            if self._can_draw(view) and view.wants_final(self._volume_revision(view)):
                times += [view.rests_at, view.input_at + FINAL_PATIENCE_S]
                times += [other.rests_at for other in self._views.values()]
        return min((time for time in times if time > now), default=None)

    # Messages.

    def _hello(self, hello: stream_pb2.Hello) -> None:
        if hello.protocol_version != PROTOCOL_VERSION:
            raise ProtocolError(f"protocol_version {hello.protocol_version}: this server speaks {PROTOCOL_VERSION}")
        self._authenticate(hello.token)
        if self._draining:
            raise DrainingError("the server is shutting down")
        self.client = "".join(c for c in hello.client[:100] if c.isprintable())
        self._state = _State.OPEN
        saved = self._resume(hello.resume_token) if hello.resume_token else None
        if saved is not None:
            self.epoch = saved.epoch + 1
        welcome = stream_pb2.Welcome(
            protocol_version=PROTOCOL_VERSION,
            server_version=render.__version__,
            epoch=self.epoch,
            resume_token=self._resume_token,
            limits=stream_pb2.SessionLimits(
                max_views=self.limits.max_views,
                max_viewport_px=self.limits.max_viewport_px,
                max_pixels=self.limits.max_pixels,
                max_message_bytes=self.limits.max_message_bytes,
            ),
            presets=self._presets,
            scanning=self._is_scanning(),
            volumes=self._list_volumes(),
        )
        self._send(welcome=welcome)
        for view in saved.views if saved is not None else ():
            # As if it had rested for long: its final frame comes first.
            self._show(view.view_id, view.view, view.revision, -math.inf)
            self._views[view.view_id].drawn_revision = view.revision

    def _refuse_watcher(self, view_id: str, revision: int) -> None:
        error = InvalidArgumentError("this session watches: only the one that drives sets and closes views")
        self._error(error.reason, error.message, view_id[: self.limits.max_view_id_characters], revision=revision)

    def _set_view(self, message: stream_pb2.SetView) -> None:
        view_id, revision = message.view_id, message.revision
        longest = self.limits.max_view_id_characters
        if not 1 <= len(view_id) <= longest:
            error = InvalidArgumentError(f"view_id of {len(view_id)} characters: 1 to {longest} needed")
            self._error(error.reason, error.message, revision=revision)
            return
        state = self._views.get(view_id)
        if state is not None and revision == state.revision:
            return  # sent again after a reconnect
        try:
            if revision <= (state.revision if state is not None else 0):
                least = state.revision + 1 if state is not None else 1
                raise InvalidArgumentError(f"revision {revision} of a view: at least {least} needed")
            if state is None and len(self._views) >= self.limits.max_views:
                raise InvalidArgumentError(f"more than {self.limits.max_views} views")
            view = self._view_from_proto(message.view)
            longest = max(view.viewport.width_px, view.viewport.height_px)
            if longest > self.limits.max_viewport_px:
                raise InvalidViewError(f"viewport of {longest} px: at most {self.limits.max_viewport_px} here")
            others = [each.view.viewport for each in self._views.values() if each is not state]
            pixels = sum(each.width_px * each.height_px for each in (view.viewport, *others))
            if pixels > self.limits.max_pixels:
                raise InvalidViewError(f"views of {pixels} px together: at most {self.limits.max_pixels} here")
        except VoxelcastError as error:
            self._error(error.reason, error.message, view_id, revision=revision)
            return
        self._show(view_id, view, revision, self._clock())

    def _show(self, view_id: str, view: View, revision: int, now: float) -> None:
        state = self._views.get(view_id)
        if state is None:
            self._views[view_id] = ViewState(view_id, view, revision, self._sequence_floor, now)
        else:
            changed = state.set(view, revision, now)
            if state.job is not None and (changed or state.job.is_final):
                # A picture of the same kind is worth finishing: else a fast hand would see none at all.
                state.job.cancelled = True
                state.job = None
            self._outbox.drop_final(state)
            if changed:
                state.picture = None
        self._holds.hold(self._volumes_of_views())

    def _close_view(self, view_id: str) -> None:
        state = self._views.pop(view_id, None)
        if state is None:
            return
        # A view opened again under this name goes on counting: an old frame can't be taken for a new one.
        self._sequence_floor = max(self._sequence_floor, state.sequence)
        if state.job is not None:
            state.job.cancelled = True
        self._outbox.drop_final(state)
        for shipment, _ in state.in_flight.values():
            self.link.forget(shipment)
        self._holds.hold(self._volumes_of_views())

    def _acknowledge(self, message: stream_pb2.Acknowledge) -> None:
        view = self._views.get(message.view_id)
        if view is None:
            return
        now = self._clock()
        # Frames arrive in order: a later one acknowledged, the earlier ones are painted or dropped.
        for sequence in [s for s in view.in_flight if s <= message.sequence]:
            shipment, frame = view.in_flight.pop(sequence)
            self.link.acknowledged(now, shipment)
            if sequence == message.sequence and frame.is_final:
                view.settled = view.complete = frame.revisions

    def _set_visibility(self, visible: bool) -> None:
        self._visible = visible
        for view in self._views.values():
            if not visible:
                if view.job is not None:
                    view.job.cancelled = True
                    view.job = None
                self._outbox.drop_final(view)
                view.picture = None
                # What was handed over but not painted is not relied on.
                view.complete = view.settled

    def _open_volume(self, volume_id: str, *, in_part: bool) -> None:
        if not 1 <= len(volume_id) <= MAX_VOLUME_ID_CHARACTERS:
            error = InvalidArgumentError(
                f"volume_id of {len(volume_id)} characters: 1 to {MAX_VOLUME_ID_CHARACTERS} needed"
            )
            self._error(error.reason, error.message)
            return
        self._holds.open(volume_id, self._volumes_of_views(), in_part=in_part)

    # Inside.

    def _volumes_of_views(self) -> set[str]:
        return {view.volume_id for view in self._views.values() if not view.failed}

    def _volume_revision(self, view: ViewState) -> int:
        return self._holds.revision(view.volume_id)

    def _can_draw(self, view: ViewState) -> bool:
        if view.job is not None or view.failed or not self._volume_revision(view):
            return False
        if view.credit_used >= self.link.window:
            return False
        return self.link.in_flight_bytes < self.link.cap_bytes

    def _picture_job(self, view: ViewState, moving: list[ViewState], now: float) -> RenderJob | None:
        if not view.wants_picture(now):
            return None
        return view.picture_job(self.link.frame_budget_bytes(len(moving)))

    def _final_job(self, view: ViewState, moving: list[ViewState], now: float) -> RenderJob | None:
        if now < view.rests_at or not view.wants_final(self._volume_revision(view)):
            return None
        if moving and now < view.input_at + FINAL_PATIENCE_S:
            return None
        slow = view.lossless_bytes / self.link.bytes_per_s > PREVIEW_ABOVE_S
        return view.final_job(with_preview=slow and view.credit_used + 2 <= self.link.window)

    def _send(self, **message: object) -> None:
        self._outbox.put(stream_pb2.ServerMessage(**message))  # type: ignore[arg-type]

    def _error(self, reason: str, message: str, view_id: str = "", volume_id: str = "", revision: int = 0) -> None:
        self._send(
            error=stream_pb2.StreamError(
                reason=reason, message=message, view_id=view_id, volume_id=volume_id, revision=revision
            )
        )

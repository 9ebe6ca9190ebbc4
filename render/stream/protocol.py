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

Here are the session's life and the messages' ways. Hello is `hello.py`; what a session may do, `limits.py`; its views
and what becomes of their frames, `views.py` and `view_state.py`; their volumes, `holds.py`; what is rendered next,
`jobs.py`; what is sent next, `outbox.py`; how much of either, `pacing.py`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable

from render.errors import (
    DrainingError,
    HelloTimeoutError,
    InvalidArgumentError,
    ProtocolError,
    RenderCancelledError,
    TooManyMessagesError,
    UnauthenticatedError,
    VoxelcastError,
)
from render.stream.contract import (
    Action,
    Close,
    CloseCode,
    SavedSession,
    ShareViews,
    StopSharing,
    TakeWheel,
    WatchViews,
)
from render.stream.hello import Host
from render.stream.jobs import Jobs
from render.stream.limits import Allowance, Limits, check_volume_id
from render.stream.outbox import Outbox, Outgoing
from render.stream.pacing import Link
from render.stream.view_state import RenderedFrame, RenderJob, ViewState
from render.stream.views import SessionViews
from render.v1 import stream_pb2, view_pb2, volume_pb2
from render.view import View

LIST_INTERVAL_S = 0.5
"""Between two lists of volumes: writing one of thousands takes the event loop from all sessions."""


class _State(enum.Enum):
    AWAITING_HELLO = enum.auto()
    OPEN = enum.auto()
    CLOSED = enum.auto()


class StreamProtocol:
    """One client's session.

    Parameters
    ----------
    host
        The server, as far as a session asks it anything.
    clock
        Seconds, monotonic.
    view_from_proto
        Reads a View; raises VoxelcastError.
    limits
        What the session may do.
    """

    def __init__(
        self,
        host: Host,
        *,
        clock: Callable[[], float],
        view_from_proto: Callable[[view_pb2.View], View],
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.link = Link()
        self.epoch = 1
        self._host = host
        self._clock = clock
        self._view_from_proto = view_from_proto
        self._state = _State.AWAITING_HELLO
        self._hello_by = clock() + self.limits.hello_seconds
        self._allowance = Allowance(self.limits.messages_per_s, clock())
        self._visible = True
        self._draining = False
        self._watching = False
        self._is_list_wanted = False
        self._list_due_at = -math.inf
        self._actions: list[Action] = []
        self._outbox = Outbox(self.link)
        self._views = SessionViews(self.link, self._outbox, lambda action: self._actions.append(action))
        self._jobs = Jobs(self._views, self.link)

    # What the driver reads.

    @property
    def max_message_bytes(self) -> int:
        """What the next message from the client may measure."""
        return self.limits.max_hello_bytes if self.awaits_hello else self.limits.max_message_bytes

    @property
    def awaits_hello(self) -> bool:
        """Whether the client has not said who it is."""
        return self._state is _State.AWAITING_HELLO

    @property
    def is_closed(self) -> bool:
        """Whether the session has ended; what is queued may still be sent."""
        return self._state is _State.CLOSED

    @property
    def is_settled(self) -> bool:
        """Whether the client has painted the final frame of every view that can be drawn."""
        return self._views.is_settled

    @property
    def views(self) -> tuple[ViewState, ...]:
        """What the client shows."""
        return tuple(self._views)

    @property
    def queued_answers(self) -> int:
        """Answers that wait to be sent; a driver stops reading while there are many."""
        return len(self._outbox)

    @property
    def is_chunk_due(self) -> bool:
        """Whether a chunk of a lossless frame may be handed over now."""
        chunk_at = self._outbox.next_chunk_at(self.views) if self._state is _State.OPEN else None
        return chunk_at is not None and chunk_at <= self._clock()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being rendered, and nothing waits to be sent."""
        waiting = any(view.picture is not None or view.final is not None for view in self._views)
        return not (self._jobs.are_running or waiting or len(self._outbox))

    def saved(self) -> SavedSession:
        """Return what the resume token is to stand for."""
        return SavedSession(self.epoch, self._views.saved())

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
            self.fail(TooManyMessagesError(f"more than {rate} messages a second"), CloseCode.POLICY)
            return
        kind = message.WhichOneof("message")
        try:
            if (kind == "hello") != self.awaits_hello:
                raise ProtocolError("hello must be the first message, and only that")
            match kind:
                case "hello":
                    self._hello(message.hello)
                case "set_view" | "close_view" if self._watching:
                    self._refuse_watcher(getattr(message, kind).view_id, message.set_view.revision)
                case "set_view":
                    self._set_view(message.set_view)
                case "close_view":
                    self._views.close(message.close_view.view_id)
                    self._outbox.knows_view(message.close_view.view_id, is_open=False)
                case "acknowledge":
                    self._views.acknowledged(message.acknowledge.view_id, message.acknowledge.sequence, self._clock())
                case "set_visibility":
                    self._set_visibility(message.set_visibility.visible)
                case "list_volumes":
                    self._is_list_wanted = True
                case "open_volume":
                    self._open_volume(message.open_volume.volume_id, in_part=message.open_volume.in_part)
                case "share":
                    self._actions.append(ShareViews())
                case "watch":
                    self._actions.append(WatchViews(message.watch.share_id))
                case "drive":
                    self._actions.append(TakeWheel())
                case "stop_sharing":
                    self._actions.append(StopSharing())
                case "ping":
                    self._send(pong=stream_pb2.Pong())
        except ProtocolError as error:
            self.fail(error)
        except UnauthenticatedError as error:
            self.fail(error, CloseCode.POLICY)
        except DrainingError as error:
            self.fail(error, CloseCode.GOING_AWAY)

    def tick(self) -> None:
        """Look at the clock: call when `next_deadline` has come."""
        if self.awaits_hello and self._clock() >= self._hello_by:
            seconds = f"{self.limits.hello_seconds:g}"
            self.fail(HelloTimeoutError(f"no hello within {seconds} s"), CloseCode.POLICY)

    def fail(self, error: VoxelcastError, code: CloseCode = CloseCode.PROTOCOL) -> None:
        """End the session: the error is told, then the socket is to be closed."""
        if self._state is not _State.CLOSED:
            self._error(error.reason, error.message)
            self.close(code, error.message)

    def close(self, code: CloseCode, reason: str) -> None:
        """End the session once what is queued has been sent."""
        if self._state is not _State.CLOSED:
            self._state = _State.CLOSED
            self._jobs.give_up()
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
        self._jobs.give_up()

    def volume_opened(self, volume_id: str, revision: int, *, is_whole: bool = True) -> None:
        """Note that a volume is resident, or has more slices than before."""
        if is_whole:
            self._outbox.drop_progress(volume_id)
        self._views.holds.opened(volume_id, revision, is_whole=is_whole)

    def volume_failed(self, volume_id: str, reason: str, message: str) -> None:
        """Note that a volume can't be opened: its views wait for their next SetView, which tries again."""
        self._outbox.drop_progress(volume_id)
        failed, asked = self._views.volume_failed(volume_id)
        for view in failed:
            self._error(reason, message, view.view_id, volume_id, view.revision)
        if asked:
            self._error(reason, message, "", volume_id)

    def load_progress(self, volume_id: str, stage: str, done: int, total: int) -> None:
        """Note how far a volume is that the client waits for; only the latest word of each is sent."""
        if self._views.holds.is_loading(volume_id):
            self._outbox.put_progress(volume_pb2.LoadProgress(volume_id=volume_id, stage=stage, done=done, total=total))

    def describe(self, description: volume_pb2.VolumeDescription, missing_slices: int = 0) -> None:
        """Answer OpenVolume."""
        self._send(volume_opened=stream_pb2.VolumeOpened(volume=description, missing_slices=missing_slices))

    def watch(self) -> None:
        """Show what others set from now on, and nothing else."""
        self._watching = True
        self._views.close_all()
        self._outbox.knows_no_view()

    def mirror(self, view_id: str, view: View, revision: int, message: view_pb2.View) -> None:
        """Show what the driver of shared views has set, as if the client had."""
        if self._state is _State.OPEN:
            self._outbox.put_view(stream_pb2.ViewSet(view_id=view_id, revision=revision, view=message))
            self._views.show(view_id, view, revision, self._clock())

    def mirror_closed(self, view_id: str) -> None:
        """End a view that the driver has closed."""
        if self._state is _State.OPEN:
            self._views.close(view_id)
            self._outbox.close_view(view_id)

    def sharing(self, sharing: stream_pb2.Sharing) -> None:
        """Tell who drives the views that are shared."""
        if self._state is _State.OPEN:
            self._watching = not sharing.driving
            self._outbox.put_sharing(sharing)

    def refuse(self, error: VoxelcastError) -> None:
        """Tell the client of what it asked for in vain; the session goes on."""
        self._error(error.reason, error.message)

    def frame_ready(self, job: RenderJob, frame: RenderedFrame) -> None:
        """Take what a job has made: a picture, or the lossless frame."""
        view = self._views.waiting_for(job)
        if view is not None and not job.cancelled and not self.is_closed:
            view.made(job, frame)

    def job_done(self, job: RenderJob, error: BaseException | None = None, reason: str = "", message: str = "") -> None:
        """Note that a job has ended, after its frames. An error that is no cancellation is told to the client."""
        self._jobs.ended(job)
        view = self._views.waiting_for(job)
        if view is None:
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
        return self._jobs.begin(self._clock())

    def next_message(self) -> Outgoing | None:
        """Return what to hand over now: answers, then pictures, then lossless chunks."""
        answer = self._outbox.next_answer()
        if answer is not None or self._state is not _State.OPEN:
            return answer
        now = self._clock()
        if self._is_list_wanted and now >= self._list_due_at:
            self._is_list_wanted, self._list_due_at = False, now + LIST_INTERVAL_S
            return stream_pb2.ServerMessage(volume_list=self._host.volume_list())
        return self._outbox.next_frame(self.views, self.epoch, now)

    def next_deadline(self) -> float | None:
        """Return when time alone will make something to do, seconds of the clock; None if never."""
        if self.awaits_hello:
            return self._hello_by
        if self._state is _State.CLOSED:
            return None
        now = self._clock()
        times = [self._list_due_at] if self._is_list_wanted else []
        if self._visible:
            chunk_at = self._outbox.next_chunk_at(self.views)
            times += self._jobs.times()
            times += [] if chunk_at is None else [chunk_at]
        return min((time for time in times if time > now), default=None)

    # Messages.

    def _hello(self, hello: stream_pb2.Hello) -> None:
        self._host.check(hello)
        if self._draining:
            raise DrainingError("the server is shutting down")
        self._state = _State.OPEN
        saved = self._host.resume(hello.resume_token) if hello.resume_token else None
        if saved is not None:
            self.epoch = saved.epoch + 1
        self._send(welcome=self._host.welcome(self.epoch, self.limits))
        for view in saved.views if saved is not None else ():
            self._views.resume(view)

    def _refuse_watcher(self, view_id: str, revision: int) -> None:
        error = InvalidArgumentError("this session watches: only the one that drives sets and closes views")
        self._error(error.reason, error.message, view_id[: self.limits.max_view_id_characters], revision=revision)

    def _set_view(self, message: stream_pb2.SetView) -> None:
        view_id, revision = message.view_id, message.revision
        state = self._views.get(view_id)
        try:
            self.limits.check_view_id(view_id)
        except InvalidArgumentError as error:
            self._error(error.reason, error.message, revision=revision)
            return
        if state is not None and revision == state.revision and not state.failed:
            return  # sent again after a reconnect
        try:
            # What failed may be asked for once more as it was.
            least = state.revision + (not state.failed) if state is not None else 1
            if revision < least:
                raise InvalidArgumentError(f"revision {revision} of a view: at least {least} needed")
            if state is None:
                self.limits.check_another_view(len(self._views))
            view = self._view_from_proto(message.view)
            self.limits.check_viewport(view.viewport, self._views.viewports_beside(state))
        except VoxelcastError as error:
            self._error(error.reason, error.message, view_id, revision=revision)
            return
        self._views.show(view_id, view, revision, self._clock())
        self._outbox.knows_view(view_id, is_open=True)

    def _set_visibility(self, visible: bool) -> None:
        self._visible = visible
        if not visible:
            self._views.hide()

    def _open_volume(self, volume_id: str, *, in_part: bool) -> None:
        try:
            check_volume_id(volume_id)
        except InvalidArgumentError as error:
            self.refuse(error)
            return
        self._views.open_volume(volume_id, in_part=in_part)

    def _send(self, **message: object) -> None:
        self._outbox.put(stream_pb2.ServerMessage(**message))  # type: ignore[arg-type]

    def _error(self, reason: str, message: str, view_id: str = "", volume_id: str = "", revision: int = 0) -> None:
        self._send(
            error=stream_pb2.StreamError(
                reason=reason, message=message, view_id=view_id, volume_id=volume_id, revision=revision
            )
        )

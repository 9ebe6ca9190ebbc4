"""The client's side of the live stream without any I/O: messages in, frames and messages out.

A shell, synchronous or asyncio, owns a gRPC call and one `StreamState`. It hands every message of the server to
`receive`, sends what `next_message` returns until that is None, and gives its caller what `take` returns.
Nothing in here blocks, locks or reads a clock (the time is an argument); the shell sees to it that one thread at a
time is in here.

What the state guarantees:

- A view that was not sent yet is replaced by the next one: the latest wins.
- Frames of a view are taken in order and never after a newer one; one that is superseded before it was taken is
  acknowledged together with the newer one, so a slow consumer holds the server's credit, not the client's memory.
- A frame is handed out only whole.
- After `reconnect` the same views go on in a new epoch: what the server's session knew is taken up by its resume token,
  what it did not is sent again.
- A volume that the server does not know while it still reads its folders, as after a restart, is asked for again.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from render.v1.frame_pb2 import FRAME_QUALITY_FINAL, FrameHeader
from render.v1.render_service_pb2 import StreamFramesResponse
from render.v1.stream_pb2 import (
    Acknowledge,
    ClientMessage,
    CloseView,
    FrameMessage,
    Hello,
    ListVolumes,
    ServerMessage,
    SetView,
    SetVisibility,
    StreamError,
    Welcome,
)
from render.v1.view_pb2 import View
from voxelcast.errors import VOLUME_NOT_FOUND, InvalidArgumentError, ProtocolError, VoxelcastError, from_reason

PROTOCOL_VERSION = 1
SCAN_INTERVAL_S = 1.0
"""Between two tries to see a volume that a server may still find: it reads its folders."""
MAX_VIEW_ID_CHARACTERS = 64
VIEW_INTERVAL_S = 0.002
"""Between two views that are sent: a loop that shows views as fast as it can stays below the server's limit."""


@dataclass(frozen=True)
class EncodedFrame:
    """A whole frame, not decoded yet."""

    header: FrameHeader
    payload: bytes


@dataclass
class _ViewState:
    # Frames that answer an older one belong to a closed view of the same name.
    first_revision: int
    revision: int = 0
    # What is shown, and the same while it was not sent yet.
    latest: View | None = None
    unsent: View | None = None
    # The server does not know its volume yet.
    is_awaited: bool = False
    was_sent: bool = False
    # Chunks of the frame on its way.
    partial: list[FrameMessage] = field(default_factory=list)
    # The newest whole frame that was not taken yet.
    ready: EncodedFrame | None = None
    # Sequences that were received whole and wait for `take`.
    unacknowledged: list[int] = field(default_factory=list)
    last_sequence: int = 0
    # The last final, lossless frame that was taken.
    settled: EncodedFrame | None = None

    @property
    def is_settled(self) -> bool:
        return self.settled is not None and self.settled.header.view_revision == self.revision


class StreamState:
    """One stream, from Hello to its end.

    Parameters
    ----------
    client
        Name and version of this program, for the server's logs.
    token
        For a server that asks for one.

    Attributes
    ----------
    welcome
        The server's answer to Hello, once it is there.
    draining
        Whether the server said that it will go away.
    """

    def __init__(self, client: str, token: str = "") -> None:
        self.welcome: Welcome | None = None
        self.draining = False
        self._client = client
        self._token = token
        self._resume_token = ""
        self._is_back = False
        # One count for all views: a name that is used again goes on where it was.
        self._revision = 0
        self._next_view_at_s = -math.inf
        self._is_scanning = False
        self._scan_again_at_s: float | None = None
        self._views: dict[str, _ViewState] = {}
        self._errors: deque[tuple[str, VoxelcastError]] = deque()
        self._outgoing: deque[ClientMessage] = deque()
        self._hello()

    def _hello(self) -> None:
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            token=self._token,
            resume_token=self._resume_token,
            client=self._client,
        )
        self._send(ClientMessage(hello=hello))

    @property
    def was_welcomed(self) -> bool:
        """Whether the server has ever answered Hello."""
        return self._resume_token != ""

    def reconnect(self) -> None:
        """Begin anew on another call, with the same views: Hello goes first, then every view.

        A frame that was received whole and not taken stays to be taken; its acknowledgement is not owed any more.
        """
        self.welcome = None
        self.draining = False
        self._outgoing.clear()
        self._next_view_at_s = -math.inf
        for state in self._views.values():
            state.is_awaited = False
            state.partial.clear()
            state.unacknowledged.clear()
            state.last_sequence = 0
        self._is_back = True
        self._hello()

    def show(self, view_id: str, view: View) -> int:
        """Set a view; it replaces one that was not sent yet.

        Returns
        -------
        int
            Its revision, which the frames that answer it echo.

        Raises
        ------
        InvalidArgumentError
            If `view_id` is empty or longer than 64 characters.
        """
        if not 1 <= len(view_id) <= MAX_VIEW_ID_CHARACTERS:
            raise InvalidArgumentError(f"view_id of {len(view_id)} characters: 1 to {MAX_VIEW_ID_CHARACTERS} needed")
        self._revision += 1
        state = self._views.setdefault(view_id, _ViewState(self._revision))
        state.revision = self._revision
        state.latest = state.unsent = view
        state.is_awaited = False
        return state.revision

    def close_view(self, view_id: str) -> None:
        """Stop showing a view; its frames that are on their way are dropped."""
        if (state := self._views.pop(view_id, None)) is None:
            return
        for sequence in state.unacknowledged:
            self._acknowledge(view_id, sequence)
        if state.was_sent:
            self._send(ClientMessage(close_view=CloseView(view_id=view_id)))

    def set_visible(self, visible: bool) -> None:
        """Pause frames, or let them come again."""
        self._send(ClientMessage(set_visibility=SetVisibility(visible=visible)))

    def next_message(self, now_s: float) -> ClientMessage | None:
        """Return the next message to send, None if there is none now. Acknowledgements go before views.

        Parameters
        ----------
        now_s
            Of a monotonic clock, seconds.
        """
        self._ask_again(now_s)
        if self._outgoing:
            return self._outgoing.popleft()
        if now_s < self._next_view_at_s:
            return None
        for view_id, state in self._views.items():
            if (view := state.unsent) is not None:
                state.unsent, state.was_sent = None, True
                self._next_view_at_s = now_s + VIEW_INTERVAL_S
                return ClientMessage(set_view=SetView(view_id=view_id, revision=state.revision, view=view))
        return None

    def send_again_at_s(self) -> float | None:
        """Return when time alone will make something to send; None if never."""
        times = [] if self._scan_again_at_s is None else [self._scan_again_at_s]
        if any(state.unsent is not None for state in self._views.values()):
            times.append(self._next_view_at_s)
        return min(times, default=None)

    def _ask_again(self, now_s: float) -> None:
        """Ask for what the server may have found by now, and whether it still looks."""
        awaited = [state for state in self._views.values() if state.is_awaited]
        if not awaited:
            self._scan_again_at_s = None
        elif self._scan_again_at_s is None:
            self._scan_again_at_s = now_s + SCAN_INTERVAL_S
        elif now_s >= self._scan_again_at_s:
            self._scan_again_at_s = None
            self._send(ClientMessage(list_volumes=ListVolumes()))
            for state in awaited:
                state.unsent, state.is_awaited = state.latest, False

    def receive(self, response: StreamFramesResponse) -> None:
        """Take what the server sent: a control message, a frame, or a chunk of one.

        Raises
        ------
        ProtocolError
            If it is a second Welcome, one of another protocol version, a frame before it, or a frame whose chunks
            are out of order or together longer than its header says.
        """
        if response.WhichOneof("event") == "frame":
            self._receive_frame(response.frame)
        else:
            self._receive_message(response.message)

    def _receive_message(self, message: ServerMessage) -> None:
        match message.WhichOneof("message"):
            case "welcome":
                if self.welcome is not None:
                    raise ProtocolError("a second Welcome")
                if message.welcome.protocol_version != PROTOCOL_VERSION:
                    raise ProtocolError(
                        f"protocol version {message.welcome.protocol_version}; this client speaks {PROTOCOL_VERSION}"
                    )
                self.welcome = message.welcome
                self._resume_token = message.welcome.resume_token
                self._is_scanning = message.welcome.scanning
                self._send_views_again()
            case "volume_list":
                self._is_scanning = message.volume_list.scanning
            case "error":
                self._receive_error(message.error)
            case "draining":
                self.draining = True
            case _:
                pass  # progress: nobody here asked for it

    def _send_views_again(self) -> None:
        """Send what the server may not know: one that took the session up ignores the very same revision."""
        for state in self._views.values():
            if self._is_back and state.unsent is None:
                state.unsent = state.latest

    def _receive_error(self, error: StreamError) -> None:
        if error.view_id:
            state = self._views.get(error.view_id)
            if state is None or error.revision not in (0, state.revision):
                return  # about a view that is closed, or superseded meanwhile
            if error.reason == VOLUME_NOT_FOUND and self._is_scanning:
                state.is_awaited = True
                return
        self._errors.append((error.view_id, from_reason(error.reason, error.message)))

    def _receive_frame(self, message: FrameMessage) -> None:
        """Take a chunk. A first one drops what is there of an older frame of the view: the server gave that up."""
        header = message.header
        if self.welcome is None:
            raise ProtocolError("a frame before Welcome")
        state = self._views.get(header.view_id)
        if state is None or header.epoch != self.welcome.epoch or header.sequence <= state.last_sequence:
            return
        if header.view_revision < state.first_revision:
            return
        if header.chunk_index == 0:
            state.partial.clear()
        elif not state.partial or state.partial[0].header.sequence != header.sequence:
            return  # the rest of a frame that was dropped
        if header.chunk_index != len(state.partial) or header.chunk_index >= max(1, header.chunk_count):
            raise ProtocolError(
                f"view {header.view_id!r}: chunk {header.chunk_index} of {header.chunk_count}, "
                f"{len(state.partial)} expected"
            )
        state.partial.append(message)
        if sum(len(part.payload) for part in state.partial) > header.payload_bytes:
            raise ProtocolError(f"view {header.view_id!r}: more than the frame's {header.payload_bytes} bytes")
        if len(state.partial) >= header.chunk_count:
            state.ready = EncodedFrame(state.partial[0].header, b"".join(part.payload for part in state.partial))
            state.partial.clear()
            state.last_sequence = header.sequence
            state.unacknowledged.append(header.sequence)

    def take(self, view_id: str | None = None) -> EncodedFrame | None:
        """Return the newest whole frame of a view (None: of any), and acknowledge it and those it supersedes.

        Raises
        ------
        VoxelcastError
            What the server said about the view, once. The stream goes on.
        """
        for index, (about, error) in enumerate(self._errors):
            if view_id is None or about in ("", view_id):
                del self._errors[index]
                raise error
        for name in list(self._views) if view_id is None else [view_id]:
            state = self._views.get(name)
            if state is None or (frame := state.ready) is None:
                continue
            state.ready = None
            for sequence in state.unacknowledged:
                self._acknowledge(name, sequence)
            state.unacknowledged.clear()
            if is_exact(frame.header):
                state.settled = frame
            # The next call begins with another view, so that a fast one doesn't starve the rest.
            self._views[name] = self._views.pop(name)
            return frame
        return None

    @property
    def is_settled(self) -> bool:
        """Whether the exact frame of the latest revision was taken, of all views."""
        return all(state.is_settled for state in self._views.values())

    def settled_frame(self, view_id: str) -> EncodedFrame | None:
        """Return the exact frame of a view's latest revision, once it was taken.

        Raises
        ------
        InvalidArgumentError
            If there is no such view.
        """
        if (state := self._views.get(view_id)) is None:
            raise InvalidArgumentError(f"no view {view_id!r} on this stream")
        return state.settled if state.is_settled else None

    def _acknowledge(self, view_id: str, sequence: int) -> None:
        self._send(ClientMessage(acknowledge=Acknowledge(view_id=view_id, sequence=sequence)))

    def _send(self, message: ClientMessage) -> None:
        self._outgoing.append(message)


def is_exact(header: FrameHeader) -> bool:
    """Whether a frame is as good as it gets: every ray, lossless, of a volume that is all there."""
    return header.quality == FRAME_QUALITY_FINAL and header.lossless and header.missing_slices == 0

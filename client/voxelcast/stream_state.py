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

from render.v1.render_service_pb2 import StreamFramesResponse
from render.v1.stream_pb2 import (
    Acknowledge,
    ClientMessage,
    CloseView,
    Drive,
    FrameMessage,
    Hello,
    ListVolumes,
    ServerMessage,
    SetView,
    SetVisibility,
    Share,
    Sharing,
    StreamError,
    ViewSet,
    Watch,
    Welcome,
)
from render.v1.view_pb2 import View
from voxelcast import errors
from voxelcast.errors import (
    INVALID_ARGUMENT,
    VOLUME_NOT_FOUND,
    InvalidArgumentError,
    ProtocolError,
    VoxelcastError,
    from_reason,
)
from voxelcast.stream_view import EncodedFrame, ViewState, is_exact

PROTOCOL_VERSION = 1
MAX_VIEW_ID_CHARACTERS = 64
VIEW_INTERVAL_S = 0.002
"""Between two views that are sent: a loop that shows views as fast as it can stays below the server's limit."""


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
    sharing
        Who drives, where views are shared.
    """

    def __init__(self, client: str, token: str = "") -> None:
        self.welcome: Welcome | None = None
        self.draining = False
        self.sharing: Sharing | None = None
        self._watched = ""
        self._client = client
        self._token = token
        self._resume_token = ""
        self._is_back = False
        # One count for all views: a name that is used again goes on where it was.
        self._revision = 0
        self._next_view_at_s = -math.inf
        self._is_scanning = False
        self._scan_again_at_s: float | None = None
        self._views: dict[str, ViewState] = {}
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
            state.begin_anew()
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
            If `view_id` is empty or longer than 64 characters, or if somebody else drives what is watched.
        """
        if self.is_watching:
            raise InvalidArgumentError("this stream watches what another one shows: drive() first")
        if not 1 <= len(view_id) <= MAX_VIEW_ID_CHARACTERS:
            raise InvalidArgumentError(f"view_id of {len(view_id)} characters: 1 to {MAX_VIEW_ID_CHARACTERS} needed")
        self._revision += 1
        state = self._views.setdefault(view_id, ViewState(self._revision))
        state.revision = self._revision
        state.latest = state.unsent = view
        state.is_awaited = False
        return state.revision

    def close_view(self, view_id: str) -> None:
        """Stop showing a view; its frames that are on their way are dropped."""
        if (state := self._views.pop(view_id, None)) is None:
            return
        for sequence in state.acknowledged():
            self._acknowledge(view_id, sequence)
        if state.was_sent:
            self._send(ClientMessage(close_view=CloseView(view_id=view_id)))

    def set_visible(self, visible: bool) -> None:
        """Pause frames, or let them come again."""
        self._send(ClientMessage(set_visibility=SetVisibility(visible=visible)))

    @property
    def is_watching(self) -> bool:
        """Whether somebody else sets the views."""
        return not self.sharing.driving if self.sharing is not None else self._watched != ""

    @property
    def views(self) -> dict[str, View]:
        """What is shown, by the views' names."""
        return {name: state.latest for name, state in self._views.items() if state.latest is not None}

    def share(self) -> None:
        """Let others watch; `sharing` says under which id, once the server has answered."""
        self._send(ClientMessage(share=Share()))

    def watch(self, share_id: str) -> None:
        """Watch what others share, in place of views of one's own."""
        self._watched, self.sharing = share_id, None
        self._views.clear()
        self._send(ClientMessage(watch=Watch(share_id=share_id)))

    def drive(self) -> None:
        """Take the wheel of what is watched; `sharing` says when it is there."""
        self._send(ClientMessage(drive=Drive()))

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
            self._scan_again_at_s = now_s + errors.SCAN_INTERVAL_S
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
                if self._is_back:
                    self._take_part_again(message.welcome.epoch)
                self._send_views_again()
            case "volume_list":
                self._is_scanning = message.volume_list.scanning
            case "error":
                self._receive_error(message.error)
            case "draining":
                self.draining = True
            case "sharing":
                self._receive_sharing(message.sharing)
            case "view_set":
                self._receive_view(message.view_set)
            case "view_closed":
                self._views.pop(message.view_closed.view_id, None)
            case _:
                pass  # progress: nobody here asked for it

    def _send_views_again(self) -> None:
        """Send what the server may not know: one that took the session up ignores the very same revision."""
        for state in self._views.values():
            if self._is_back and state.unsent is None and not self.is_watching:
                state.unsent = state.latest

    def _take_part_again(self, epoch: int) -> None:
        """Go on watching; a session that was taken up does so by itself, and drives again if nobody else does."""
        if epoch > 1 and self.sharing is not None:
            return
        watched = self._watched if self.is_watching else ""
        self._watched, self.sharing = "", None
        if watched:
            self.watch(watched)

    def _receive_sharing(self, sharing: Sharing) -> None:
        if not sharing.driving:
            for state in self._views.values():
                state.unsent = None  # what was not sent while one drove is not sent any more
        self.sharing, self._watched = sharing if sharing.share_id else None, sharing.share_id

    def _receive_view(self, view: ViewSet) -> None:
        """Note what the driver shows; who takes the wheel goes on counting from there."""
        state = self._views.setdefault(view.view_id, ViewState(0))
        state.revision, state.latest, state.was_sent = view.revision, view.view, True
        self._revision = max(self._revision, view.revision)

    def _receive_error(self, error: StreamError) -> None:
        if error.view_id:
            state = self._views.get(error.view_id)
            if state is None or error.revision not in (0, state.revision):
                return  # about a view that is closed, or superseded meanwhile
            if self.is_watching and error.reason == INVALID_ARGUMENT:
                return  # set in the moment in which somebody else took the wheel
            if error.reason == VOLUME_NOT_FOUND and self._is_scanning:
                state.is_awaited = True
                return
        elif self._watched and self.sharing is None and error.reason == INVALID_ARGUMENT:
            self._watched = ""  # it leads nowhere (any more)
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

    def check(self, view_id: str | None = None) -> None:
        """Raise what the server said about a view (None: about any) or about none, once."""
        for index, (about, error) in enumerate(self._errors):
            if view_id is None or about in ("", view_id):
                del self._errors[index]
                raise error

    def take(self, view_id: str | None = None) -> EncodedFrame | None:
        """Return the newest whole frame of a view (None: of any), and acknowledge it and those it supersedes.

        Raises
        ------
        VoxelcastError
            What the server said about the view, once. The stream goes on.
        """
        self.check(view_id)
        for name in list(self._views) if view_id is None else [view_id]:
            state = self._views.get(name)
            if state is None or (frame := state.ready) is None:
                continue
            state.ready = None
            for sequence in state.acknowledged():
                self._acknowledge(name, sequence)
            if is_exact(frame.header):
                state.settled = frame
            # The next call begins with another view, so that a fast one doesn't starve the rest.
            self._views[name] = self._views.pop(name)
            return frame
        return None

    @property
    def is_settled(self) -> bool:
        """Whether the exact frame of the latest revision was taken, of all views; of one at least where it watches."""
        if self.is_watching and not self._views:
            return False
        return all(state.is_settled for state in self._views.values())

    def settled_frame(self, view_id: str) -> EncodedFrame | None:
        """Return the exact frame of a view's latest revision, once it was taken.

        Raises
        ------
        InvalidArgumentError
            If there is no such view, and nobody else who may show it.
        """
        if (state := self._views.get(view_id)) is None:
            if self.is_watching:
                return None
            raise InvalidArgumentError(f"no view {view_id!r} on this stream")
        return state.settled if state.is_settled else None

    def _acknowledge(self, view_id: str, sequence: int) -> None:
        self._send(ClientMessage(acknowledge=Acknowledge(view_id=view_id, sequence=sequence)))

    def _send(self, message: ClientMessage) -> None:
        self._outgoing.append(message)

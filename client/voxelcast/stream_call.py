"""The gRPC call beneath a live stream, synchronous or asyncio.

It runs on grpc's synchronous stack in both cases. grpc.aio ends a call with "Internal error from Core" when a write
meets a server that has just ended it, and loses the server's status and last messages; on a stream, where both sides
write at any time, that is every third refusal. So one thread reads here, grpc's own sends, and the shells wait.
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from render.v1.render_service_pb2 import StreamFramesRequest
from render.v1.stream_pb2 import ClientMessage, Ping
from voxelcast import convert
from voxelcast.channel import Endpoint, client_name
from voxelcast.descriptions import Sharing
from voxelcast.errors import DeadlineExceededError, UnavailableError, VoxelcastError, from_rpc
from voxelcast.pulse import Pulse
from voxelcast.stream_state import StreamState
from voxelcast.stream_view import EncodedFrame
from voxelcast.views import View

logger = logging.getLogger(__name__)

MAIN_VIEW = "main"
"""The view's name where none is given."""
FIRST_RETRY_S, LAST_RETRY_S = 0.25, 8.0
"""Between two tries to come back, doubled each time, with some randomness: not all clients at once."""
RECONNECT_S = 120.0
"""A stream that is lost is given up after this."""


class StreamCall:
    """A `StreamState` and the threads that serve it.

    A call that breaks, or whose server goes away, is followed by another with the session's resume token, after some
    back-off; so is one that died in silence. The views stay, and frames come again once the server is there. The log
    says when a connection is lost and when it is back. After `RECONNECT_S` the stream is given up. Only a stream that
    was never welcomed, or that the server refuses, fails at once.

    Parameters
    ----------
    stub
        Of a synchronous channel.
    endpoint
        Where that leads.
    view
        To begin with, under the name `MAIN_VIEW`; or None.
    watched
        What to watch in place of views of one's own; empty for nothing.
    notify
        Called on a thread of the call's own whenever there may be something to take; must not block.

    Attributes
    ----------
    changed
        Notified together with `notify`. Whoever holds it has the state for himself.
    is_closed
        Whether `close` was called.
    """

    def __init__(
        self, stub: Any, endpoint: Endpoint, view: View | None, watched: str, notify: Callable[[], None]
    ) -> None:
        self.changed = threading.Condition()
        self.is_closed = False
        self._endpoint = endpoint
        self._notify = notify
        self._state = StreamState(client_name(), endpoint.token)
        if view is not None:
            self._state.show(MAIN_VIEW, convert.view_to_proto(view))
        if watched:
            self._state.watch(watched)
        self._failure: VoxelcastError | None = None
        self._lost: VoxelcastError | None = None
        self._stub = stub
        self._number = 0
        self._call = self._begin()
        self._reader = threading.Thread(target=self._run, name="voxelcast-stream", daemon=True)
        self._reader.start()

    def show(self, view: View, view_id: str) -> int:
        """Set a view and return its revision."""
        message = convert.view_to_proto(view)
        with self.changed:
            self._check_open()
            revision = self._state.show(view_id, message)
            self.changed.notify_all()
        return revision

    def close_view(self, view_id: str) -> None:
        """Stop showing a view."""
        with self.changed:
            self._state.close_view(view_id)
            self.changed.notify_all()

    @property
    def sharing(self) -> Sharing | None:
        """Who drives, where views are shared."""
        with self.changed:
            sharing = self._state.sharing
            return None if sharing is None else convert.sharing_from_proto(sharing)

    @property
    def views(self) -> dict[str, View]:
        """What is shown, by the views' names."""
        with self.changed:
            return {name: convert.view_from_proto(view) for name, view in self._state.views.items()}

    @property
    def is_connected(self) -> bool:
        """Whether the server answers: not while a lost connection is tried again, and not after the end."""
        with self.changed:
            return self._lost is None and self._failure is None and not self.is_closed

    def overdue(self, what: str, timeout_s: float) -> DeadlineExceededError:
        """Return the error of a wait that is over, which says so where there is no connection."""
        with self.changed:
            lost = f": {self._lost.message}; it is tried again" if self._lost is not None else ""
        return DeadlineExceededError(f"no {what} within {timeout_s:g} s{lost}")

    def share(self) -> None:
        """Ask the server to let others watch."""
        with self.changed:
            self._check_open()
            self._state.share()
            self.changed.notify_all()

    def drive(self) -> None:
        """Ask the server for the wheel."""
        with self.changed:
            self._check_open()
            self._state.drive()
            self.changed.notify_all()

    def shared(self, *, driving: bool) -> Sharing | None:
        """Return who drives, once that is known and, if `driving`, it is this client.

        Raises
        ------
        VoxelcastError
            What the server said about no view, once; else why the stream has ended.
        """
        with self.changed:
            self._state.check("")
            self._check_open()
            sharing = self.sharing
            return sharing if sharing is not None and (sharing.driving or not driving) else None

    @property
    def is_settled(self) -> bool:
        """Whether the exact frame of every view was taken."""
        with self.changed:
            return self._state.is_settled

    def settled_frame(self, view_id: str) -> EncodedFrame | None:
        """Return the exact frame of what a view shows, once it was taken."""
        with self.changed:
            return self._state.settled_frame(view_id)

    def take(self, view_id: str | None) -> EncodedFrame | None:
        """Return the newest frame of a view (None: of any) if there is one, and have it acknowledged.

        Raises
        ------
        VoxelcastError
            What the server said about a view, once; else, where there is no frame, why the stream has ended.
        """
        with self.changed:
            frame = self._state.take(view_id)
            if frame is None:
                self._check_open()
            else:
                self.changed.notify_all()
            return frame

    def cancel(self) -> None:
        """End the call; returns at once."""
        with self.changed:
            self.is_closed = True
            self.changed.notify_all()
            self._call.cancel()
        self._notify()

    def join(self) -> None:
        """Wait for the reader to end after `cancel`."""
        if threading.current_thread() is not self._reader:
            self._reader.join()

    def _check_open(self) -> None:
        if self.is_closed:
            raise UnavailableError("the stream is closed")
        if self._failure is not None:
            raise self._failure

    def _begin(self) -> Any:
        self._number += 1
        self._pulse = Pulse()
        return self._stub.StreamFrames(self._requests(self._number), metadata=self._endpoint.metadata)

    def _requests(self, number: int) -> Iterator[StreamFramesRequest]:
        """Yield what is to be sent on one call, until it is not the latest any more; on a thread of grpc's."""
        while True:
            with self.changed:
                while True:
                    if self.is_closed or self._failure is not None or number != self._number:
                        return
                    now_s = time.monotonic()
                    if self._pulse.is_lost(now_s):
                        self._call.cancel()
                        return
                    if self._pulse.asks(now_s):
                        message = ClientMessage(ping=Ping())
                        break
                    if (next_message := self._state.next_message(now_s)) is not None:
                        message = next_message
                        break
                    again_at_s = self._state.send_again_at_s()
                    due_at_s = min(self._pulse.due_at_s, math.inf if again_at_s is None else again_at_s)
                    self.changed.wait(None if due_at_s == math.inf else max(0.0, due_at_s - now_s))
            yield StreamFramesRequest(message=message)

    def _run(self) -> None:
        """Read one call after the other until the stream ends; the reader thread."""
        tries, lost_at_s = 0, 0.0
        while True:
            failure, got_frames = self._read()
            now_s = time.monotonic()
            if got_frames or not tries:
                tries, lost_at_s = 0, now_s
            with self.changed:
                is_lost = (
                    isinstance(failure, UnavailableError)
                    and not isinstance(failure, _EndedError)
                    and self._state.was_welcomed
                )
                if self.is_closed or not is_lost or now_s - lost_at_s > RECONNECT_S:
                    self._failure = failure
                    self.changed.notify_all()
                    break
                if self._lost is None:
                    logger.warning("%s; trying again for %g s", failure.message, RECONNECT_S)
                self._lost = failure
                wait_s = min(LAST_RETRY_S, FIRST_RETRY_S * 2**tries) * random.uniform(0.75, 1.25)
                tries += 1
                if not self.changed.wait_for(lambda: self.is_closed, wait_s):
                    self._state.reconnect()
                    self._call = self._begin()
                    self.changed.notify_all()
        self._notify()

    def _read(self) -> tuple[VoxelcastError, bool]:
        """Feed the state until the call ends; return why it did, and whether any frame came."""
        got_frames = False
        try:
            for response in self._call:
                with self.changed:
                    self._pulse.heard(time.monotonic())
                    if self._lost is not None:
                        logger.warning("connected to %s again", self._endpoint.address)
                        self._lost = None
                    self._state.receive(response)
                    got_frames |= response.WhichOneof("event") == "frame"
                    self.changed.notify_all()
                self._notify()
        except grpc.RpcError as error:
            if not self.is_closed and self._pulse.is_lost(time.monotonic()):
                return UnavailableError(f"no sign of life from {self._endpoint.address}"), got_frames
            return from_rpc(error, self._endpoint.address), got_frames
        except VoxelcastError as error:
            self._call.cancel()
            return error, got_frames
        return _EndedError("the server ended the stream", reason="DRAINING"), got_frames


class _EndedError(UnavailableError):
    """The server has ended the call without an error: it wants no more of it."""

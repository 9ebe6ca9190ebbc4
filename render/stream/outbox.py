"""What waits to be handed to a client's socket, and in which order.

Nothing but answers is queued: a view has one slot for a picture, in which a newer one replaces an older, and one for
its lossless frame, which goes chunk by chunk so that it can be dropped in the middle.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection
from typing import TypeAlias

from render.stream.pacing import Link
from render.stream.view_state import Transfer, ViewState
from render.v1 import frame_pb2, stream_pb2, volume_pb2

CHUNK_S = 0.05
MIN_CHUNK_BYTES, MAX_CHUNK_BYTES = 16 << 10, 256 << 10
PIPE_AHEAD_S = 0.05
"""Chunks are handed over this far ahead of what the link is thought to carry: what is in the pipe can't be recalled."""
PIPE_GAIN = 1.25
"""Above what was measured, or the measure could never rise."""

Outgoing: TypeAlias = stream_pb2.ServerMessage | stream_pb2.FrameMessage


class Outbox:
    """The messages of one session that have not been handed over.

    Parameters
    ----------
    link
        What is known of the client's link; told what is sent.
    """

    def __init__(self, link: Link) -> None:
        self._link = link
        self._controls: deque[stream_pb2.ServerMessage] = deque()
        self._progress: dict[str, volume_pb2.LoadProgress] = {}
        self._sharing: stream_pb2.ServerMessage | None = None  # among the answers
        self._views: dict[str, stream_pb2.ViewSet | None] = {}  # of watched ones; None for one that was closed
        self._told: set[str] = set()
        self._pipe_free_at = -math.inf

    def __len__(self) -> int:
        """Answers that wait."""
        return len(self._controls)

    def put(self, message: stream_pb2.ServerMessage) -> None:
        """Queue an answer."""
        self._controls.append(message)

    def put_sharing(self, sharing: stream_pb2.Sharing) -> None:
        """Replace what is to be said of who drives: others may change that as often as they like."""
        if self._sharing is not None:
            self._sharing.sharing.CopyFrom(sharing)
        else:
            self._sharing = stream_pb2.ServerMessage(sharing=sharing)
            self.put(self._sharing)

    def put_view(self, view: stream_pb2.ViewSet) -> None:
        """Replace what a watched view is said to be; it goes before the frames that answer it."""
        self._views[view.view_id] = view

    def close_view(self, view_id: str) -> None:
        """Say that a watched view was closed, to a client that knows of it."""
        if view_id in self._told:
            self._views[view_id] = None
        else:
            self._views.pop(view_id, None)

    def knows_view(self, view_id: str, *, is_open: bool) -> None:
        """Note that the client has set or closed a view itself: what was to be said of it is old."""
        self._views.pop(view_id, None)
        if is_open:
            self._told.add(view_id)
        else:
            self._told.discard(view_id)

    def knows_no_view(self) -> None:
        """Note that the client has none any more."""
        self._views.clear()
        self._told.clear()

    def put_progress(self, progress: volume_pb2.LoadProgress) -> None:
        """Replace what is to be said of a volume's load."""
        self._progress[progress.volume_id] = progress

    def drop_progress(self, volume_id: str) -> None:
        """Say no more of a volume's load: it has ended."""
        self._progress.pop(volume_id, None)

    def drop_final(self, view: ViewState) -> None:
        """Give up a view's lossless frame, also in the middle."""
        if view.final is not None:
            self._link.aborted(view.final.handed_bytes)
            view.final = None

    def clear(self) -> None:
        """Drop the answers: the client has gone."""
        self._controls.clear()
        self._views.clear()
        self._progress.clear()

    def next_answer(self) -> Outgoing | None:
        """Return the next message that is not a frame."""
        if self._controls:
            message = self._controls.popleft()
            if message is self._sharing:
                self._sharing = None
            return message
        if self._views:
            return self._next_view()
        if self._progress:
            return stream_pb2.ServerMessage(load_progress=self._progress.pop(next(iter(self._progress))))
        return None

    def _next_view(self) -> stream_pb2.ServerMessage:
        view_id = next(iter(self._views))
        view = self._views.pop(view_id)
        if view is None:
            self._told.discard(view_id)
            return stream_pb2.ServerMessage(view_closed=stream_pb2.ViewClosed(view_id=view_id))
        self._told.add(view_id)
        return stream_pb2.ServerMessage(view_set=view)

    def next_frame(self, views: Collection[ViewState], epoch: int, now: float) -> Outgoing | None:
        """Return the next picture, else the next chunk of a lossless frame once the pipe has room."""
        for view in views:
            if view.picture is not None:
                return self._hand_over(view, view.picture, epoch, now)
        if self._next_chunk_at <= now:
            waiting = [(view, view.final) for view in views if view.final is not None]
            # One that has begun ends first: two halves help nobody.
            for view, final in sorted(waiting, key=lambda pair: pair[1].next_chunk == 0):
                return self._hand_over(view, final, epoch, now)
        return None

    def next_chunk_at(self, views: Collection[ViewState]) -> float | None:
        """Return when the next chunk may go, seconds; None if there is none."""
        return self._next_chunk_at if any(view.final is not None for view in views) else None

    @property
    def _next_chunk_at(self) -> float:
        return self._pipe_free_at - PIPE_AHEAD_S

    def _hand_over(self, view: ViewState, transfer: Transfer, epoch: int, now: float) -> stream_pb2.FrameMessage:
        payload, rate = transfer.frame.payload, self._link.lately_bytes_per_s
        if transfer.shipment is None:
            view.sequence += 1
            transfer.sequence = view.sequence
            transfer.shipment = self._link.begin(now)
            # A picture goes in one piece: it is not worth dropping half of it.
            size = max(MIN_CHUNK_BYTES, min(MAX_CHUNK_BYTES, int(rate * CHUNK_S)))
            transfer.chunk_bytes = size if transfer is view.final else max(1, len(payload))
            transfer.chunk_count = max(1, -(-len(payload) // transfer.chunk_bytes))
        index = transfer.next_chunk
        transfer.next_chunk += 1
        chunk = payload[index * transfer.chunk_bytes : transfer.next_chunk * transfer.chunk_bytes]
        header = frame_pb2.FrameHeader()
        header.CopyFrom(transfer.frame.header)
        header.view_id = view.view_id
        header.sequence = transfer.sequence
        header.epoch = epoch
        header.chunk_index = index
        header.chunk_count = transfer.chunk_count
        self._pipe_free_at = max(now, self._pipe_free_at) + len(chunk) / (PIPE_GAIN * rate)
        if transfer.next_chunk == transfer.chunk_count:
            self._link.sent(now, transfer.shipment, len(payload))
            view.in_flight[transfer.sequence] = transfer.shipment, transfer.frame
            if transfer is view.final:
                view.final = None
            else:
                view.picture = None
        return stream_pb2.FrameMessage(header=header, payload=chunk)

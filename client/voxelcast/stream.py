"""The synchronous live stream."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from voxelcast.channel import Endpoint
from voxelcast.decoding import decode_frame
from voxelcast.descriptions import Sharing
from voxelcast.errors import UnavailableError
from voxelcast.frames import Frame
from voxelcast.stream_call import MAIN_VIEW, StreamCall
from voxelcast.stream_view import EncodedFrame
from voxelcast.views import View


class Stream:
    """Frames as the view changes: interactive ones while it does, an exact one when it rests.

    Made by `Volume.stream`. `show` says what is to be seen, absolutely, as often as you like: the latest wins, and
    what it supersedes is neither rendered nor sent. Iterating gives frames as they come and ends when the stream is
    closed; `settle` waits for the exact frame of what is shown. `show` and `close` may be called from any thread, the
    rest by one consumer. A frame is acknowledged when it is taken, which lets the server send the next one.

    An error about a view (a slab that is too thick, say) is raised once, where frames are taken; the stream goes on.

    A connection that breaks comes back by itself, with the same views. After a restart of the server frames come again
    once it has read its folders far enough. Meanwhile `is_connected` is False and the log says so; a server that stays
    away for two minutes ends the stream with UnavailableError.

    Several clients can show the same views: `share` gives an id, by which `Client.watch`, or the page's link
    ``#watch=ID``, shows what this stream shows. Whoever watches may `drive`; then the others watch.

    Examples
    --------
    >>> from voxelcast import Client
    >>> with Client(address) as client, client.open("head") as volume:
    ...     with volume.stream() as stream:
    ...         first = stream.settle()
    ...         for slice_mm in (10.0, 20.0, 30.0):
    ...             revision = stream.show(volume.axial(slice_mm))
    ...         last = stream.settle()
    >>> last.is_final, last.lossless, last.plane.top_left_mm[2]
    (True, True, 30.0)
    """

    def __init__(
        self, stub: Any, endpoint: Endpoint, timeout_s: float, view: View | None = None, watched: str = ""
    ) -> None:
        self._timeout_s = timeout_s
        self._call = StreamCall(stub, endpoint, view, watched, notify=lambda: None)

    def show(self, view: View, view_id: str = MAIN_VIEW) -> int:
        """Set a view; the latest wins.

        Parameters
        ----------
        view
            What is to be seen from now on.
        view_id
            Several views, by names of your own, share the stream.

        Returns
        -------
        int
            Its revision, which `Frame.view_revision` echoes.

        Raises
        ------
        InvalidArgumentError
            If this stream watches what another one shows.
        """
        return self._call.show(view, view_id)

    def close_view(self, view_id: str = MAIN_VIEW) -> None:
        """Stop showing a view."""
        self._call.close_view(view_id)

    @property
    def views(self) -> dict[str, View]:
        """What is shown, by the views' names: by this stream, or by whoever drives what it watches."""
        return self._call.views

    @property
    def is_connected(self) -> bool:
        """Whether the server answers.

        False while a lost connection is tried again, which the log (``voxelcast``, a warning) says as well: at once
        where the server ends or its machine refuses, within 45 s where it falls silent.
        """
        return self._call.is_connected

    @property
    def sharing(self) -> Sharing | None:
        """Who drives, as far as the server has told; None where nothing is shared."""
        return self._call.sharing

    def share(self, *, timeout_s: float | None = None) -> str:
        """Let others watch what this stream shows.

        Returns
        -------
        str
            The id to watch it by: a secret.

        Examples
        --------
        >>> from voxelcast import Client
        >>> with Client(address) as client, client.open("head") as volume:
        ...     with volume.stream() as stream:
        ...         shown = stream.settle(volume.axial(20.0))
        ...         with client.watch(stream.share()) as watching:
        ...             seen = watching.settle()
        >>> seen.plane.top_left_mm == shown.plane.top_left_mm
        True
        """
        self._call.share()
        return self._wait_for_sharing(driving=False, timeout_s=timeout_s).share_id

    def drive(self, *, timeout_s: float | None = None) -> None:
        """Take the wheel of what is watched; `views` are what the driver of before has set.

        Raises
        ------
        InvalidArgumentError
            If nothing is watched.
        """
        self._call.drive()
        self._wait_for_sharing(driving=True, timeout_s=timeout_s)

    def next_frame(self, *, timeout_s: float | None = None, view_id: str | None = None) -> Frame:
        """Wait for the next frame and take it.

        Parameters
        ----------
        timeout_s
            None for the stream's own; `math.inf` waits for ever.
        view_id
            Of this view only; None for any.

        Raises
        ------
        DeadlineExceededError
            If none came in time; the message says if the connection is lost. The stream goes on.
        UnavailableError
            If the stream has ended: closed, ended by the server, or lost for two minutes.
        VoxelcastError
            What the server said about a view. The stream goes on, unless the server ended it.
        """
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        encoded = self._wait_for_frame(view_id, time.monotonic() + timeout_s, timeout_s)
        return decode_frame(encoded.header, encoded.payload)

    def __iter__(self) -> Iterator[Frame]:
        return self

    def __next__(self) -> Frame:
        try:
            return self.next_frame(timeout_s=math.inf)
        except UnavailableError:
            if self._call.is_closed:
                raise StopIteration from None
            raise

    def until_settled(self, *, timeout_s: float | None = None) -> Iterator[Frame]:
        """Yield frames until all views show their exact, final one, which comes last.

        `timeout_s` is for each frame.
        """
        while not self._call.is_settled:
            yield self.next_frame(timeout_s=timeout_s)

    def settle(self, view: View | None = None, *, view_id: str = MAIN_VIEW, timeout_s: float | None = None) -> Frame:
        """Show a view (None: what is shown now), wait for its exact frame and return that.

        Frames that come before it are taken and dropped; those of other views stay.

        Raises
        ------
        DeadlineExceededError
            If it took longer than `timeout_s` altogether.
        """
        if view is not None:
            self.show(view, view_id)
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        limit = time.monotonic() + timeout_s
        while (settled := self._call.settled_frame(view_id)) is None:
            self._wait_for_frame(view_id, limit, timeout_s)
        return decode_frame(settled.header, settled.payload)

    def close(self) -> None:
        """End the stream. Frames that were not taken are dropped."""
        self._call.cancel()
        self._call.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _wait_for_sharing(self, *, driving: bool, timeout_s: float | None) -> Sharing:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        with self._call.changed:
            sharing = self._call.changed.wait_for(
                lambda: self._call.shared(driving=driving), min(timeout_s, threading.TIMEOUT_MAX)
            )
        if sharing is None:
            raise self._call.overdue("answer", timeout_s)
        return sharing

    def _wait_for_frame(self, view_id: str | None, limit: float, timeout_s: float) -> EncodedFrame:
        """Wait until `limit` for a frame and take it."""
        with self._call.changed:
            while (frame := self._call.take(view_id)) is None:
                rest_s = limit - time.monotonic()
                if rest_s <= 0:
                    raise self._call.overdue("frame", timeout_s)
                self._call.changed.wait(min(rest_s, threading.TIMEOUT_MAX))
        return frame

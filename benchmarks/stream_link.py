"""A slow link in userspace: a TCP proxy with a rate, a delay and a queue of bounded bytes, in both directions.

Each connection has a link of its own. Bytes wait in the queue (`Pipe`) for their turn at the rate, then travel for
half a round trip. A full queue is not read into any more, so that TCP holds the sender back, as it would at a full
router that drops; nothing is lost. What the kernel holds between sender and queue is kept small, see `KERNEL_BYTES`.

Times are kept by sums, not by sleeps: an event loop that wakes late delivers late, but never more slowly. It wakes to
1 ms, which a round trip through here is longer by, at worst, in each direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

from websockets.asyncio.client import ClientConnection, connect

KERNEL_BYTES = 16 << 10
"""What the kernel may hold of a connection at each side of the proxy: queue beyond the one that is measured."""
SEGMENT_BYTES = 1460
"""Of TCP. Loopback's own of 64 KiB don't fit such a window: the sender would wait for its timer to probe it."""
QUEUE_S = 0.25
"""The queue holds what the link carries in this time, as home routers do,"""
MIN_QUEUE_BYTES = 32 << 10
"""but at least this."""
SEGMENT_S = 0.001
"""Bytes leave the queue in pieces of so much of the rate, but of at least a TCP segment."""


@dataclass(frozen=True)
class LinkSettings:
    """A link: the same in both directions.

    Attributes
    ----------
    mbit_s
        Rate.
    rtt_ms
        Round trip without a queue.
    """

    mbit_s: float
    rtt_ms: float

    @property
    def bytes_per_s(self) -> float:
        """The rate."""
        return self.mbit_s * 125e3

    @property
    def queue_bytes(self) -> int:
        """What may wait."""
        return max(MIN_QUEUE_BYTES, round(self.bytes_per_s * QUEUE_S))


class Pipe:
    """One direction of a link, without any I/O: the caller passes the time, in seconds.

    Parameters
    ----------
    settings
        Rate, delay and queue.

    Attributes
    ----------
    queued_bytes
        What waits for its turn.
    """

    def __init__(self, settings: LinkSettings) -> None:
        self.queued_bytes = 0
        self._queue: deque[tuple[float, bytes]] = deque()  # (arrival, segment)
        self._travelling: deque[tuple[float, bytes]] = deque()  # (due, segment)
        self._free_at = -math.inf
        self._set(settings)

    @property
    def room_bytes(self) -> int:
        """What the queue takes; nothing once it is full."""
        return max(0, self._queue_bytes - self.queued_bytes)

    def set(self, now: float, settings: LinkSettings) -> None:
        """Be another link from now on; what has left the queue travels as before."""
        self._advance(now)
        self._set(settings)

    def push(self, now: float, data: bytes) -> None:
        """Take bytes, whatever room there is."""
        self._advance(now)
        size = max(SEGMENT_BYTES, round(self._bytes_per_s * SEGMENT_S))
        for start in range(0, len(data), size):
            self._queue.append((now, data[start : start + size]))
        self.queued_bytes += len(data)

    def pop(self, now: float) -> bytes:
        """Return what has arrived by now."""
        self._advance(now)
        arrived = []
        while self._travelling and self._travelling[0][0] <= now:
            arrived.append(self._travelling.popleft()[1])
        return b"".join(arrived)

    def next_at(self) -> float | None:
        """Return when the queue gets room or bytes arrive, seconds; None if the pipe is empty."""
        times = [self._travelling[0][0]] if self._travelling else []
        if self._queue:
            times.append(self._finish_at())
        return min(times, default=None)

    def _set(self, settings: LinkSettings) -> None:
        self._bytes_per_s = settings.bytes_per_s
        self._delay_s = settings.rtt_ms / 2e3
        self._queue_bytes = settings.queue_bytes

    def _finish_at(self) -> float:
        arrived_at, segment = self._queue[0]
        return max(self._free_at, arrived_at) + len(segment) / self._bytes_per_s

    def _advance(self, now: float) -> None:
        while self._queue and (finish := self._finish_at()) <= now:
            _, segment = self._queue.popleft()
            self.queued_bytes -= len(segment)
            self._free_at = finish
            # In order, also where the delay has been made shorter.
            due = finish + self._delay_s
            self._travelling.append((max(due, self._travelling[-1][0] if self._travelling else due), segment))


class LinkEmulator:
    """A proxy on 127.0.0.1 that listens in a thread of its own.

    Parameters
    ----------
    target_port
        Of the server behind it, on 127.0.0.1.
    settings
        Of each connection's link.

    Attributes
    ----------
    port
        To connect to.
    carried_bytes
        What clients were given, of all connections.
    """

    def __init__(self, target_port: int, settings: LinkSettings) -> None:
        self.carried_bytes = 0
        self._target_port = target_port
        self._settings = settings
        self._pipes: set[Pipe] = set()
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)  # inherited by its connections
        # The window, not the buffer: the kernel drops what a small buffer's overhead leaves no room for.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 2 * KERNEL_BYTES)
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        listener.setblocking(False)
        self.port: int = listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, args=(listener,), name="emulated-link", daemon=True)
        self._thread.start()

    def set(self, settings: LinkSettings) -> None:
        """Be another link from now on, also for the connections that there are."""

        def change() -> None:
            self._settings = settings
            for pipe in self._pipes:
                pipe.set(time.perf_counter(), settings)

        self._loop.call_soon_threadsafe(change)

    def close(self) -> None:
        """End all connections and the thread."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()

    def _stop(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        self._accepting.cancel()

    def _run(self, listener: socket.socket) -> None:
        with contextlib.closing(self._loop), listener, contextlib.suppress(asyncio.CancelledError):
            self._accepting = self._loop.create_task(self._accept(listener))
            self._loop.run_until_complete(self._accepting)

    async def _accept(self, listener: socket.socket) -> None:
        try:
            while True:
                client, _ = await self._loop.sock_accept(listener)
                task = self._loop.create_task(self._serve(client))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
        finally:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: socket.socket) -> None:
        server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_WINDOW_CLAMP, 2 * KERNEL_BYTES)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT_BYTES)
        with client, server, self._open_pipes() as (up, down):
            for end in (client, server):
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            try:
                await self._loop.sock_connect(server, ("127.0.0.1", self._target_port))
                ways = [self._carry(client, server, up), self._carry(server, client, down, counted=True)]
                tasks = [self._loop.create_task(way) for way in ways]
                try:
                    # When one side has gone, the other is told at once: nothing here outlives its connection.
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in tasks:
                        task.cancel()
                    await asyncio.gather(*tasks, return_exceptions=True)
            except OSError:
                return  # the server is not there (any more): its client sees a connection that ends

    @contextlib.contextmanager
    def _open_pipes(self) -> Iterator[tuple[Pipe, Pipe]]:
        pair = Pipe(self._settings), Pipe(self._settings)
        self._pipes.update(pair)
        try:
            yield pair
        finally:
            self._pipes.difference_update(pair)

    async def _carry(self, source: socket.socket, target: socket.socket, pipe: Pipe, *, counted: bool = False) -> None:
        changed = asyncio.Event()
        reader = self._loop.create_task(self._fill(source, pipe, changed))
        try:
            while True:
                changed.clear()
                data = pipe.pop(time.perf_counter())
                if data:
                    await self._loop.sock_sendall(target, data)
                    self.carried_bytes += len(data) if counted else 0
                    continue
                due = pipe.next_at()
                if due is None and reader.done():
                    return
                timeout = None if due is None else max(0.0, due - time.perf_counter())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), timeout)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _fill(self, source: socket.socket, pipe: Pipe, changed: asyncio.Event) -> None:
        try:
            while True:
                while not (room := pipe.room_bytes):
                    due = pipe.next_at()
                    await asyncio.sleep(max(0.0, (due or 0.0) - time.perf_counter()))
                    pipe.set(time.perf_counter(), self._settings)
                data = await self._loop.sock_recv(source, min(room, 64 << 10))
                if not data:
                    return
                pipe.push(time.perf_counter(), data)
                changed.set()
        finally:
            changed.set()


class Reader(Protocol):
    """A client that takes what comes until its connection ends."""

    async def read(self) -> None:
        """Take it."""


Client = TypeVar("Client", bound=Reader)


@contextlib.asynccontextmanager
async def reading(url: str, make: Callable[[ClientConnection], Client]) -> AsyncIterator[Client]:
    """Connect a client to a websocket and let it read until the context ends."""
    async with connect(url, compression=None, max_size=None) as connection:
        client = make(connection)
        reader = asyncio.create_task(client.read())
        try:
            yield client
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

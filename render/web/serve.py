"""The HTTP server: uvicorn on a socket that is bound here."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from render.errors import StartupError
from render.stream.limits import Limits

PING_SECONDS = 25.0
"""Keeps proxies from closing an idle stream, and finds clients that went without a word."""
NOT_SENT_BYTES = 128 << 10
"""What the kernel may hold unsent of a connection: more would only be frames that are too old to recall."""
QUEUED_MESSAGES = 4
"""Of a client, read but not taken by its session yet, before no more is read of it."""
BACKLOG = 256
HEAD_SECONDS = 10.0
"""For the whole head of a request: who sends it letter by letter holds a connection no longer."""
MAX_HEAD_BYTES = 16 << 10


class _Http(H11Protocol):
    """uvicorn's on h11, which bounds a head's bytes, as httptools does not; here its time as well."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE:
            self._await_head()
        else:
            self._end_wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end_wait()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _end_wait(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _WebSocket(WebSocketsSansIOProtocol):
    """uvicorn's, which stops reading at each message until it has been taken: here only once some wait.

    To stop and go on are two calls of the system with every view of every client.
    """

    def send_receive_event_to_app(self) -> None:
        if self.read_paused or self.queue.qsize() >= QUEUED_MESSAGES:
            super().send_receive_event_to_app()
            return
        self.read_paused = True  # it is not, but so it is left as it is
        super().send_receive_event_to_app()
        self.read_paused = False


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to whoever runs the event loop: gRPC drains on the same ones."""
        yield


@dataclass(frozen=True)
class HttpServer:
    """A server that answers.

    Attributes
    ----------
    port
        That it is bound to.
    """

    port: int
    _server: uvicorn.Server
    _task: asyncio.Task[None]

    async def stop(self, seconds: float) -> None:
        """Take no new connection, let requests end, close the others after so many seconds."""
        self._server.config.timeout_graceful_shutdown = max(1, round(seconds))
        self._server.should_exit = True
        await self._task


async def serve_http(
    app: ASGIApp, host: str, port: int, *, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> HttpServer:
    """Start serving; return once connections are accepted.

    Parameters
    ----------
    app
        From `create_app`.
    host
        Name or address to bind to.
    port
        0 picks a free one.
    limits
        Larger websocket messages than it says are refused before they are read.
    tls
        None for plain text.

    Raises
    ------
    StartupError
        If it can't be bound; the message names the flag.
    """
    sock = await _bind(host, port)
    config = uvicorn.Config(
        app,
        http=_Http,
        h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        ws=_WebSocket,
        ws_per_message_deflate=False,
        ws_max_size=(limits or Limits()).max_message_bytes,
        ws_ping_interval=PING_SECONDS,
        ws_ping_timeout=PING_SECONDS,
        lifespan="off",
        log_config=None,
        log_level="warning",  # its lines hold addresses with their query
        access_log=False,
        server_header=False,
    )
    if tls is not None:
        config.load()
        config.ssl = tls
    server = _Server(config)
    task = asyncio.create_task(server.serve([sock]), name="http")
    while not server.started:
        if task.done():
            task.result()
            raise StartupError("the HTTP server ended while it started")
        await asyncio.sleep(0)
    return HttpServer(sock.getsockname()[1], server, task)


async def _bind(host: str, port: int) -> socket.socket:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise StartupError(f"--host {host}: no such address") from error
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT_BYTES)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        what = "already in use" if error.errno == errno.EADDRINUSE else f"can't be bound ({error.strerror})"
        raise StartupError(f"--http-port {port}: {what} on {host}") from error
    return sock

"""A TCP proxy between a client and the real server that does what bad ones do: collect, or fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading

KERNEL_BYTES = 16 << 10
"""What the kernel may hold beside the proxy: else it would hide there what builds up."""


class Proxy:
    """Passes bytes on, on a thread of its own.

    Parameters
    ----------
    target_port
        The server's, on loopback.
    collect_s
        Bytes wait this long after the first of them, and are passed on together; there is room for all.

    Attributes
    ----------
    port
        Where clients connect.
    connections
        That were made so far.
    most_held_bytes
        That ever waited in one direction of a connection.
    """

    def __init__(self, target_port: int, *, collect_s: float = 0.0) -> None:
        self.connections = 0
        self.most_held_bytes = 0
        self._target_port = target_port
        self._collect_s = collect_s
        self._deaf: set[int] = set()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        self.port: int = listener.getsockname()[1]
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(listener),), name="proxy"
        )
        self._thread.start()

    def fall_silent(self) -> None:
        """Carry nothing any more for the connections that there are, and tell nobody."""
        self._deaf.update(range(1, self.connections + 1))

    def close(self) -> None:
        """End all connections and the thread."""
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self, listener: socket.socket) -> None:
        tasks: set[asyncio.Task[None]] = set()

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections += 1
            task = asyncio.create_task(self._connect(self.connections, reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        async with await asyncio.start_server(connected, sock=listener):
            await self._stop.wait()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _connect(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            writer.transport.abort()
            return
        for end in (writer, upstream[1]):
            sock = end.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES)
        ways = [
            asyncio.create_task(self._carry(number, *way)) for way in ((reader, upstream[1]), (upstream[0], writer))
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in (writer, upstream[1]):
                end.transport.abort()

    async def _carry(self, number: int, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                if self._collect_s:
                    held = bytearray(data)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._collect_s):
                            while more := await source.read(1 << 16):
                                held += more
                    self.most_held_bytes = max(self.most_held_bytes, len(held))
                    data = bytes(held)
                if number in self._deaf:
                    await asyncio.Event().wait()  # the socket stays open: only the bytes stop
                target.write(data)
                await target.drain()

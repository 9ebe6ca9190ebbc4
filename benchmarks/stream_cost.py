"""What a frame costs in the server besides drawing: clients that do next to nothing, a renderer that draws nothing.

The clients write views that were made beforehand, look into a header for three numbers and throw the payload away, so
that little of what is measured is theirs.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import time
from collections.abc import Iterator
from typing import Any

from google.protobuf import json_format

from benchmarks.idle import processor_seconds
from benchmarks.stream_script import Subject, p95, script
from benchmarks.stream_server import ServerProcess
from render.v1.volume_pb2 import VolumeDescription
from voxelcast import convert

HZ = 30.0
"""Views a second of each client, where they are not as many as the server answers."""
CLOSED_LOOP_FROM = 8
"""Clients: a single one would soon have sent more messages a second than a session may."""
VIEWS = 24
VIEW = b"only"


class CostClient(asyncio.Protocol):
    """One connection.

    Parameters
    ----------
    volume_id
        What it opens.
    is_eager
        Whether each frame is answered by the next view.

    Attributes
    ----------
    lags_ms
        From a view to the frame that answers it.
    errors
        What the server had to say.
    """

    def __init__(self, volume_id: str, *, is_eager: bool) -> None:
        self.description: asyncio.Future[VolumeDescription] = asyncio.get_running_loop().create_future()
        self.views: list[bytes] = []
        self.lags_ms: list[float] = []
        self.errors: list[str] = []
        self._volume_id = volume_id
        self._is_eager = is_eager
        self._is_up = False
        self._buffer = bytearray()
        self._sent_at: dict[int, float] = {}
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the websocket."""
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            "GET /stream HTTP/1.1",
            "Host: 127.0.0.1",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        )
        transport.write(("\r\n".join(lines) + "\r\n\r\n").encode())

    def close(self) -> None:
        """Go."""
        self._transport.close()

    def show_next(self) -> None:
        """Send the next view."""
        revision = len(self._sent_at) + 1
        self._sent_at[revision] = time.perf_counter()
        view = self.views[revision % len(self.views)]
        self._say(b'{"set_view":{"view_id":"%s","revision":%d,"view":%s}}' % (VIEW, revision, view))

    def data_received(self, data: bytes) -> None:
        """Take what has come."""
        self._buffer += data
        if not self._is_up:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._buffer[: end + 4]
            self._is_up = True
            self._say(b'{"hello":{"protocol_version":1}}')
            self._say(json.dumps({"open_volume": {"volume_id": self._volume_id}}).encode())
        for kind, message in self._messages():
            if kind == 1:
                self._take(json.loads(message))
            elif kind == 2:
                self._take_frame(message)

    def _say(self, text: bytes) -> None:
        count = len(text)
        length = bytes((0x80 | count,)) if count < 126 else b"\xfe" + count.to_bytes(2, "big")
        self._transport.write(b"\x81" + length + bytes(4) + text)  # masked by zeros

    def _messages(self) -> Iterator[tuple[int, bytes]]:
        while len(self._buffer) >= 2:
            length, begin = self._buffer[1], 2
            if length >= 126:
                begin = 4 if length == 126 else 10
                length = int.from_bytes(self._buffer[2:begin], "big")
            if len(self._buffer) < begin + length:
                return
            kind, message = self._buffer[0] & 15, bytes(self._buffer[begin : begin + length])
            del self._buffer[: begin + length]
            yield kind, message

    def _take(self, message: dict[str, Any]) -> None:
        if "volume_opened" in message and not self.description.done():
            told = message["volume_opened"]["volume"]
            self.description.set_result(json_format.ParseDict(told, VolumeDescription()))
        elif "error" in message:
            self.errors.append(message["error"]["message"])

    def _take_frame(self, message: bytes) -> None:
        header = json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])
        if header["chunk_index"] + 1 < header["chunk_count"]:
            return
        self._say(b'{"acknowledge":{"view_id":"%s","sequence":%d}}' % (VIEW, header["sequence"]))
        self.lags_ms.append((time.perf_counter() - self._sent_at[header["view_revision"]]) * 1e3)
        if self._is_eager:
            self.show_next()


def cost_rows(server: ServerProcess, counts: tuple[int, ...], seconds: float, side_px: int) -> Iterator[dict[str, Any]]:
    """Measure so many clients at a time: at `HZ`, and each with its next view as soon as it has a frame."""
    for count in counts:
        for is_eager in (False, True) if count >= CLOSED_LOOP_FROM else (False,):
            yield asyncio.run(_row(server, count, seconds, side_px, is_eager=is_eager))


async def _row(server: ServerProcess, count: int, seconds: float, side_px: int, *, is_eager: bool) -> dict[str, Any]:
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(
            lambda: CostClient(server.volume_id, is_eager=is_eager), "127.0.0.1", server.port
        )
        clients.append(client)
    for client in clients:
        client.views = _views(await client.description, side_px)
        client.show_next()
    begun, before, own = time.perf_counter(), processor_seconds(server.pid), time.process_time()
    if is_eager:
        await asyncio.sleep(seconds)
    else:
        await asyncio.gather(*(_pace(client, begun + n / count / HZ, seconds) for n, client in enumerate(clients)))
    passed = time.perf_counter() - begun
    taken, own = processor_seconds(server.pid) - before, time.process_time() - own
    frames = [len(client.lags_ms) for client in clients]
    lags = [lag for client in clients for lag in client.lags_ms]
    for client in clients:
        client.close()
    return {
        "kind": "cost",
        "client": "lean",
        "sessions": count,
        "hz": None if is_eager else HZ,
        "fps": round(sum(frames) / passed, 1),
        "fps_slowest": round(min(frames) / passed, 1),
        "fairness": round(min(frames) / max(frames), 3),
        "p50_ms": round(statistics.median(lags), 2),
        "p95_ms": round(p95(lags) or 0.0, 2),
        "server_cpu_ms": round(1e3 * taken / sum(frames), 3),
        "client_cpu_ms": round(1e3 * own / sum(frames), 3),
        "errors": sum(len(client.errors) for client in clients),
    }


async def _pace(client: CostClient, begin: float, seconds: float) -> None:
    for number in range(round(seconds * HZ)):
        await asyncio.sleep(begin + number / HZ - time.perf_counter())
        client.show_next()


def _views(description: VolumeDescription, side_px: int) -> list[bytes]:
    subject = Subject(description.summary.volume_id, convert.geometry_from_proto(description.geometry))
    movement = script(subject, "mpr", side_px)
    views = [convert.view_to_proto(movement(number / HZ)) for number in range(VIEWS)]
    return [json_format.MessageToJson(view, indent=None, preserving_proto_field_name=True).encode() for view in views]

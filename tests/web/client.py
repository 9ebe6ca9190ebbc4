"""A client of the websocket that follows docs/protocol.md and nothing else, and a server to talk to."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from websockets.asyncio.client import ClientConnection, connect

from render.engine import Engine
from render.stream.registry import SessionRegistry
from render.v1 import view_pb2
from render.web.app import create_app
from render.web.serve import serve_http
from tests.stream.engines import real_engine


def view_json(message: view_pb2.View) -> dict[str, Any]:
    result: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return result


@dataclass
class Client:
    """One socket; texts are kept apart from frames."""

    socket: ClientConnection
    texts: list[dict[str, Any]] = field(default_factory=list)
    _parts: dict[tuple[str, int], list[bytes]] = field(default_factory=dict)

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def hello(self, **fields: Any) -> dict[str, Any]:
        await self.send(hello={"protocol_version": 1, **fields})
        return await self.text("welcome")

    async def set_view(self, view_id: str, revision: int, view: view_pb2.View) -> None:
        await self.send(set_view={"view_id": view_id, "revision": revision, "view": view_json(view)})

    async def text(self, kind: str) -> dict[str, Any]:
        """Return the next message of a kind; frames before it are acknowledged and dropped."""
        while True:
            for message in self.texts:
                if kind in message:
                    self.texts.remove(message)
                    result: dict[str, Any] = message[kind]
                    return result
            frame = await self._receive()
            if frame is not None:
                await self.acknowledge(frame[0])

    async def frame(self) -> tuple[dict[str, Any], bytes]:
        """Return the next whole frame, its CRC checked."""
        while True:
            frame = await self._receive()
            if frame is not None:
                return frame

    async def final(self, view_id: str, revision: int) -> tuple[dict[str, Any], bytes]:
        """Return the final frame of a revision; those before it are acknowledged and dropped."""
        while True:
            header, payload = await self.frame()
            assert not any("error" in text for text in self.texts), self.texts
            await self.acknowledge(header)
            wanted = header["view_id"] == view_id and header["view_revision"] == revision
            if wanted and header["quality"] == "FRAME_QUALITY_FINAL":
                return header, payload

    async def acknowledge(self, header: dict[str, Any]) -> None:
        await self.send(acknowledge={"view_id": header["view_id"], "sequence": header["sequence"]})

    async def _receive(self) -> tuple[dict[str, Any], bytes] | None:
        data = await self.socket.recv()
        if isinstance(data, str):
            self.texts.append(json.loads(data))
            return None
        (length,) = struct.unpack_from("<I", data)
        header = json.loads(data[4 : 4 + length])
        parts = self._parts.setdefault((header["view_id"], header["sequence"]), [])
        assert header["chunk_index"] == len(parts)
        parts.append(data[4 + length :])
        if len(parts) < header["chunk_count"]:
            return None
        payload = b"".join(parts)
        assert len(payload) == header["payload_bytes"]
        assert zlib.crc32(payload) == header["payload_crc32"]
        return header, payload


@dataclass
class Served:
    """A server on loopback."""

    engine: Engine
    sessions: SessionRegistry
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextlib.asynccontextmanager
    async def client(self, *, name: str = "127.0.0.1", path: str = "/stream", **options: Any) -> AsyncIterator[Client]:
        url = f"ws://{name}:{self.port}{path}"
        async with connect(url, host="127.0.0.1", port=self.port, max_size=None, proxy=None, **options) as socket:
            yield Client(socket)

    async def until(self, reached: Callable[[], bool]) -> None:
        """Let the server go on until something is so; the test's own time limit ends it otherwise."""
        while not reached():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.001)


@contextlib.asynccontextmanager
async def served(
    *, sessions: SessionRegistry | None = None, roots: tuple[Path, ...] = (), **options: Any
) -> AsyncIterator[Served]:
    sessions = sessions or SessionRegistry()
    async with real_engine(roots=roots) as engine:
        app = create_app(engine, sessions=sessions, **options)
        server = await serve_http(app, "127.0.0.1", 0)
        try:
            yield Served(engine, sessions, server.port)
        finally:
            await sessions.drain(2)
            await server.stop(1)

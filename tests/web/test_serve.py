"""The socket's side of a websocket: when it reads on, and when it waits for the session."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import struct
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from render.web.serve import QUEUED_MESSAGES, _WebSocket


class Socket(asyncio.Transport):
    """What the protocol writes to; counts how often it stops reading and goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []
        self.accepted = asyncio.Event()

    def write(self, data: Any) -> None:
        self.accepted.set()

    def pause_reading(self) -> None:
        self.steps.append("pause")

    def resume_reading(self) -> None:
        self.steps.append("resume")

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def text_frame(text: str) -> bytes:
    data = text.encode()
    head = struct.pack("!BBH", 0x81, 0x80 | 126, len(data)) if len(data) > 125 else bytes((0x81, 0x80 | len(data)))
    return head + bytes(4) + data  # masked with zeros


async def test_reading_goes_on_until_some_messages_wait_and_again_once_they_are_taken() -> None:
    taken: asyncio.Queue[str] = asyncio.Queue()
    may_take = asyncio.Semaphore(0)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await may_take.acquire()
            event = await receive()
            if event["type"] == "websocket.disconnect":
                return
            taken.put_nowait(event["text"])

    config = uvicorn.Config(app, ws=_WebSocket, log_config=None)
    config.load()
    protocol = _WebSocket(config, ServerState(), {})
    socket = Socket()
    protocol.connection_made(socket)
    key = base64.b64encode(os.urandom(16)).decode()
    head = f"Host: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
    protocol.data_received(f"GET /stream HTTP/1.1\r\n{head}Sec-WebSocket-Version: 13\r\n\r\n".encode())
    await socket.accepted.wait()

    for number in range(QUEUED_MESSAGES + 2):
        assert socket.steps == ["pause"] * (number > QUEUED_MESSAGES)
        protocol.data_received(text_frame(json.dumps(number)))  # the last one had been read already
    assert socket.steps == ["pause"]
    for number in range(QUEUED_MESSAGES + 2):
        may_take.release()
        assert json.loads(await taken.get()) == number
        assert socket.steps == ["pause"] + ["resume"] * (number == QUEUED_MESSAGES + 1)
    may_take.release()
    protocol.connection_lost(None)

"""trame's side of the stream's rows: its own server, its own protocol (wslink), the same hand, link and machine.

Its lag is measured as ours: the client sends each camera as an interaction event of trame-rca with a number, the server
writes the number that was latest when it began to draw into the picture's metadata, and the time from sending a number
until the picture that bears it is decoded is the lag. A picture that shows no newer number than the one before is
painted, but answers nothing and has no lag; it is no frame a second either.

Each event is sent without waiting for the reply to the one before, which is quicker than trame's own page.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import imagecodecs
import msgpack
import numpy as np
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed
from wslink.chunking import UnChunker, generate_chunks

from benchmarks.stream_link import LinkEmulator, LinkSettings, reading
from benchmarks.stream_rows import StreamPlan
from benchmarks.stream_script import INPUT_HZ, Paint, Record, Script, Subject, lag_figures, rounded, script
from benchmarks.stream_server import ServerProcess
from voxelcast import View
from voxelcast.geometry import VolumeGeometry

AREA = "peer"
REST_S = 1.0
"""Waited for the picture that trame refines when it rests."""
STILL_QUALITY = 90
MAX_MESSAGE_BYTES = 4 << 20


class TrameClient:
    """One connection to a trame server; made by `reading`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._chunks = UnChunker()
        self._chunks.set_max_message_size(MAX_MESSAGE_BYTES)
        self._calls = 0
        self._sent_at: dict[int, float] = {}
        self._newest = 0
        self._changed = asyncio.Condition()
        self.record = Record()
        self.still_at_s: float | None = None
        self._began = time.perf_counter()

    async def call(self, method: str, *arguments: Any, system: bool = False) -> None:
        """Send a call; its reply is not waited for."""
        self._calls += 1
        name = f"{'system' if system else 'rpc'}:c0:{self._calls}"
        packed = msgpack.packb({"wslink": "1.0", "id": name, "method": method, "args": arguments, "kwargs": {}})
        for chunk in generate_chunks(packed, MAX_MESSAGE_BYTES):
            await self._socket.send(chunk)

    async def move(self, movement: Script, seconds: float) -> None:
        """Begin with a picture of the first view, move for some seconds, then wait a while."""
        await self.call("wslink.hello", {"secret": "wslink-secret"}, system=True)
        await self.call("trame.rca.size", AREA, AREA, {"w": 512, "h": 512, "p": 1})
        await self._show(movement(0.0), 1)
        async with asyncio.timeout(30), self._changed:
            await self._changed.wait_for(lambda: self._newest == 1)
        await asyncio.sleep(REST_S)
        self.record, self._began = Record(), time.perf_counter()
        steps = max(1, round(seconds * INPUT_HZ))
        for number in range(1, steps + 1):
            await asyncio.sleep(self._began + number / INPUT_HZ - time.perf_counter())
            await self._show(movement(number / INPUT_HZ), number + 1)
        self.record.moved_s = time.perf_counter() - self._began
        self.still_at_s = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10), self._changed:
                await self._changed.wait_for(lambda: self.still_at_s is not None)

    async def _show(self, view: View, revision: int) -> None:
        camera = view.camera
        event = {
            "type": "Camera",
            "revision": revision,
            "position": list(camera.position),
            "look_at": list(camera.look_at),
            "up": list(camera.up),
            "scale": camera.parallel_scale_mm,
        }
        self._sent_at[revision] = time.perf_counter()
        await self.call("trame.rca.event", AREA, AREA, event)

    async def read(self) -> None:
        """Take what comes until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            async for message in self._socket:
                assert isinstance(message, bytes)
                whole: Any = self._chunks.process_chunk(message)
                if whole is None:
                    continue
                if "error" in whole:
                    raise RuntimeError(f"trame: {whole['error']}")
                if whole["id"].startswith("publish:trame.rca.topic.stream"):
                    self._paint(whole["result"]["meta"], whole["result"]["content"])
                    async with self._changed:
                        self._changed.notify_all()

    def _paint(self, meta: dict[str, Any], content: bytes) -> None:
        imagecodecs.jpeg_decode(content)
        now = time.perf_counter()
        revision = meta["revision"]
        if revision > self._newest:
            self._newest = revision
            lag_ms = (now - self._sent_at[revision]) * 1e3
            self.record.paints.append(Paint(now - self._began, lag_ms, len(content), (meta["w"], meta["quality"])))
        if meta["quality"] == STILL_QUALITY and self.record.moved_s and revision == max(self._sent_at):
            self.still_at_s = now - self._began


async def _moved(port: int, affine: Any, plan: StreamPlan, work: str) -> TrameClient:
    subject = Subject("peer", VolumeGeometry(plan.shape, np.array(affine)))
    async with reading(f"ws://127.0.0.1:{port}/ws", TrameClient) as client:
        await client.move(script(subject, work, plan.side_px), plan.seconds)
        return client


def measure(plan: StreamPlan, mbit_s: float, rtt_ms: float, work: str) -> dict[str, Any]:
    """Return the peer's row of a link and a work."""
    settings = LinkSettings(mbit_s, rtt_ms)
    arguments = ["--shape", *map(str, plan.shape), "--threads", str(plan.threads), "--work", work]
    arguments += ["--side-px", str(plan.side_px)]
    with ServerProcess.start(["benchmarks.stream_trame_server", *arguments]) as server:
        link = LinkEmulator(server.port, settings)
        try:
            client = asyncio.run(_moved(link.port, server.said["patient_from_voxel"], plan, work))
        finally:
            link.close()
        peer = server.said["peer"]
    row = {"kind": "link", "client": "trame", "mbit_s": mbit_s, "rtt_ms": rtt_ms, "work": work, "peer": peer}
    still_ms = None if client.still_at_s is None else (client.still_at_s - client.record.moved_s) * 1e3
    return (
        row | lag_figures(client.record) | {"final_exact": False, "settle_ms": rounded(still_ms), "transfer_ms": None}
    )

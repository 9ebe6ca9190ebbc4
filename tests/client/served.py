"""A real server for the client: engine, cache, CPU renderer, gRPC over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from render.backends.cpu import CpuRenderer
from render.engine import Engine
from render.geometry import VolumeGeometry
from render.residency import VolumeCache
from render.service.convert.views import view_from_proto
from render.service.grpc_server import GrpcServer, start_grpc
from render.stream.registry import SessionRegistry
from render.volume import Volume, VolumeInfo
from tests.fakes import FakeCatalog
from voxelcast import (
    View,
    convert,
)

Result = TypeVar("Result")

SHAPE = (40, 48, 56)
AFFINE = np.array([[1.2, 0.1, 0, -30], [-0.1, 1.1, 0.2, -25], [0, -0.1, 1.9, 100], [0, 0, 0, 1]])
SIZE_PX = (72, 60)


def head() -> Volume:
    """Return a small CT: a ramp with a bright ball."""
    k, j, i = np.mgrid[tuple(slice(n) for n in SHAPE)]
    ball = (k - 20) ** 2 + (j - 24) ** 2 + (i - 28) ** 2 < 120
    codes = np.where(ball, 900, -800 + 7 * i - 3 * j + 5 * k).astype(np.int16)
    return Volume("a1b2c3d4", VolumeGeometry(SHAPE, AFFINE), codes, info=VolumeInfo(modality="CT", units="HU"))


@dataclass
class Served:
    """A server on a loop of its own, and what is behind it."""

    engine: Engine
    server: GrpcServer
    sessions: SessionRegistry
    address: str
    loop: asyncio.AbstractEventLoop

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run something on the server's loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def frame(self, view: View) -> np.ndarray:
        """Return the server's own pixels of a view, straight from its renderer."""

        async def render() -> np.ndarray:
            theirs = view_from_proto(convert.view_to_proto(view))
            with await self.engine.open(view.volume_id, holder="test") as lease:
                frame = await self.engine.render(theirs, {view.volume_id: lease})
            pixels = frame.color if frame.values is None else frame.values
            assert pixels is not None
            return pixels

        return self.run(render())

    def wait_until(self, condition: Callable[[], bool]) -> bool:
        """Let the server's loop turn until something is so, for 20 s at most."""

        async def wait() -> bool:
            for _ in range(2000):
                if condition():
                    return True
                await asyncio.sleep(0.01)
            return condition()

        return self.run(wait())


@contextlib.contextmanager
def real_server(
    renderer: CpuRenderer, *, budget_bytes: int = 1 << 26, token: str | None = None, catalog: Any = None, port: int = 0
) -> Iterator[Served]:
    """Serve a catalog, or one with `head`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Served:
        cache = VolumeCache(renderer, budget_bytes)
        engine = Engine(renderer, cache, catalog or FakeCatalog(head()))
        sessions = SessionRegistry()
        server = await start_grpc(engine, host="127.0.0.1", port=port, token=token, sessions=sessions)
        return Served(engine, server, sessions, f"127.0.0.1:{server.port}", loop)

    async def stop(served: Served) -> None:
        await served.server.stop(0)
        await served.engine.close()
        await served.engine.cache.close()

    try:
        served = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        try:
            yield served
        finally:
            served.run(stop(served))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def views(volume: Any) -> list[View]:
    """Return one view of each kind."""
    return [
        volume.axial(size_px=SIZE_PX),
        volume.coronal(size_px=SIZE_PX).rotated(20, 10),
        volume.sagittal(size_px=SIZE_PX).with_slab(12, "average_ip").flipped(horizontal=True),
        volume.mip("l", size_px=SIZE_PX).perspective(30),
        volume.volume_rendering("CT-Bone", size_px=SIZE_PX).rotated(30, 15),
    ]

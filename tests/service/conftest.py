"""A real gRPC server on a free port of the loopback, with fakes behind the engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
import pytest

from render.engine import Engine
from render.residency import VolumeCache
from render.service.grpc_server import GrpcServer, start_grpc
from render.service.leases import LeaseTable
from render.stream.registry import SessionRegistry
from render.v1 import render_service_pb2_grpc
from tests.fakes import FakeCatalog, FakeClock, FakeRenderer, make_volume

VOLUME_BYTES = make_volume().nbytes


@dataclass
class Served:
    """A server, what is behind it, and a client of it."""

    server: GrpcServer
    engine: Engine
    renderer: FakeRenderer
    catalog: FakeCatalog
    clock: FakeClock
    sessions: SessionRegistry
    address: str
    channel: grpc.aio.Channel
    stub: Any


def stub_of(channel: grpc.aio.Channel) -> Any:
    return render_service_pb2_grpc.RenderServiceStub(channel)  # type: ignore[no-untyped-call]


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """Room for two of the three small volumes."""
    renderer, clock = FakeRenderer(), FakeClock()
    catalog = FakeCatalog(make_volume("a"), make_volume("b", modality="PT"), make_volume("c"))
    cache = VolumeCache(renderer, 2 * VOLUME_BYTES + 40)
    engine = Engine(renderer, cache, catalog)  # type: ignore[arg-type]
    sessions = SessionRegistry()
    leases = LeaseTable(clock=clock, limit=8)
    server = await start_grpc(engine, host="127.0.0.1", port=0, sessions=sessions, leases=leases)
    address = f"127.0.0.1:{server.port}"
    async with grpc.aio.insecure_channel(address) as channel:
        yield Served(server, engine, renderer, catalog, clock, sessions, address, channel, stub_of(channel))
    renderer.gate.set()
    catalog.gate.set()
    await server.stop(0)
    await engine.close()
    await cache.close()
    assert renderer.resident_bytes == 0

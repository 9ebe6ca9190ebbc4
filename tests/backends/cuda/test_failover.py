"""Cards that fail under a server: its sessions get their next frame, from another card or from the CPU."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest

from render.backends.choice import Choice
from render.backends.cuda.renderer import CudaRenderer
from render.catalog import Catalog
from render.dicom.ingest import Ingest
from render.encoding import decode_values
from render.engine import Engine
from render.place import Seat
from render.residency import VolumeCache
from render.service.convert.volumes import status_to_proto
from render.stream import view_state
from render.stream.registry import SessionRegistry
from render.v1 import frame_pb2, stream_pb2
from render.web.metrics import Metrics
from tests.backends.cuda.fake_device import FakeDevice
from tests.stream.engines import gradient_volume, view_message
from tests.stream.test_growing import SlowSource, lossless
from tests.stream.test_session import Played

BUDGET, HOST_BUDGET = 1 << 29, 1 << 28


class Server:
    """What a server makes of two cards, without its ports."""

    def __init__(self, choice: Choice, devices: list[FakeDevice], catalog: Catalog) -> None:
        self.devices = devices
        self.cache = VolumeCache(
            choice.renderer,
            choice.budget_bytes,
            others=choice.others,
            host_budget_bytes=choice.host_budget_bytes,
            fallback=choice.fallback,
        )
        self.engine = Engine(choice.renderer, self.cache, catalog)
        self.engine.choice = choice
        self.sessions = SessionRegistry()
        self.metrics = Metrics(self.engine, self.sessions)

    def where(self) -> dict[str, str]:
        return {entry.volume_id: entry.device for entry in self.engine.status().cache.entries}

    def told(self, name: str) -> list[str]:
        return [line for line in self.metrics.text().decode().splitlines() if line.startswith(f"voxelcast_{name}{{")]


@pytest.fixture
async def server(host_kernels) -> AsyncIterator[Server]:
    devices = [FakeDevice(host_kernels, name=f"cuda:{n}") for n in range(2)]
    with contextlib.ExitStack() as stack:
        first, second = (Seat(CudaRenderer(device, BUDGET), BUDGET) for device in devices)
        choice = Choice(first.renderer, "cuda", "because", BUDGET, (second,), HOST_BUDGET, threads=2)
        stack.enter_context(contextlib.closing(choice))
        catalog = stack.enter_context(Catalog((), stack.enter_context(Ingest())))
        for name in ("vol", "other"):
            catalog.add(gradient_volume(name))
        server = Server(choice, devices, catalog)
        yield server
        await server.engine.close()
        await server.cache.close()
    gc.collect()  # errors refer to the frames of those who caught them
    assert all(device.used == 0 for device in devices if not device.lost)
    assert all(device.is_closed for device in devices)


@pytest.fixture(autouse=True)
def _short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_state, "SETTLE_S", 0.01)


class Client(Played):
    """A session over a server's engine; an error that it is told fails the test."""

    def __init__(self, server: Server) -> None:
        engine: Any = server.engine
        super().__init__(engine, server.sessions)
        self.revision = 0

    async def values(self, volume_id: str = "vol") -> np.ndarray:
        """Ask for a plane, and return its final values."""
        self.revision += 1
        view = view_message(volume_id)
        self.say(set_view=stream_pb2.SetView(view_id="a", revision=self.revision, view=view))
        chunks: list[bytes] = []
        while True:
            message = await self.transport.outbox.get()
            if not isinstance(message, stream_pb2.FrameMessage):
                assert message.WhichOneof("message") != "error", message
                continue
            header = message.header
            self.say(acknowledge=stream_pb2.Acknowledge(view_id="a", sequence=header.sequence))
            if header.view_revision != self.revision or header.encoding != frame_pb2.FRAME_ENCODING_VALUES_DEFLATE:
                continue
            chunks.append(message.payload)
            if header.chunk_index + 1 == header.chunk_count:
                return decode_values(
                    b"".join(chunks),
                    header.width_px,
                    header.height_px,
                    header.value_slope,
                    header.value_intercept,
                    deflated=True,
                )


@contextlib.asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Client]:
    client = Client(server)
    await client.hello()
    try:
        yield client
    finally:
        client.transport.inbox.put_nowait(None)
        await client.task


async def test_a_session_outlives_one_card_after_the_other(server: Server) -> None:
    async with connected(server) as client:
        drawn = [await client.values()]
        home = server.where()["vol"]
        assert home.startswith("cuda:")
        first, second = sorted(server.devices, key=lambda device: device.name != home)
        for device, next_home in ((first, second.name), (second, "cpu")):
            device.fail_launch, device.sticks = 1, True
            drawn.append(await client.values())
            assert server.where() == {"vol": next_home}
    for again in drawn[1:]:
        # Two renderers may be off by a code each, and this volume's codes are its values.
        np.testing.assert_allclose(again, drawn[0], atol=2.0)
    assert np.ptp(drawn[0][np.isfinite(drawn[0])]) > 100
    assert server.told("device_lost") == [f'voxelcast_device_lost{{device="cuda:{n}"}} 1.0' for n in range(2)]
    status = status_to_proto(server.engine.status(), server_version="", sessions=0)
    assert [device.name for device in status.devices] == ["cuda:0", "cuda:1", "cpu"]
    assert "does nothing any more" in status.devices[0].description


async def test_all_sessions_of_a_card_get_their_next_frame(server: Server) -> None:
    async with connected(server) as one, connected(server) as two, connected(server) as three:
        await one.values("vol"), await two.values("vol"), await three.values("other")
        before = server.where()
        assert set(before.values()) == {"cuda:0", "cuda:1"}
        device = server.devices[int(before["vol"][-1])]
        device.lost = True
        for client, volume_id in ((one, "vol"), (two, "vol"), (three, "other")):
            await client.values(volume_id)
        assert set(server.where().values()) == {before["other"]}
        assert sum("1.0" in line for line in server.told("device_lost")) == 1


async def test_a_card_lost_amid_an_upload_costs_nobody_anything(server: Server) -> None:
    for device in server.devices:
        device.fail_launch, device.sticks = 1, True  # the first launch is of the upload's bricks
    async with connected(server) as client:
        values = await client.values()
    assert np.isfinite(values).any()
    assert server.where() == {"vol": "cpu"}


async def test_a_session_sees_a_volume_grow_on_a_card_and_outlives_it(server: Server, monkeypatch) -> None:
    source = SlowSource(gradient_volume("vol"))
    monkeypatch.setattr(server.engine.catalog, "loader", lambda entry: source)
    async with connected(server) as client:
        client.set_view("a", 1)
        source.steps.put((8, 16))
        part = await lossless(client)
        assert (part.missing_slices, part.volume_revision) == (16, 1)
        assert part.quality == frame_pb2.FRAME_QUALITY_INTERACTIVE
        home, other = sorted(server.devices, key=lambda device: device.name != server.where()["vol"])
        assert home.launches.count("mark") == 1
        source.steps.put((0, 8))
        assert (await lossless(client)).missing_slices == 8
        home.lost = True  # the rest comes to the other card, whole
        source.steps.put((16, 24))
        final = await lossless(client)
        assert (final.missing_slices, final.volume_revision) == (0, 3)
        assert final.quality == frame_pb2.FRAME_QUALITY_FINAL
        assert server.where() == {"vol": other.name}
        assert "mark" not in other.launches


async def test_a_frame_without_memory_is_drawn_once_what_nobody_uses_has_left(server: Server) -> None:
    async with connected(server) as client:
        await client.values("vol")
        home = server.devices[int(server.where()["vol"][-1])]
        lost = server.devices[1 - int(server.where()["vol"][-1])]
        lost.lost = True
        (await server.engine.open("other", holder="test")).release()
        assert server.where() == {"vol": home.name, "other": home.name}
        # All that is free goes: what a frame needs is there only once the other volume has left.
        home.kept, home.total = 0, home.used
        await client.values("vol")
        assert server.where() == {"vol": home.name}
        assert server.cache.holds("other")
        home.total = 1 << 30

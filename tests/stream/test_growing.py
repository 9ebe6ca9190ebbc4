"""A volume that is shown while it is loaded: a source that hands its slices over when the test says so."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from render.engine import Engine
from render.errors import CodecError
from render.growth import Growth, Span
from render.stream import view_state
from render.stream.registry import SessionRegistry
from render.v1 import frame_pb2
from render.volume import Volume
from tests.stream.engines import gradient_volume, real_engine
from tests.stream.test_session import Played


class SlowSource:
    """A `GrowingLoader` of slices that arrive one span a `put`; an error ends it."""

    def __init__(self, whole: Volume) -> None:
        self.whole = whole
        self.steps: queue.SimpleQueue[Span | Exception] = queue.SimpleQueue()
        self.growth: Growth | None = None

    def __call__(self, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
        raise AssertionError("asked for in part")

    def grow(
        self, progress: Callable[[int, int], None], cancelled: Callable[[], bool], growth: Growth
    ) -> tuple[Volume, Sequence[Span]]:
        self.growth = growth
        codes = np.full_like(self.whole.codes, -32768)
        there, total, revision = 0, len(codes), 1
        while True:
            step = self.steps.get()
            if isinstance(step, Exception):
                raise step
            first, last = step
            codes[first:last] = self.whole.codes[first:last]
            there += last - first
            progress(there, total)
            if there == total:
                return replace(self.whole, codes=codes, revision=revision), [step]
            state = replace(
                self.whole, codes=codes, invalid_code=-32768, revision=revision, missing_slices=total - there
            )
            growth.grown(state, [step])
            revision += 1


@pytest.fixture(autouse=True)
def settle_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_state, "SETTLE_S", 0.01)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with real_engine() as engine:
        yield engine


@pytest.fixture
def source(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> SlowSource:
    source = SlowSource(gradient_volume())
    monkeypatch.setattr(engine.catalog, "loader", lambda entry: source)
    return source


async def lossless(client: Played) -> frame_pb2.FrameHeader:
    while True:
        header = await client.frame()
        if header.lossless:
            return header


async def test_a_view_is_drawn_in_part_and_final_only_once_the_volume_is_whole(
    engine: Engine, source: SlowSource
) -> None:
    client = Played(engine, SessionRegistry())  # type: ignore[arg-type] # a real one
    await client.hello()
    client.set_view("a", 1)
    source.steps.put((8, 16))
    part = await lossless(client)
    assert (part.missing_slices, part.volume_revision) == (16, 1)
    assert part.quality == frame_pb2.FRAME_QUALITY_INTERACTIVE
    assert source.growth is not None
    assert source.growth.wanted.spans() == [(10, 11)]  # z = 20 mm, in slices of 2 mm
    source.steps.put((0, 8))
    more = await lossless(client)
    assert (more.missing_slices, more.volume_revision) == (8, 2)
    source.steps.put((16, 24))
    final = await lossless(client)
    assert (final.missing_slices, final.volume_revision) == (0, 3)
    assert final.quality == frame_pb2.FRAME_QUALITY_FINAL
    client.transport.inbox.put_nowait(None)
    await client.task


async def test_a_lease_of_the_whole_waits_for_the_whole(engine: Engine, source: SlowSource) -> None:
    part = asyncio.create_task(engine.open("vol", holder="part", in_part=True))
    whole = asyncio.create_task(engine.open("vol", holder="whole"))
    source.steps.put((8, 16))
    with await part as lease:
        assert not lease.is_whole
        assert not whole.done()
        source.steps.put((0, 8))
        source.steps.put((16, 24))
        with await whole as other:
            assert other.is_whole
            assert lease.resident is other.resident
            np.testing.assert_array_equal(other.resident.volume.codes, gradient_volume().codes)
            assert other.resident.statistics == engine.renderer.upload(gradient_volume()).statistics


async def test_a_source_that_breaks_half_way_is_told_and_tried_again(engine: Engine, source: SlowSource) -> None:
    broken: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    class Watcher:
        def progressed(self, stage: str, done: int, total: int) -> None: ...

        def grown(self) -> None: ...

        def broken(self, error: BaseException) -> None:
            broken.set_result(error)

    opening = asyncio.create_task(engine.open("vol", holder="part", in_part=True))
    source.steps.put((8, 16))
    lease = await opening
    lease.watch(Watcher())
    source.steps.put(CodecError("slice 3 can't be decoded"))
    assert isinstance(await broken, CodecError)
    lease.release()
    again = asyncio.create_task(engine.open("vol", holder="again"))
    source.steps.put((0, 24))
    with await again as whole:
        assert whole.is_whole

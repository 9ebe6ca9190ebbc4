"""Sessions that share a card, by a clock that passes with each band: nobody waits for another's long frame."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from render.backends.cuda.renderer import CudaRenderer
from render.engine import Engine
from render.errors import RenderCancelledError
from render.frame import FINAL, Frame, Quality
from render.lease import Lease
from render.residency import VolumeCache
from render.turns import UNGATED_BANDS, Turn, Turns
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.cuda.test_serving import OneVolume
from tests.backends.scenes import make_view, slanted_camera
from tests.fakes import PATIENCE_S, FakeClock

BUDGET = 1 << 29
BANDS = {"color": 16, "mean": 16}
SIZE_PX = (8, 8 * 16)
"""Columns and rows: 16 bands of 8 rows where a band may have one sample."""
INTERACTIVE = Quality(step_factor=2.0)


class WatchedTurns(Turns):
    """Says when somebody has to wait for another."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(1, 1, clock)
        self.line = threading.Event()

    def ask(self, key: str, wake: Callable[[], object]) -> Turn:
        turn = super().ask(key, wake)
        if any(other.key != key for other in self._in_hand):
            self.line.set()
        return turn


class Shared:
    """An engine whose card takes a bit of time for each band: so many milliseconds by its kernel."""

    def __init__(self, host_kernels: Any) -> None:
        self.clock = FakeClock()
        self.device = FakeDevice(host_kernels, on_launch=self.launched)
        renderer = CudaRenderer(self.device, BUDGET, band_samples=1)
        self.cache = VolumeCache(renderer, BUDGET)
        catalog: Any = OneVolume()
        self.engine = Engine(renderer, self.cache, catalog)
        (self.place,) = self.cache.places
        self.place.turns = self.turns = WatchedTurns(self.clock)
        self.order: list[str] = []
        self.costs = {"composite": 0.005, "mean": 0.001, "thin": 0.001}
        self.holds: dict[int, tuple[threading.Event, threading.Event]] = {}
        self.lock = threading.Lock()

    def launched(self, kernel: str) -> None:
        if kernel not in self.costs:
            return
        with self.lock:
            self.order.append(kernel)
            hold = self.holds.get(len(self.order))
        if hold is not None:
            hold[0].set()
            assert hold[1].wait(PATIENCE_S)
        with self.lock:
            self.clock.now += self.costs[kernel]

    def hold(self, launch: int) -> tuple[threading.Event, threading.Event]:
        """Stop the n-th launch of a band until its second event is set; the first says that it has come."""
        self.holds[launch] = threading.Event(), threading.Event()
        return self.holds[launch]

    def draw(
        self, lease: Lease, work: str, quality: Quality = FINAL, size: tuple[int, int] = SIZE_PX, **options: Any
    ) -> asyncio.Task[Frame]:
        volume = lease.resident.volume
        view = make_view(volume, work, slanted_camera(volume.geometry), size)
        return asyncio.create_task(self.engine.render(view, {volume.id: lease}, quality=quality, **options))


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


@pytest.fixture
async def shared(host_kernels) -> AsyncIterator[Shared]:
    shared = Shared(host_kernels)
    yield shared
    await shared.engine.close()
    await shared.cache.close()
    gc.collect()  # errors refer to the frames of those who caught them
    assert shared.device.used == 0


async def leases(shared: Shared, *holders: str) -> list[Lease]:
    return [await shared.engine.open("blobs", holder=holder) for holder in holders]


async def test_a_plane_is_drawn_in_the_midst_of_anothers_long_frame(shared: Shared) -> None:
    ours, theirs = await leases(shared, "session 1", "session 2")
    arrived, go_on = shared.hold(5)
    long = shared.draw(theirs, "color")
    await until(arrived)
    plane = await shared.draw(ours, "thin", INTERACTIVE, (8, 8))
    assert plane.values is not None
    assert not long.done()
    # One band was in hand: that is all that the plane came after.
    assert shared.order == ["composite"] * 5 + ["thin"]
    go_on.set()
    assert (await long).color.any()
    assert shared.order.count("composite") == BANDS["color"]
    for lease in (ours, theirs):
        lease.release()


async def test_a_plane_waits_for_no_line_of_long_frames(shared: Shared) -> None:
    ours, *others = await leases(shared, *(f"session {n}" for n in range(6)))
    arrived, go_on = shared.hold(2 * UNGATED_BANDS + 5)
    long = [shared.draw(lease, "color") for lease in others]
    await until(arrived)
    before = len(shared.order)
    await shared.draw(ours, "thin", INTERACTIVE, (8, 8))
    # Frames that begin have their first bands at once; of the others one is in hand.
    assert len(shared.order) - before <= 1 + UNGATED_BANDS * len(others)
    assert shared.order.count("thin") == 1
    go_on.set()
    await asyncio.gather(*long)
    assert shared.order.count("composite") == BANDS["color"] * len(others)
    for lease in (ours, *others):
        lease.release()


async def test_two_long_frames_have_the_same_time_whatever_their_bands_cost(shared: Shared) -> None:
    ours, theirs = await leases(shared, "session 1", "session 2")
    arrived, go_on = shared.hold(4)
    long = shared.draw(theirs, "color")
    await until(arrived)
    shorter = shared.draw(ours, "mean")
    await until(shared.turns.line)
    go_on.set()
    await asyncio.gather(long, shorter)
    # A band of theirs is five of ours: ours is done when they have had as much time, give or take a band.
    last = max(n for n, kernel in enumerate(shared.order) if kernel == "mean")
    assert shared.order.count("mean") == BANDS["mean"]
    meanwhile = shared.order[4:last].count("composite")
    assert 2 <= meanwhile <= BANDS["mean"] // 5 + 1
    for lease in (ours, theirs):
        lease.release()


async def test_a_frame_that_is_given_up_leaves_its_place_in_line(shared: Shared) -> None:
    ours, theirs = await leases(shared, "session 1", "session 2")
    arrived, go_on = shared.hold(4)
    long = shared.draw(theirs, "color")
    await until(arrived)
    is_cancelled = threading.Event()
    given_up = shared.draw(ours, "mean", cancelled=is_cancelled.is_set)
    await until(shared.turns.line)
    is_cancelled.set()
    go_on.set()
    with pytest.raises(RenderCancelledError, match="rows left to draw"):
        await given_up
    await long
    assert shared.order.count("mean") == UNGATED_BANDS
    assert shared.place.turns.waiting == 0
    for lease in (ours, theirs):
        lease.release()


async def test_a_frame_that_fails_holds_nobody_up(shared: Shared) -> None:
    ours, theirs = await leases(shared, "session 1", "session 2")
    shared.device.fail_launch = 12
    with pytest.raises(Exception, match="cudaErrorIllegalAddress"):
        await shared.draw(theirs, "mean")
    assert (await shared.draw(ours, "color")).color.any()
    for lease in (ours, theirs):
        lease.release()

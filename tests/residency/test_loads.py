"""Loads: one flight for all who wait, progress, errors, and loads that are given up."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from render.descriptions import Residency
from render.errors import BudgetExceededError, CodecError, DrainingError
from render.lease import Lease, Size
from render.residency import VolumeCache
from tests.fakes import FakeRenderer
from tests.residency.loaders import (
    OVERHEAD_BYTES,
    SIZE,
    VOLUME_BYTES,
    FakeLoader,
    lease,
    loader,
    resident_ids,
    started,
)


class TestLoads:
    async def test_concurrent_leases_share_one_load_and_all_hear_its_progress(self, cache: VolumeCache) -> None:
        load, other = loader("a", gated=True), loader("a")
        heard: list[list[tuple[str, int, int]]] = [[], [], []]

        def lease_with(n: int, what: FakeLoader) -> asyncio.Task[Lease]:
            def progress(*report: object) -> None:
                heard[n].append(report)  # type: ignore[arg-type]

            return asyncio.create_task(cache.lease("a", what, SIZE, holder=f"h{n}", progress=progress))

        tasks = [lease_with(0, load), lease_with(1, other)]
        await started(load)
        await asyncio.sleep(0)
        (entry,) = cache.status().entries
        assert (entry.state, entry.pinned_by) == (Residency.LOADING, ("h0", "h1"))
        assert cache.status().pinned_bytes == VOLUME_BYTES
        late = lease_with(2, other)
        load.gate.set()
        leases = [await task for task in (*tasks, late)]
        assert (load.calls, other.calls) == (1, 0)
        assert len({one.resident for one in leases}) == 1
        whole = [("decoding", 1, 4), ("uploading", 0, 1), ("uploading", 1, 1)]
        assert heard == [whole, whole, whole]

    async def test_a_load_is_given_up_only_when_all_have_gone(self, cache: VolumeCache) -> None:
        load = loader("a", gated=True)
        first = asyncio.create_task(cache.lease("a", load, SIZE, holder="one"))
        second = asyncio.create_task(cache.lease("a", load, SIZE, holder="two"))
        await started(load)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not load.given_up.is_set()
        assert cache.state("a") is Residency.LOADING
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        # The next lease waits for the end of the old load, then loads anew.
        again = loader("a")
        held = await cache.lease("a", again, SIZE, holder="three")
        assert load.given_up.is_set()
        assert again.calls == 1
        assert held.resident.volume is again.volume

    async def test_a_load_goes_on_for_those_who_still_wait(self, cache: VolumeCache) -> None:
        load = loader("a", gated=True)
        first = asyncio.create_task(cache.lease("a", load, SIZE, holder="one"))
        second = asyncio.create_task(cache.lease("a", load, SIZE, holder="two"))
        await started(load)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        load.gate.set()
        held = await second
        assert held.resident.volume is load.volume
        assert cache.status().entries[0].pinned_by == ("two",)

    async def test_a_lease_cancelled_before_its_load_began_leaves_no_trace(self, cache: VolumeCache) -> None:
        load = loader("a")
        task = asyncio.create_task(cache.lease("a", load, SIZE, holder="one"))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        held = await lease(cache, "a")
        assert cache.status().pinned_bytes == VOLUME_BYTES
        held.release()

    @pytest.mark.parametrize("where", ["load", "upload"])
    async def test_a_failure_reaches_all_waiters_and_leaves_no_trace(
        self, cache: VolumeCache, renderer: FakeRenderer, where: str
    ) -> None:
        load = loader("a", gated=True)
        error = CodecError("slice 3: no codec")
        if where == "load":
            load.error = error
        else:
            renderer.upload_error = error
        tasks = [asyncio.create_task(cache.lease("a", load, SIZE, holder=f"h{n}")) for n in range(3)]
        await started(load)
        load.gate.set()
        assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 3
        assert cache.status().resident_bytes == 0
        assert renderer.resident_bytes == 0
        renderer.upload_error = None
        with await lease(cache, "a") as held:
            assert held.resident.volume.id == "a"

    async def test_loads_reserve_their_bytes(self, cache: VolumeCache) -> None:
        loads = [loader(name, gated=True) for name in "abc"]
        tasks = [asyncio.create_task(cache.lease(load.volume.id, load, SIZE, holder="test")) for load in loads]
        for load in loads:
            await started(load)
        with pytest.raises(BudgetExceededError):
            await lease(cache, "d")
        for load in loads:
            load.gate.set()
        for task in tasks:
            (await task).release()

    async def test_a_lease_waits_for_the_room_of_a_load_that_was_given_up(self, cache: VolumeCache) -> None:
        held = [await lease(cache, name) for name in "ab"]
        load = loader("c", gated=True)
        task = asyncio.create_task(cache.lease("c", load, SIZE, holder="gone"))
        await started(load)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        with await lease(cache, "d"):
            assert sorted(resident_ids(cache)) == ["a", "b", "d"]
        assert [one.is_released for one in held] == [False, False]

    async def test_a_reservation_counts_as_pinned(self, cache: VolumeCache) -> None:
        (await lease(cache, "a")).release()
        with await cache.reserve("the upload", Size(3 * VOLUME_BYTES - OVERHEAD_BYTES, 2)):
            assert resident_ids(cache) == []
            assert cache.status().pinned_bytes == 3 * VOLUME_BYTES
            with pytest.raises(BudgetExceededError):
                await lease(cache, "b")
            with pytest.raises(BudgetExceededError, match="the second upload needs"):
                await cache.reserve("the second upload", SIZE)
        assert cache.status().pinned_bytes == 0

    async def test_close_gives_up_loads_and_takes_no_more(self, renderer: FakeRenderer) -> None:
        cache = VolumeCache(renderer, 3 * VOLUME_BYTES)
        await lease(cache, "a")
        load = loader("b", gated=True)
        task = asyncio.create_task(cache.lease("b", load, SIZE, holder="test"))
        await started(load)
        await cache.close()
        assert load.given_up.is_set()
        assert renderer.resident_bytes == 0
        with pytest.raises(Exception, match="given up"):
            await task
        with pytest.raises(DrainingError):
            await lease(cache, "a")
        with pytest.raises(DrainingError):
            await cache.reserve("an upload", SIZE)

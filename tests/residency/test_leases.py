"""Leases and evictions."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest

from render.descriptions import Residency
from render.errors import BudgetExceededError
from render.lease import Lease, Size
from render.residency import VolumeCache
from tests.fakes import FakeClock, FakeRenderer, make_volume
from tests.residency.loaders import (
    OVERHEAD_BYTES,
    SIZE,
    VOLUME_BYTES,
    VOXEL_BYTES,
    FakeLoader,
    lease,
    loader,
    resident_ids,
    started,
)


class TestLeases:
    async def test_first_lease_loads_and_second_shares_it(self, cache: VolumeCache, renderer: FakeRenderer) -> None:
        first = await lease(cache, "a", "one")
        again = loader("a")
        second = await cache.lease("a", again, SIZE, holder="two")
        assert first.resident is second.resident
        assert (again.calls, renderer.uploads) == (0, 1)
        (entry,) = cache.status().entries
        assert (entry.volume_id, entry.bytes, entry.state) == ("a", VOLUME_BYTES, Residency.RESIDENT)
        assert entry.pinned_by == ("one", "two")
        assert cache.status().pinned_bytes == VOLUME_BYTES

    async def test_release_is_idempotent_and_ends_only_its_own_pin(self, cache: VolumeCache) -> None:
        first, second = await lease(cache, "a", "one"), await lease(cache, "a", "two")
        first.release()
        first.release()
        assert cache.status().entries[0].pinned_by == ("two",)
        second.release()
        assert cache.status().pinned_bytes == 0
        assert cache.status().resident_bytes == VOLUME_BYTES

    async def test_a_released_lease_gives_no_volume(self, cache: VolumeCache) -> None:
        async with await lease(cache, "a") as held:
            assert held.resident.volume.id == "a"
        with pytest.raises(RuntimeError, match="released"):
            _ = held.resident
        with pytest.raises(RuntimeError, match="released"):
            held.share("render")

    async def test_a_shared_lease_outlives_the_one_it_came_from(self, cache: VolumeCache) -> None:
        with await lease(cache, "a") as held:
            other = held.share("render")
        assert cache.status().entries[0].pinned_by == ("render",)
        assert other.resident.volume.id == "a"
        other.release()

    async def test_lease_resident_never_loads(self, cache: VolumeCache) -> None:
        assert cache.lease_resident("a", holder="x") is None
        (await lease(cache, "a")).release()
        held = cache.lease_resident("a", holder="x")
        assert held is not None
        assert held.resident.volume.id == "a"

    async def test_idle_time_counts_from_the_last_use(self, cache: VolumeCache, clock: FakeClock) -> None:
        held = await lease(cache, "a")
        clock.now += 50
        assert cache.status().entries[0].idle_seconds == 0
        held.release()
        clock.now += 7
        assert cache.status().entries[0].idle_seconds == 7


class TestEviction:
    async def test_least_recently_used_goes_first(self, cache: VolumeCache) -> None:
        for name in "abc":
            (await lease(cache, name)).release()
        (await lease(cache, "a")).release()
        (await lease(cache, "d")).release()
        assert sorted(resident_ids(cache)) == ["a", "c", "d"]

    async def test_pinned_volumes_stay_however_old(self, cache: VolumeCache, renderer: FakeRenderer) -> None:
        oldest = await lease(cache, "a")
        for name in "bcde":
            (await lease(cache, name)).release()
        assert resident_ids(cache) == ["a", "d", "e"]
        assert oldest.resident in renderer.residents

    async def test_refusal_has_figures_and_evicts_nothing(self, cache: VolumeCache) -> None:
        held = [await lease(cache, name) for name in "ab"]
        (await lease(cache, "idle")).release()
        big = FakeLoader(make_volume("big", (8, 5, 6)))
        with pytest.raises(BudgetExceededError, match=r"volume big needs .* too many beside .* budget") as caught:
            await cache.lease("big", big, Size(2 * VOXEL_BYTES, 2), holder="test")
        needed_bytes, pinned_bytes = 2 * VOXEL_BYTES + OVERHEAD_BYTES, 2 * VOLUME_BYTES
        assert caught.value.details == {
            "needed_bytes": needed_bytes,
            "budget_bytes": 3 * VOLUME_BYTES,
            "pinned_bytes": pinned_bytes,
            "excess_bytes": needed_bytes + pinned_bytes - 3 * VOLUME_BYTES,
        }
        assert big.calls == 0
        assert resident_ids(cache) == ["a", "b", "idle"]
        held[0].release()
        (await cache.lease("big", big, Size(2 * VOXEL_BYTES, 2), holder="test")).release()
        assert resident_ids(cache) == ["b", "big"]

    async def test_a_volume_larger_than_the_budget_is_refused_from_an_empty_cache(self, cache: VolumeCache) -> None:
        with pytest.raises(BudgetExceededError):
            await cache.lease("a", loader("a"), Size(3 * VOLUME_BYTES, 2), holder="test")

    async def test_a_volume_that_turns_out_larger_makes_more_room(
        self, cache: VolumeCache, renderer: FakeRenderer
    ) -> None:
        for name in "ab":
            (await lease(cache, name)).release()
        grown = FakeLoader(make_volume("grown", (8, 5, 6)))
        held = await cache.lease("grown", grown, SIZE, holder="test")
        assert resident_ids(cache) == ["b", "grown"]
        assert cache.status().resident_bytes == renderer.resident_bytes == 3 * VOXEL_BYTES + 2 * OVERHEAD_BYTES
        held.release()

    async def test_a_volume_that_turns_out_too_large_is_refused_before_its_upload(
        self, cache: VolumeCache, renderer: FakeRenderer
    ) -> None:
        held = [await lease(cache, name) for name in "ab"]
        grown = FakeLoader(make_volume("grown", (8, 5, 6)))
        with pytest.raises(BudgetExceededError):
            await cache.lease("grown", grown, SIZE, holder="test")
        assert renderer.uploads == 2
        assert resident_ids(cache) == ["a", "b"]
        assert all(one.resident in renderer.residents for one in held)

    async def test_an_upload_that_takes_more_than_estimated_is_undone_if_that_is_too_much(
        self, cache: VolumeCache, renderer: FakeRenderer
    ) -> None:
        held = [await lease(cache, name) for name in "ab"]
        renderer.hidden_bytes = 1
        with pytest.raises(BudgetExceededError):
            await lease(cache, "c")
        assert renderer.resident_bytes == cache.status().resident_bytes == 2 * VOLUME_BYTES
        held[0].release()
        (await lease(cache, "c")).release()
        assert renderer.resident_bytes == cache.status().resident_bytes == 2 * VOLUME_BYTES + 1

    async def test_a_load_is_never_evicted(self, cache: VolumeCache) -> None:
        load = loader("oldest", gated=True)
        loading = asyncio.create_task(cache.lease("oldest", load, SIZE, holder="test"))
        await started(load)
        for name in "abc":
            (await lease(cache, name)).release()
        assert sorted(resident_ids(cache)) == ["b", "c", "oldest"]
        load.gate.set()
        (await loading).release()

    async def test_nothing_comes_between_the_end_of_a_load_and_its_waiter(self, cache: VolumeCache) -> None:
        loop = asyncio.get_running_loop()
        rivals: list[asyncio.Task[Lease]] = []

        def progress(stage: str, done: int, total: int) -> None:
            if (stage, done) == ("uploading", 1):  # two turns of the loop later the load has ended
                wanted = cache.lease("rival", loader("rival"), Size(3 * VOXEL_BYTES, 2), holder="rival")
                loop.call_soon(lambda: rivals.append(loop.create_task(wanted)))

        held = await cache.lease("a", loader("a"), SIZE, holder="test", progress=progress)
        assert held.resident.volume.id == "a"
        with pytest.raises(BudgetExceededError):
            await rivals[0]

    async def test_on_evicted_hears_of_each_volume_that_left(self, cache: VolumeCache) -> None:
        left: list[str] = []
        cache.on_evicted = left.append
        for name in "abcde":
            (await lease(cache, name)).release()
        assert left == ["a", "b"]

    async def test_discard_waits_for_the_last_lease(self, cache: VolumeCache) -> None:
        (await lease(cache, "a")).release()
        await cache.discard("a")
        assert resident_ids(cache) == []
        held = await lease(cache, "b")
        await cache.discard("b")
        assert resident_ids(cache) == ["b"]
        held.release()
        assert resident_ids(cache) == []
        await cache.discard("unknown")

    async def test_load_and_evict_a_thousand_times(self, cache: VolumeCache, renderer: FakeRenderer) -> None:
        baseline = renderer.resident_bytes
        volumes = [make_volume(f"v{n}") for n in range(7)]
        for turn in range(1000):
            volume = volumes[turn % len(volumes)]
            (await cache.lease(volume.id, FakeLoader(volume), SIZE, holder="test")).release()
        assert renderer.uploads == 1000
        assert renderer.peak_bytes <= cache.budget_bytes
        for volume in volumes:
            await cache.discard(volume.id)
        assert renderer.resident_bytes == baseline
        assert cache.status().resident_bytes == 0


def test_residency_knows_of_no_network_and_no_device() -> None:
    forbidden = {"grpc", "starlette", "websockets", "cupy", "pydicom"}
    code = f"import sys, render.residency; print(sorted({forbidden} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

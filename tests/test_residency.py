from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from render import memory
from render.descriptions import Residency
from render.errors import BudgetExceededError, CodecError, DrainingError, StartupError
from render.lease import Lease, Size
from render.memory import default_budget_bytes, parse_bytes
from render.residency import VolumeCache
from render.volume import Volume
from tests.fakes import PATIENCE_S, FakeClock, FakeRenderer, make_volume

VOXEL_BYTES = 4 * 5 * 6 * 2
OVERHEAD_BYTES = 16
VOLUME_BYTES = VOXEL_BYTES + OVERHEAD_BYTES
SIZE = Size(VOXEL_BYTES, 2)


class FakeLoader:
    """Loads one volume; with `gate` closed it reports one slice and waits until let through or given up."""

    def __init__(self, volume: Volume, *, gated: bool = False) -> None:
        self.volume = volume
        self.gate = threading.Event()
        if not gated:
            self.gate.set()
        self.calls = 0
        self.error: Exception | None = None
        self.started = threading.Event()
        self.given_up = threading.Event()

    def __call__(self, progress: Callable[[int, int], None], cancelled: Callable[[], bool]) -> Volume:
        self.calls += 1
        progress(1, 4)
        self.started.set()
        for _ in range(int(PATIENCE_S / 0.005)):
            if self.gate.wait(0.005):
                break
            if cancelled():
                self.given_up.set()
                raise CodecError("given up in the middle of a slice")
        else:
            raise AssertionError("neither let through nor given up")
        if self.error is not None:
            raise self.error
        return self.volume


def loader(volume_id: str, *, gated: bool = False) -> FakeLoader:
    return FakeLoader(make_volume(volume_id), gated=gated)


async def started(load: FakeLoader) -> None:
    assert await asyncio.to_thread(load.started.wait, PATIENCE_S)


@pytest.fixture
def renderer() -> FakeRenderer:
    return FakeRenderer(OVERHEAD_BYTES)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def cache(renderer: FakeRenderer, clock: FakeClock) -> AsyncIterator[VolumeCache]:
    """Room for three."""
    cache = VolumeCache(renderer, 3 * VOLUME_BYTES, clock)
    yield cache
    await cache.close()
    assert renderer.resident_bytes == 0


async def lease(cache: VolumeCache, volume_id: str, holder: str = "test") -> Lease:
    return await cache.lease(volume_id, loader(volume_id), SIZE, holder=holder)


def resident_ids(cache: VolumeCache) -> list[str]:
    return [entry.volume_id for entry in cache.status().entries]


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


NAMES = st.sampled_from("abcde")
SIZES = {"a": 1, "b": 1, "c": 2, "d": 3, "e": 5}
BUDGET_UNITS = 6


class CacheMachine(RuleBasedStateMachine):
    """Leases, releases, failures, discards and reservations in any order, against a model of an LRU list."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.renderer = FakeRenderer()
        self.cache = VolumeCache(self.renderer, BUDGET_UNITS * VOXEL_BYTES)
        self.leases: list[Lease] = []
        self.reservations: list[tuple[int, object]] = []
        self.recency: list[str] = []  # least recently used first
        self.discarded: set[str] = set()

    def teardown(self) -> None:
        self.loop.run_until_complete(self.cache.close())
        assert self.renderer.resident_bytes == 0
        self.loop.close()

    def pinned(self) -> set[str]:
        return {held.volume_id for held in self.leases}

    def pinned_units(self) -> int:
        return sum(SIZES[name] for name in self.pinned()) + sum(units for units, _ in self.reservations)

    def model_room(self, units: int) -> bool:
        if self.pinned_units() + units > BUDGET_UNITS:
            return False
        reserved = sum(held for held, _ in self.reservations)
        for name in tuple(self.recency):
            if sum(SIZES[other] for other in self.recency) + reserved + units <= BUDGET_UNITS:
                break
            if name not in self.pinned():
                self.recency.remove(name)
        return True

    def touch(self, name: str) -> None:
        self.recency = [other for other in self.recency if other != name] + [name]

    @rule(name=NAMES)
    def lease(self, name: str) -> None:
        volume = make_volume(name, (4 * SIZES[name], 5, 6))
        expected = name in self.recency or self.model_room(SIZES[name])
        wanted = self.cache.lease(name, FakeLoader(volume), Size(SIZES[name] * VOXEL_BYTES, 2), holder="test")
        try:
            self.leases.append(self.loop.run_until_complete(wanted))
        except BudgetExceededError:
            assert not expected
        else:
            assert expected
            self.touch(name)

    @rule(name=NAMES)
    def fail(self, name: str) -> None:
        load = FakeLoader(make_volume(name))
        load.error = CodecError("no")
        expected = name in self.recency or self.model_room(SIZES[name])
        wanted = self.cache.lease(name, load, Size(SIZES[name] * VOXEL_BYTES, 2), holder="test")
        try:
            self.loop.run_until_complete(wanted).release()
        except BudgetExceededError:
            assert not expected
        except CodecError:
            assert name not in self.recency
        else:
            self.touch(name)
            self.forget_if_discarded(name)

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held = self.leases.pop(data.draw(st.integers(0, len(self.leases) - 1)))
        held.release()
        self.touch(held.volume_id)
        self.forget_if_discarded(held.volume_id)

    @rule(name=NAMES)
    def discard(self, name: str) -> None:
        self.loop.run_until_complete(self.cache.discard(name))
        if name in self.recency:
            self.discarded.add(name)
            self.forget_if_discarded(name)

    def forget_if_discarded(self, name: str) -> None:
        if name in self.discarded and name not in self.pinned():
            self.discarded.discard(name)
            self.recency.remove(name)

    @rule(units=st.integers(1, 4))
    def reserve(self, units: int) -> None:
        expected = self.model_room(units)
        try:
            kept = self.loop.run_until_complete(self.cache.reserve("it", Size(units * VOXEL_BYTES, 2)))
        except BudgetExceededError:
            assert not expected
        else:
            assert expected
            self.reservations.append((units, kept))

    @precondition(lambda self: self.reservations)
    @rule()
    def unreserve(self) -> None:
        _, kept = self.reservations.pop()
        kept.release()  # type: ignore[attr-defined]

    @invariant()
    def as_the_model_says(self) -> None:
        status = self.cache.status()
        assert [entry.volume_id for entry in status.entries] == self.recency
        reserved = sum(units for units, _ in self.reservations) * VOXEL_BYTES
        assert status.resident_bytes == self.renderer.resident_bytes + reserved <= status.budget_bytes
        assert status.pinned_bytes == self.pinned_units() * VOXEL_BYTES
        assert all(held.resident in self.renderer.residents for held in self.leases)


CacheMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestCacheMachine = CacheMachine.TestCase


class TestMemory:
    @pytest.mark.parametrize(
        ("text", "count"),
        [
            ("1073741824", 1 << 30),
            ("8GiB", 8 << 30),
            (" 500 MB ", 500_000_000),
            ("1.5g", 1_500_000_000),
            ("64kib", 64 << 10),
            ("2T", 2 * 10**12),
        ],
    )
    def test_sizes(self, text: str, count: int) -> None:
        assert parse_bytes(text, "--x") == count

    @pytest.mark.parametrize("text", ["", "GiB", "-1", "8 apples", "8iB", "0", "0.1", "1e9", "nan", "8GiBB"])
    def test_what_is_no_size(self, text: str) -> None:
        with pytest.raises(StartupError, match="--memory-budget"):
            parse_bytes(text, "--memory-budget")

    def test_default_is_at_most_half_of_the_machine(self) -> None:
        assert 0 < default_budget_bytes() < 1 << 50

    @pytest.mark.parametrize(
        ("membership", "files", "limit"),
        [
            ("0::/a/b\n", {"a/memory.max": "300", "a/b/memory.max": "max"}, 300),
            ("0::/a/b\n", {"a/memory.max": "300", "a/b/memory.max": "200"}, 200),
            ("0::/\n", {"memory.max": "77"}, 77),
            ("0::/host/path\n", {"memory.max": "88"}, 88),
            ("0::/\n", {"memory.max": "max"}, None),
            ("0::/\n", {}, None),
            ("4:cpu,memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "55"}, 55),
            ("4:memory:/docker/abc\n", {"memory/memory.limit_in_bytes": "66"}, 66),
            ("4:memory:/x\n0::/\n", {"memory/x/memory.limit_in_bytes": "55", "unified/memory.max": "44"}, 44),
            ("3:cpuset:/x\n", {"memory/x/memory.limit_in_bytes": "55"}, None),
        ],
    )
    def test_cgroup_limits(self, tmp_path: Path, membership: str, files: dict[str, str], limit: int | None) -> None:
        (tmp_path / "cgroup").write_text(membership)
        for name, text in files.items():
            (tmp_path / "sys" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "sys" / name).write_text(text + "\n")
        assert memory.cgroup_limit_bytes(tmp_path / "cgroup", tmp_path / "sys") == limit

    def test_no_cgroups_at_all(self, tmp_path: Path) -> None:
        assert memory.cgroup_limit_bytes(tmp_path / "none", tmp_path) is None

    def test_default_respects_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(memory, "cgroup_limit_bytes", lambda: 1000)
        assert default_budget_bytes() == 500


def test_residency_knows_of_no_network_and_no_device() -> None:
    forbidden = {"grpc", "starlette", "websockets", "cupy", "pydicom"}
    code = f"import sys, render.residency; print(sorted({forbidden} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

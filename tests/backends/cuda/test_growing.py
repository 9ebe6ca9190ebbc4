"""A volume that is drawn on the card while its slices arrive: each state, and the whole, which is that of an upload."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from render.backends.cpu.renderer import CpuRenderer
from render.backends.cuda.frames import Sampling
from render.backends.cuda.renderer import CudaRenderer
from render.backends.cuda.resident import CudaVolume
from render.errors import DeviceLostError, DeviceMemoryError
from render.frame import Frame, Quality
from render.growth import Growth, Span
from render.lease import Lease, Size
from render.place import Seat
from render.residency import VolumeCache
from render.volume import Volume
from tests.backends.cuda.arrivals import ARRIVALS, Source, grown
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.scenes import WORKS, make_view, slanted_camera
from tests.comparison import compare
from tests.reference import render_reference

BUDGET = 1 << 29
STORAGES = ("int16", "padded", "float32")


@pytest.fixture
def device(host_kernels) -> FakeDevice:
    return FakeDevice(host_kernels)


@pytest.fixture
def renderer(device) -> CudaRenderer:
    return CudaRenderer(device, BUDGET, chunk_bytes=1000)


def memory_of(resident: CudaVolume) -> dict[str, np.ndarray]:
    with resident.in_use() as held:
        parts = {"codes": held.codes.memory.copy()}
        for n, level in enumerate(held.levels):
            parts |= {f"{name} {n}": getattr(level, name).memory.copy() for name in ("low", "high", "flags")}
        if held.texture is not None:
            parts["texels"] = held.texture.texels.copy()
    return parts


def drawn(renderer: CudaRenderer, resident: CudaVolume, work: str, **options) -> Frame:
    view = make_view(resident.volume, work, slanted_camera(resident.volume.geometry))
    return renderer.render(view, {resident.volume.id: resident}, **options)


@pytest.mark.parametrize("sampling", [Sampling.BY_QUALITY, Sampling.EXACT])
@pytest.mark.parametrize("stored", STORAGES)
def test_what_is_whole_in_the_end_is_what_an_upload_makes(renderer, device, stored, sampling) -> None:
    renderer = CudaRenderer(device, BUDGET, chunk_bytes=1000, sampling=sampling)
    source = Source(stored)
    ours, expected = grown(renderer, source), renderer.upload(source.whole)
    first, second = memory_of(ours), memory_of(expected)
    assert first.keys() == second.keys()
    assert ("texels" in first) == (sampling is Sampling.BY_QUALITY)
    if sampling is Sampling.BY_QUALITY:
        offset = 0 if stored == "float32" else 32768
        np.testing.assert_array_equal(first["texels"] - np.float64(offset), source.whole.codes)
    for name, part in first.items():
        np.testing.assert_array_equal(part, second[name], err_msg=name)
    assert ours.statistics == expected.statistics
    assert (ours.code_range, ours.has_invalid, ours.nbytes) == (
        expected.code_range,
        expected.has_invalid,
        expected.nbytes,
    )
    assert ours.volume.invalid_code == source.whole.invalid_code


def test_each_slice_crosses_the_bus_once(renderer, device) -> None:
    source = Source("int16")
    grown(renderer, source)
    assert sum(device.uploads) == source.whole.nbytes


@pytest.mark.parametrize("quality", [Quality(), Quality(step_factor=2.0)], ids=["full", "interactive"])
@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("stored", STORAGES)
def test_a_state_shows_what_is_there_and_is_never_final(renderer, device, stored, work, quality) -> None:
    source = Source(stored)
    state = None
    for spans in ARRIVALS[:2]:
        state = renderer.grow(state, source.take(*spans), spans)
        frame = drawn(renderer, state, work, quality=quality)
        missing = 21 - int(source.there.sum())
        assert (frame.missing_slices, frame.volume_revision) == (missing, source.revision)
        assert not frame.is_final
        if quality.is_final:
            assert compare(render_reference(frame.view, source.marked()), frame, source.marked()).agrees
            assert not compare(render_reference(frame.view, source.whole), frame, source.whole).agrees
        statistics = renderer.upload(source.marked()).statistics
        assert state.statistics == statistics
    assert device.programs[-1].texture is False  # of the last upload
    assert any(program.texture for program in device.programs) != quality.is_final


def test_a_state_goes_on_being_drawn_while_the_next_is_made(renderer) -> None:
    source = Source("int16")
    before = renderer.grow(None, source.take((9, 13)), [(9, 13)])
    held = memory_of(before)
    renderer.grow(before, source.take((0, 3)), [(0, 3)])
    after = memory_of(before)
    assert all(np.array_equal(held[name], after[name]) for name in held if name[0] in "lhf")
    assert drawn(renderer, before, "thin").missing_slices == 17


def test_a_quick_load_is_an_upload(renderer, device) -> None:
    source = Source("int16")
    resident = renderer.grow(None, source.take((0, 21)), [(0, 21)])
    assert "mark" not in device.launches
    assert resident.ground is None


@pytest.mark.parametrize("nth", range(1, 17))
def test_a_state_without_memory_is_tried_again_and_leaves_the_one_before(renderer, device, nth) -> None:
    source = Source("padded")
    before = renderer.grow(None, source.take(*ARRIVALS[0]), ARRIVALS[0])
    device.fail_allocation = nth
    rest = source.rest()
    whole = renderer.grow(before, source.take(*rest), rest)
    assert device.fail_allocation == 0
    ours, expected = memory_of(whole), memory_of(renderer.upload(source.whole))
    assert all(np.array_equal(ours[name], expected[name]) for name in ours)


def test_what_a_state_takes_is_what_it_says_and_all_of_it_comes_back(renderer, device) -> None:
    source = Source("float32")
    before = device.used
    state = renderer.grow(None, source.take(*ARRIVALS[0]), ARRIVALS[0])
    assert device.used - before <= state.nbytes <= renderer.estimate_bytes(source.whole.nbytes, 4)
    rest = source.rest()
    whole = renderer.grow(state, source.take(*rest), rest)
    del state
    assert device.used - before <= whole.nbytes
    renderer.release(whole)
    assert device.used == before


def test_hundreds_of_states_and_given_up_loads_return_every_byte(renderer, device) -> None:
    for n in range(100):
        source = Source("int16")
        state = renderer.grow(None, source.take(*ARRIVALS[0]), ARRIVALS[0])
        drawn(renderer, state, "color")
        if n % 2:
            rest = source.rest()
            renderer.release(renderer.grow(state, source.take(*rest), rest))
        del state  # forgotten, not released
    assert device.used == 0


# Behind the cache


class PartsLoader:
    """A `GrowingLoader` that hands over `ARRIVALS`, and lets the test act after each."""

    def __init__(self, source: Source, after: dict[int, object]) -> None:
        self.source, self.after = source, after

    def __call__(self, *_: object) -> Volume:
        raise AssertionError("asked for the whole")

    def grow(self, progress, cancelled, growth: Growth) -> tuple[Volume, Sequence[Span]]:
        for n, spans in enumerate(ARRIVALS):
            growth.grown(self.source.take(*spans), spans)
            self.after.get(n, lambda: None)()
        rest = self.source.rest()
        return self.source.take(*rest), rest


async def loaded(cache: VolumeCache, source: Source, after: dict[int, object]) -> Lease:
    loader = PartsLoader(source, after)
    return await cache.lease("blobs", loader, Size(source.whole.nbytes, 2), holder="test")


async def test_a_load_behind_the_cache_grows_and_ends_whole(device, renderer) -> None:
    cache = VolumeCache(renderer, BUDGET)
    source = Source("int16")
    lease = await loaded(cache, source, {})
    assert device.launches.count("mark") == 1
    assert lease.is_whole
    expected = memory_of(renderer.upload(source.whole))
    assert all(np.array_equal(part, expected[name]) for name, part in memory_of(lease.resident).items())
    lease.release()
    await cache.close()
    del lease, cache
    gc.collect()
    assert device.used == 0


@pytest.mark.parametrize("when", [0, 1, 2])
async def test_slices_of_a_state_that_found_no_memory_come_with_the_next(device, renderer, when, monkeypatch) -> None:
    cache = VolumeCache(renderer, BUDGET)
    source = Source("int16")
    grow, calls = renderer.grow, []

    def without_memory(before, volume, slices):
        calls.append(tuple(slices))
        if len(calls) == when + 1:
            raise DeviceMemoryError("cuda:0 is full")
        return grow(before, volume, slices)

    monkeypatch.setattr(renderer, "grow", without_memory)
    with await loaded(cache, source, {}) as lease:
        expected = memory_of(renderer.upload(source.whole))
        assert all(np.array_equal(part, expected[name]) for name, part in memory_of(lease.resident).items())
    taken = [span for n, spans in enumerate(calls) if n != when for span in spans]
    assert sum(last - first for first, last in taken) == 21
    await cache.close()


@pytest.mark.parametrize("when", [0, 1, 2])
async def test_a_card_that_is_lost_amid_a_load_costs_nothing_but_the_parts(device, renderer, when) -> None:
    with contextlib.closing(CpuRenderer(1)) as cpu:
        cache = VolumeCache(renderer, BUDGET, host_budget_bytes=BUDGET, fallback=lambda: Seat(cpu, BUDGET))
        source = Source("int16")
        with await loaded(cache, source, {when: lambda: setattr(device, "lost", True)}) as lease:
            assert lease.is_whole
            assert lease.place.name == "cpu"
            expected = cpu.upload(source.whole)
            assert lease.resident.statistics == expected.statistics
            view = make_view(source.whole, "max", slanted_camera(source.whole.geometry))
            ours, theirs = (cpu.render(view, {"blobs": each}) for each in (lease.resident, expected))
            np.testing.assert_array_equal(ours.values, theirs.values)
        await cache.close()


async def test_who_holds_a_part_on_a_lost_card_waits_for_the_whole_elsewhere(device, renderer, monkeypatch) -> None:
    arrived = asyncio.Event()
    go_on = asyncio.Event()
    loop = asyncio.get_running_loop()

    def hold() -> None:
        loop.call_soon_threadsafe(arrived.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(30)

    with contextlib.closing(CpuRenderer(1)) as cpu:
        cache = VolumeCache(renderer, BUDGET, host_budget_bytes=BUDGET, fallback=lambda: Seat(cpu, BUDGET))
        source = Source("int16")
        loader = PartsLoader(source, {0: hold})
        part = await cache.lease("blobs", loader, Size(source.whole.nbytes, 2), holder="test", in_part=True)
        assert not part.is_whole
        await arrived.wait()
        device.lost = True
        with pytest.raises(DeviceLostError) as caught:
            drawn(renderer, part.resident, "thin")
        cache.lose(renderer, caught.value.message)
        uploading, finish, upload = asyncio.Event(), threading.Event(), cpu.upload

        def slow(volume: Volume) -> Any:
            loop.call_soon_threadsafe(uploading.set)
            assert finish.wait(30)
            return upload(volume)

        monkeypatch.setattr(cpu, "upload", slow)
        early = asyncio.create_task(part.settled())
        await asyncio.sleep(0)
        assert not early.done()
        go_on.set()
        await uploading.wait()
        assert part.place.name == "cpu"  # where the part is not
        late = asyncio.create_task(part.settled())
        await asyncio.sleep(0)
        assert not late.done()
        finish.set()
        await asyncio.gather(early, late)
        assert part.is_whole
        assert part.place.name == "cpu"
        cpu.render(make_view(source.whole, "thin", slanted_camera(source.whole.geometry)), {"blobs": part.resident})
        part.release()
        await cache.close()

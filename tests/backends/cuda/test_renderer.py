"""The renderer around the kernels: memory, streams, bands, and what happens when a card fails."""

from __future__ import annotations

import dataclasses
import gc
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from render.backends.cuda import resident as resident_module
from render.backends.cuda.frames import Sampling
from render.backends.cuda.renderer import CudaRenderer
from render.backends.cuda.resident import CudaVolume
from render.backends.tables import transfer_tables
from render.errors import (
    BudgetExceededError,
    DeviceError,
    DeviceLostError,
    DeviceMemoryError,
    RenderCancelledError,
    VolumeNotFoundError,
)
from render.frame import Frame, Quality
from render.view import Layer
from render.volume import Volume
from tests import phantoms
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.scenes import WORKS, make_view, slanted_camera
from tests.comparison import compare
from tests.phantoms import FLOAT32, GRIDS, INT16, INT16_PADDED
from tests.reference import final_step_mm, rays, render_reference, sample, sample_range

BUDGET = 1 << 29
INTERACTIVE = Quality(step_factor=2.0)


@pytest.fixture
def device(host_kernels) -> FakeDevice:
    return FakeDevice(host_kernels)


@pytest.fixture
def renderer(device) -> CudaRenderer:
    return CudaRenderer(device, BUDGET)


def volume_of(stored=INT16) -> Volume:
    return phantoms.blobs(GRIDS["oblique"], stored)


def drawn(renderer: CudaRenderer, resident: CudaVolume, work: str = "max", **options) -> Frame:
    view = make_view(resident.volume, work, slanted_camera(resident.volume.geometry))
    return renderer.render(view, {resident.volume.id: resident}, **options)


def agrees(frame: Frame, volume: Volume) -> bool:
    return compare(render_reference(frame.view, volume), frame, volume).agrees


# Memory


@pytest.mark.parametrize("stored", [INT16, FLOAT32, INT16_PADDED], ids=["int16", "float32", "padded"])
@pytest.mark.parametrize("shape", [(20, 24, 28), (1, 1, 1), (1, 90, 3), (65, 9, 17)], ids=str)
@pytest.mark.parametrize("sampling", Sampling)
def test_what_is_taken_is_what_is_said_and_no_more_than_was_estimated(device, stored, shape, sampling) -> None:
    renderer = CudaRenderer(device, BUDGET, sampling=sampling)
    volume = phantoms.blobs(phantoms.grid(shape, (1.0, 1.0, 1.0)), stored)
    before = device.used
    resident = renderer.upload(volume)
    for n in range(10):  # more transfer functions than are remembered
        view = make_view(volume, "color", slanted_camera(volume.geometry), (5, 5))
        function = dataclasses.replace(view.layers[0].transfer_function, opacity_points=((0.0, n / 20),))
        view = dataclasses.replace(view, layers=(Layer(volume.id, transfer_function=function),))
        renderer.render(view, {volume.id: resident})
    taken = device.used - before
    assert taken <= resident.nbytes <= renderer.estimate_bytes(volume.nbytes, volume.codes.itemsize)
    assert taken >= volume.nbytes * (1 if sampling is Sampling.EXACT else 2)
    renderer.release(resident)
    assert device.used == before


def test_a_thousand_loads_return_to_the_baseline(device, renderer) -> None:
    volume = phantoms.blobs(phantoms.grid((9, 5, 4), (1.0, 1.0, 1.0)), INT16)
    view = make_view(volume, "color_shaded", slanted_camera(volume.geometry), (4, 3))
    held = set()
    for _ in range(1000):
        resident = renderer.upload(volume)
        renderer.render(view, {volume.id: resident}, quality=INTERACTIVE)
        renderer.release(resident)
        held.add(device.memory().held)
    assert device.used == 0
    assert len(held) <= 2  # the pool does not grow
    renderer.close()
    assert device.is_closed


def test_a_volume_of_more_than_its_share_has_no_texture(device) -> None:
    volume = volume_of()
    renderer = CudaRenderer(device, 4 * volume.nbytes - 1)
    resident = renderer.upload(volume)
    assert renderer.estimate_bytes(volume.nbytes, 2) < 2 * volume.nbytes + resident.nbytes - volume.nbytes
    assert agrees(drawn(renderer, resident), volume)
    drawn(renderer, resident, quality=INTERACTIVE)
    assert not any(program.texture for program in device.programs)
    twice = CudaRenderer(device, 4 * volume.nbytes).upload(volume)
    assert twice.nbytes == resident.nbytes + volume.nbytes


def test_no_memory_for_a_texture_is_no_error(device, renderer) -> None:
    volume = volume_of()
    device.fail_allocation = 1  # the texture comes first
    resident = renderer.upload(volume)
    frame = drawn(renderer, resident, quality=INTERACTIVE)
    assert np.isfinite(frame.values).any()
    assert not any(program.texture for program in device.programs)


@pytest.mark.parametrize("nth", range(2, 12))
def test_an_upload_that_finds_no_memory_tries_again(device, renderer, nth) -> None:
    device.fail_allocation = nth
    volume = volume_of()
    resident = renderer.upload(volume)
    assert device.fail_allocation == 0
    assert agrees(drawn(renderer, resident), volume)


def test_what_does_not_fit_is_refused_with_the_figures_and_leaves_nothing(host_kernels) -> None:
    volume = volume_of()
    device = FakeDevice(host_kernels, total=volume.nbytes // 2)
    renderer = CudaRenderer(device, BUDGET)
    with pytest.raises(BudgetExceededError, match=r"does not fit on cuda:0: .* free of ") as caught:
        renderer.upload(volume)
    assert isinstance(caught.value, DeviceMemoryError)
    assert caught.value.details["free_bytes"] == device.total
    del caught
    gc.collect()
    assert device.used == 0


@pytest.mark.parametrize("work", ["thin", "color_shaded"])
def test_a_frame_without_room_is_refused_alone(device, renderer, work) -> None:
    volume = volume_of()
    resident = renderer.upload(volume)
    device.kept = 0
    device.total = device.used + 4096
    with pytest.raises(DeviceMemoryError, match="a picture of 37 x 29 does not fit"):
        drawn(renderer, resident, work)
    assert renderer.lost is None
    device.total = 1 << 30
    assert agrees(drawn(renderer, resident, work), volume)


def test_a_frame_without_room_takes_what_the_pool_keeps(device, renderer) -> None:
    volume = volume_of()
    resident = renderer.upload(volume)
    device.fail_allocation = 1
    device.kept = 12345
    assert agrees(drawn(renderer, resident), volume)
    assert device.kept != 12345


# Order


@pytest.mark.parametrize("chunk_bytes", [7, 100, 1344, 5000, 1 << 20])
def test_chunks_of_any_size_bring_every_voxel(device, chunk_bytes) -> None:
    volume = volume_of(INT16_PADDED)
    renderer = CudaRenderer(device, BUDGET, chunk_bytes=chunk_bytes)
    resident = renderer.upload(volume)
    assert sum(device.uploads) == volume.nbytes
    assert max(device.uploads) <= chunk_bytes
    with resident.in_use() as held:
        np.testing.assert_array_equal(held.codes.memory.view(np.int16), volume.codes.reshape(-1))
        texels = held.texture.texels.astype(np.int32) - 32768
    np.testing.assert_array_equal(texels, volume.codes)
    assert agrees(drawn(renderer, resident), volume)


def test_a_frame_waits_once(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    for work in WORKS:
        drawn(renderer, resident, work)  # tables are made once
        before = device.waits
        drawn(renderer, resident, work)
        assert device.waits == before + 1, work


def test_a_transfer_function_is_uploaded_once_and_a_window_never(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    drawn(renderer, resident, "color")
    sent = len(device.uploads)
    drawn(renderer, resident, "color")
    drawn(renderer, resident, "thin")
    drawn(renderer, resident, "color_shaded")  # the same curves in another light
    assert len(device.uploads) == sent
    drawn(renderer, resident, "color", quality=INTERACTIVE)  # another step, another opacity
    assert len(device.uploads) == sent + 2


def test_a_transfer_function_is_tabulated_once(renderer, monkeypatch) -> None:
    made = []

    def counting(function, step_mm, *codes):
        made.append((function, step_mm))
        return transfer_tables(function, step_mm, *codes)

    monkeypatch.setattr(resident_module, "transfer_tables", counting)
    resident = renderer.upload(volume_of())
    for work in ("color", "color", "color_shaded", "thin", "color"):
        drawn(renderer, resident, work)
    assert len(made) == 1
    drawn(renderer, resident, "color", quality=INTERACTIVE)
    assert len(made) == 2
    drawn(renderer, resident, "color")
    assert len(made) == 2


def test_a_chunk_of_an_upload_fills_its_texture_in_one_launch(device, host_kernels) -> None:
    volume = volume_of()
    slice_bytes = volume.nbytes // volume.geometry.shape[0]
    for slices_a_chunk in (3, 7, volume.geometry.shape[0]):
        device.launches.clear()
        CudaRenderer(device, BUDGET, chunk_bytes=slices_a_chunk * slice_bytes).upload(volume)
        assert device.launches.count("texels") == -(-volume.geometry.shape[0] // slices_a_chunk)


@pytest.mark.parametrize("work", WORKS)
def test_samples_are_counted_on_the_card(renderer, work) -> None:
    """As many are possible as the reference counts. Of noise all are needed, but behind what is opaque."""
    volume = phantoms.noise(GRIDS["oblique"], INT16)
    frame = drawn(renderer, renderer.upload(volume), work)
    possible = frame.samples_taken + frame.samples_skipped
    assert possible == pytest.approx(samples_inside(frame, volume), rel=0.002)  # one on a face may be in or out
    if work.startswith("color"):
        assert 0 < frame.samples_taken < possible
    else:
        assert frame.samples_taken == possible
    again = drawn(renderer, renderer.upload(volume), work)
    assert (again.samples_taken, again.samples_skipped) == (frame.samples_taken, frame.samples_skipped)


def samples_inside(frame: Frame, volume: Volume) -> int:
    """Count the samples along all rays that lie within the volume, in float64."""
    view = frame.view
    bases, directions, _ = rays(view, np.indices((view.viewport.height_px, view.viewport.width_px)).reshape(2, -1).T)
    if view.slab_mm == 0:
        return int(sample(volume, bases)[2].sum())
    step = final_step_mm(volume)
    first, count = sample_range(view, volume, bases, directions, step)
    t = (first[:, None] + np.arange(count) + 0.5) * step
    return int(sample(volume, bases[:, None] + t[..., None] * directions[:, None])[2].sum())


def test_a_maximum_skips_what_can_t_exceed_it(renderer) -> None:
    frame = drawn(renderer, renderer.upload(volume_of()), "max")
    assert min(frame.samples_taken, frame.samples_skipped) > 0


def test_nothing_of_a_constant_volume_is_sampled_for_its_mean(renderer) -> None:
    volume = volume_of()
    constant = dataclasses.replace(volume, codes=np.full_like(volume.codes, 7))
    frame = drawn(renderer, renderer.upload(constant), "mean")
    assert frame.samples_taken == 0
    assert frame.samples_skipped > 1000


def test_quality_decides_how_voxels_are_sampled(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    device.programs.clear()
    drawn(renderer, resident)
    assert [program.texture for program in device.programs] == [False]
    device.programs.clear()
    drawn(renderer, resident, quality=INTERACTIVE)
    assert [program.texture for program in device.programs] == [True]


def test_bands_are_given_up_between_launches(device) -> None:
    renderer = CudaRenderer(device, BUDGET, band_samples=1)
    resident = renderer.upload(volume_of())
    device.launches.clear()
    answers = iter([False, False, True])
    with pytest.raises(RenderCancelledError, match="13 rows left"):
        drawn(renderer, resident, cancelled=lambda: next(answers))
    assert device.launches == ["extreme"] * 2
    whole = drawn(renderer, resident)
    assert device.launches == ["extreme"] * 6
    assert agrees(whole, resident.volume)


def test_no_more_than_two_bands_are_ahead(device) -> None:
    renderer = CudaRenderer(device, BUDGET, band_samples=1)
    resident = renderer.upload(volume_of())
    before, seen = device.waits, []
    device.on_launch = lambda kernel: seen.append(device.waits - before)
    drawn(renderer, resident)
    assert seen == [0, 0, 1, 2]


def test_frames_at_the_same_time_are_those_drawn_alone(renderer) -> None:
    volume = volume_of()
    resident = renderer.upload(volume)
    alone = {work: drawn(renderer, resident, work).pixels for work in WORKS}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda work: (work, drawn(renderer, resident, work).pixels), list(WORKS) * 3))
    for work, pixels in together:
        np.testing.assert_array_equal(pixels, alone[work])


def test_a_frame_is_drawn_while_a_slow_upload_is_under_way(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    arrived, go_on = threading.Event(), threading.Event()

    def hold(kernel: str) -> None:
        if kernel == "bricks":
            arrived.set()
            assert go_on.wait(30)

    device.on_launch = hold
    other = phantoms.noise(GRIDS["sheared"], INT16)
    with ThreadPoolExecutor(1) as pool:
        uploading = pool.submit(renderer.upload, other)
        assert arrived.wait(30)
        assert agrees(drawn(renderer, resident), resident.volume)
        assert not uploading.done()
        go_on.set()
        assert agrees(drawn(renderer, uploading.result(30)), other)


def test_a_volume_is_released_after_its_last_frame(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    arrived, go_on = threading.Event(), threading.Event()

    def hold(kernel: str) -> None:
        arrived.set()
        assert go_on.wait(30)

    device.on_launch = hold
    with ThreadPoolExecutor(2) as pool:
        frame = pool.submit(drawn, renderer, resident)
        assert arrived.wait(30)
        released = pool.submit(renderer.release, resident)
        with pytest.raises(TimeoutError):
            released.result(0.05)
        go_on.set()
        assert agrees(frame.result(30), resident.volume)
        released.result(30)
    del frame, released
    assert device.used == 0
    with pytest.raises(VolumeNotFoundError, match="has been released"):
        drawn(renderer, resident)


# Failures


def test_a_failure_that_passes_costs_one_frame(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    device.fail_launch = 1
    with pytest.raises(DeviceError, match="cuda:0 failed running extreme") as caught:
        drawn(renderer, resident)
    assert not isinstance(caught.value, DeviceLostError)
    assert renderer.lost is None
    assert agrees(drawn(renderer, resident), resident.volume)


def test_an_error_that_sticks_marks_the_renderer_dead(device, renderer) -> None:
    resident = renderer.upload(volume_of())
    device.fail_launch, device.sticks = 1, True
    with pytest.raises(DeviceLostError, match=r"does nothing any more: .*IllegalAddress"):
        drawn(renderer, resident)
    assert renderer.lost is not None
    launched = len(device.launches)
    for attempt in (lambda: drawn(renderer, resident), lambda: renderer.upload(volume_of())):
        with pytest.raises(DeviceLostError):
            attempt()
    assert len(device.launches) == launched
    renderer.release(resident)


def test_an_upload_may_lose_the_card_too(device, renderer) -> None:
    device.fail_launch, device.sticks = 1, True
    with pytest.raises(DeviceLostError, match="running bricks"):
        renderer.upload(volume_of())
    assert renderer.lost is not None


def test_every_byte_of_a_large_chunk_arrives(device) -> None:
    renderer = CudaRenderer(device, BUDGET, chunk_bytes=(3 << 20) + 1234)  # several threads fill it
    codes = np.random.default_rng(3).integers(-1000, 2000, (33, 251, 259), np.int16)
    resident = renderer.upload(phantoms.store("large", phantoms.grid(codes.shape, (1.0, 1.0, 1.0)), codes, INT16))
    with resident.in_use() as held:
        assert held.codes.memory.tobytes() == resident.volume.codes.tobytes()
    renderer.close()

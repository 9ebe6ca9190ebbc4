"""What marching saves, and that it saves nothing that shows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from render.backends.cuda import grid
from render.backends.cuda.kernels import COUNT_PLACES, launch_grid
from render.backends.cuda.parameters import plan_frame
from render.errors import RenderCancelledError
from render.frame import FINAL, Frame
from render.transfer import TransferFunction
from render.view import Layer, View
from render.volume import Volume
from tests import phantoms
from tests.backends.cuda.shim_renderer import INVALID, Bounds, ShimRenderer, ShimVolume, kernel_inputs
from tests.backends.scenes import WORKS, camera_at, holes_of, make_view, slanted_camera, verdict
from tests.comparison import compare
from tests.phantoms import FLOAT32, GRIDS, INT16, INT16_PADDED
from tests.phantoms import grid as geometry_of
from tests.reference import render_reference

STORAGES = {"int16": INT16, "int16_padded": INT16_PADDED, "float32": FLOAT32}
CUBE = geometry_of((48, 48, 48), (1.0, 1.0, 1.0))


def drawn(renderer: ShimRenderer, resident: ShimVolume, view: View) -> Frame:
    return renderer.render(view, {resident.volume.id: resident})


def without_skipping(resident: ShimVolume) -> ShimVolume:
    """Every brick may hold anything."""
    levels = []
    for bounds in resident.levels:
        low, high = (np.full_like(bounds.low, code) for code in resident.code_range)
        levels.append(Bounds(low, high, np.full_like(bounds.flags, INVALID if resident.has_invalid else 0)))
    return dataclasses.replace(resident, levels=levels)


def body(sign: int) -> Volume:
    """Return a ball of noise in air, off centre: bricks of one value around it, of many within."""
    k, j, i = np.indices((72, 72, 72)) - np.reshape([30, 34, 40], (3, 1, 1, 1))
    noise = np.random.default_rng(5).uniform(0, 800, k.shape)
    values = np.where(k**2 + j**2 + i**2 < 14**2, noise, -1000)
    return phantoms.store("body", geometry_of(k.shape, (1.0, 1.0, 1.0)), sign * values, INT16)


def reads_of(host_kernels, renderer: ShimRenderer, resident: ShimVolume, view: View) -> int:
    kernels = host_kernels(str(resident.volume.codes.dtype), renderer.texture)
    kernels.take_reads()
    drawn(renderer, resident, view)
    return kernels.take_reads()


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("stored", STORAGES)
@pytest.mark.parametrize("texture", [False, True], ids=["exact", "texture"])
def test_skipping_changes_nothing(host_kernels, work, stored, texture) -> None:
    storage = STORAGES[stored]
    volume = phantoms.blobs(GRIDS["oblique"], storage, holes=holes_of(storage))
    view = make_view(volume, work, slanted_camera(volume.geometry))
    renderer = ShimRenderer(host_kernels, texture=texture)
    resident = renderer.upload(volume)
    shipped, dense = (drawn(renderer, r, view).pixels for r in (resident, without_skipping(resident)))
    if texture and resident.has_invalid:
        # Bricks that hold invalid voxels are sampled exactly, so that claiming them everywhere shows.
        assert np.isnan(shipped.astype(float)).sum() == np.isnan(dense.astype(float)).sum()
        return
    # Sums in another order; weights below 2^-14 dropped or not.
    np.testing.assert_allclose(shipped.astype(float), dense.astype(float), atol=1.0 if view.is_color else 0.1)


@pytest.mark.parametrize("work", ["max", "min", "mean", "color", "color_shaded"])
@pytest.mark.parametrize("texture", [False, True], ids=["exact", "texture"])
def test_skipping_saves_most_of_the_reads(host_kernels, work, texture) -> None:
    renderer = ShimRenderer(host_kernels, texture=texture)
    resident = renderer.upload(body(-1 if work == "min" else 1))
    view = make_view(resident.volume, work, slanted_camera(resident.volume.geometry))
    some = reads_of(host_kernels, renderer, resident, view)
    everything = reads_of(host_kernels, renderer, without_skipping(resident), view)
    assert 0 < some < 0.5 * everything, some / everything


def test_a_constant_is_averaged_without_a_read(host_kernels) -> None:
    volume, _ = phantoms.constant(CUBE, INT16, 300.0)
    renderer = ShimRenderer(host_kernels)
    resident = renderer.upload(volume)
    view = make_view(volume, "mean", slanted_camera(CUBE))
    assert reads_of(host_kernels, renderer, resident, view) == 0
    values = drawn(renderer, resident, view).values
    assert values is not None
    assert np.nanmax(np.abs(values - 300)) < 1e-3
    assert np.isfinite(values).mean() > 0.2


def test_the_greatest_brick_goes_first(host_kernels) -> None:
    """Values rise along the rays, so that in their order every brick would be better than the one before."""
    values = np.broadcast_to(10.0 * np.arange(48), CUBE.shape)
    renderer = ShimRenderer(host_kernels)
    center = CUBE.center_mm
    camera = camera_at(np.subtract(center, [200, 1, 2]), center, parallel_scale_mm=20.0)
    resident = renderer.upload(phantoms.store("ramp", CUBE, values, INT16))
    view = make_view(resident.volume, "max", camera)
    some = reads_of(host_kernels, renderer, resident, view)
    everything = reads_of(host_kernels, renderer, without_skipping(resident), view)
    assert 0 < some < 0.4 * everything, some / everything


def test_an_opaque_wall_ends_the_rays(host_kernels) -> None:
    volume = phantoms.store("wall", CUBE, np.random.default_rng(2).uniform(0, 100, CUBE.shape), INT16)
    renderer = ShimRenderer(host_kernels)
    resident = renderer.upload(volume)
    reads = []
    for opacity in (0.999, 0.001):
        function = TransferFunction(((-50, opacity),), ((0, 1.0, 0.5, 0.2),))
        view = make_view(volume, "color", slanted_camera(CUBE))
        view = dataclasses.replace(view, layers=(Layer(volume.id, transfer_function=function),))
        reads.append(reads_of(host_kernels, renderer, resident, view))
    assert reads[0] < 0.1 * reads[1]


@pytest.mark.parametrize("work", WORKS)
def test_bands_of_any_height_make_the_same_picture(host_kernels, work) -> None:
    volume = phantoms.blobs(GRIDS["sheared"], INT16)
    view = make_view(volume, work, slanted_camera(volume.geometry))
    pictures = []
    for rows in (29, 1, 5, 8, 100):
        renderer = ShimRenderer(host_kernels, band_rows=rows)
        pictures.append(drawn(renderer, renderer.upload(volume), view).pixels)
        assert len(renderer.launches) == -(-29 // rows)
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_a_band_writes_its_own_rows_only(host_kernels) -> None:
    volume = phantoms.blobs(GRIDS["sheared"], INT16)
    renderer = ShimRenderer(host_kernels)
    resident = renderer.upload(volume)
    view = make_view(volume, "mean", slanted_camera(volume.geometry))
    plan = plan_frame(view, volume, has_invalid=False, quality=FINAL)
    kernels = host_kernels("int16", False)
    out = np.full(plan.shape_px, 12345.0, np.float32)
    inputs = kernel_inputs(kernels, plan, resident, None)
    # A grid larger than the band needs: threads beyond it must not write either.
    kernels.launch(
        "mean",
        launch_grid(plan.shape_px[1] + 40, 29),
        plan.parameters,
        resident.codes,
        resident.texture,
        *inputs,
        out,
        np.zeros((COUNT_PLACES, 2), np.uint64),
        np.int32(11),
        np.int32(18),
    )
    np.testing.assert_array_equal((out != 12345).any(axis=1), (np.arange(29) >= 11) & (np.arange(29) < 18))
    whole = drawn(renderer, resident, view).values
    assert whole is not None
    np.testing.assert_array_equal(out[11:18], whole[11:18])


def test_a_frame_is_given_up_between_bands(host_kernels) -> None:
    volume = phantoms.blobs(GRIDS["sheared"], INT16)
    renderer = ShimRenderer(host_kernels, band_rows=4)
    resident = renderer.upload(volume)
    answers = iter([False, False, True])
    view = make_view(volume, "color", slanted_camera(volume.geometry))
    with pytest.raises(RenderCancelledError, match="21 rows"):
        renderer.render(view, {volume.id: resident}, cancelled=lambda: next(answers))
    assert len(renderer.launches) == 2


@pytest.mark.parametrize("work", WORKS)
@pytest.mark.parametrize("texture", [False, True], ids=["exact", "texture"])
def test_a_negative_slope_agrees(host_kernels, work, texture) -> None:
    stored = phantoms.blobs(GRIDS["oblique"], INT16)
    volume = dataclasses.replace(stored, codes=-stored.codes, slope=-1.0)
    view = make_view(volume, work, slanted_camera(volume.geometry))
    exact = render_reference(view, volume)
    assert compare(exact, drawn_once(ShimRenderer(host_kernels), volume, view), volume).agrees
    if texture:
        got, plain = (
            drawn_once(ShimRenderer(host_kernels, texture=True), v, view).pixels.astype(float) for v in (volume, stored)
        )
        np.testing.assert_allclose(got, plain, atol=2.0)


def drawn_once(renderer: ShimRenderer, volume: Volume, view: View) -> Frame:
    return drawn(renderer, renderer.upload(volume), view)


@pytest.mark.parametrize("work", ["thin", "slab_max", "slab_mean", "color_shaded"])
def test_more_than_two_thousand_million_voxels_agree(host_kernels, tmp_path: Path, work) -> None:
    """Addresses beyond 2^31 elements. The file is sparse, and the bricks are known without reading it."""
    shape, corner = (1100, 1400, 1404), (slice(1060, None), slice(1360, None), slice(1364, None))
    assert np.prod(shape, dtype=np.int64) > 2**31
    codes = np.memmap(tmp_path / "voxels", np.int16, "w+", shape=shape)
    blobs = phantoms.blobs(geometry_of((40, 40, 40), (1.0, 1.0, 1.0)), INT16)
    codes[corner] = blobs.codes
    geometry = geometry_of(shape, (1.0, 1.0, 1.0))
    volume = Volume("large", geometry, codes)
    levels = []
    for level in grid.levels(shape):
        low, high = np.zeros((2, *level.shape), np.int16)
        # The far corner, and the bricks whose neighbours it touches.
        touched = tuple(slice(part.start // level.size - 1 if part.start >= level.size else 0, None) for part in corner)
        low[touched], high[touched] = min(0, blobs.codes.min()), max(0, blobs.codes.max())
        levels.append(Bounds(low.reshape(-1), high.reshape(-1), np.zeros(level.bricks, np.uint8)))
    code_range = float(levels[-1].low[0]), float(levels[-1].high[0])
    renderer = ShimRenderer(host_kernels)
    statistics = renderer.upload(blobs).statistics
    resident = ShimVolume(volume, codes.reshape(-1), levels, code_range, False, statistics, volume.nbytes, None, None)
    look_at = geometry.to_patient(np.array([1384.0, 1380.0, 1080.0]))
    camera = camera_at(look_at - [30.0, -20.0, 15.0], look_at, parallel_scale_mm=20.0)
    view = make_view(volume, work, camera, (23, 17))
    if work == "color_shaded":
        view = dataclasses.replace(view, slab_mm=20.0)
    got = compare(render_reference(view, volume), drawn(renderer, resident, view), volume)
    assert got.agrees, got
    assert got.seen > 0.9
    picture = drawn(renderer, resident, view).pixels.astype(float)
    assert np.nanmax(picture) > np.nanmin(picture)


def test_steps_longer_than_a_brick_agree(host_kernels) -> None:
    """A view from within, steps of many voxels: coarse levels bound them, or the whole volume does."""
    volume = phantoms.blobs(geometry_of((3, 70, 60), (5.0, 0.2, 0.2)), INT16)
    for work in ("max", "mean", "color"):
        got = verdict(ShimRenderer(host_kernels), volume, make_view(volume, work, slanted_camera(volume.geometry)))
        assert got.agrees, got


@pytest.mark.parametrize("work", ["max", "min", "mean", "color", "color_shaded"])
def test_a_volume_far_from_the_middle_ray_is_hit_and_the_ray_ends(host_kernels, work) -> None:
    """Sixty million steps behind the picture's plane, further than float32 counts; as small as a grain of dust."""
    camera = camera_at(np.zeros(3), np.array([0.0, 0.001, 0.0]), fov_deg=60.0)
    shape = phantoms.blobs(geometry_of((12, 14, 16), (0.002, 0.002, 0.002)), INT16)
    plane = make_view(shape, work, camera).plane
    row, column = 3, 7
    point = np.array(plane.top_left_mm) + column * plane.pixel_spacing_mm[1] * np.array(plane.row_direction)
    point += row * plane.pixel_spacing_mm[0] * np.array(plane.column_direction)
    center = 60_000 * point / np.linalg.norm(point)
    geometry = geometry_of(shape.geometry.shape, (0.002, 0.002, 0.002), center_mm=center)
    volume = dataclasses.replace(shape, geometry=geometry)
    view = make_view(volume, work, camera)
    reference = render_reference(view, volume, pixels=[(row, column)])
    frame = drawn_once(ShimRenderer(host_kernels), volume, view)
    got = compare(reference, frame, volume, pixels=[(row, column)])
    assert got.agrees, got
    assert got.seen == 1
    others = np.delete(frame.pixels.reshape(29 * 37, -1).astype(float), row * 37 + column, axis=0)
    assert np.isnan(others).all() or not others.any()

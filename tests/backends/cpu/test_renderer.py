"""What is particular to the CPU renderer: skipping, quality, sharing, limits."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from render.backends import rays
from render.backends.cpu import CpuRenderer, looks
from render.backends.cpu.bricks import MAX_SEGMENT, BrickGrid, FineCells, Level
from render.backends.cpu.kernels_upload import BRICK
from render.backends.rays import WHOLE_TOLERANCE
from render.backends.tables import LIGHT_BYTES, TABLE_BYTES, TransferTables, transfer_tables
from render.errors import RenderCancelledError, UnsupportedError, VolumeNotFoundError
from render.frame import Frame, Quality
from render.geometry import VolumeGeometry
from render.transfer import Shading, TransferFunction, load_preset
from render.view import Camera, Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume
from tests.backends.cpu.scenes import SHADED, WORKS, body, turning_view, view_of


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(2)
    yield renderer
    renderer.close()


def draw(renderer: CpuRenderer, volume: Volume, view: View, **options: object) -> Frame:
    return renderer.render(view, {volume.id: renderer.upload(volume)}, **options)  # type: ignore[arg-type]


def pixels(frame: Frame) -> np.ndarray:
    return frame.values if frame.color is None else frame.color


def skip_nothing(grid: BrickGrid, across: object, along: object, least: int = 0) -> tuple[Level, int]:
    """One brick whose bounds never rule anything out, for `BrickGrid.level_for`."""
    dtype = grid.levels[0].low.dtype
    low, high = (-32768, 32767) if dtype == np.int16 else (-1e30, 1e30)
    one = (1, 1, 1)
    invalid = np.full(one, grid.has_invalid, np.uint8)
    bounds = np.full(one, low, dtype), np.full(one, high, dtype)
    steps = np.full(one, 255, np.uint8)
    return Level(1 << 20, *bounds, invalid, invalid, steps, steps), MAX_SEGMENT


@pytest.mark.parametrize("perspective", [False, True])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("work", WORKS)
def test_skipping_never_changes_a_value(
    renderer: CpuRenderer,
    monkeypatch: pytest.MonkeyPatch,
    work: str,
    holes: bool,
    dtype: type,
    perspective: bool,
) -> None:
    volume = body(dtype, holes=holes)
    compare_with_skipping_off(renderer, monkeypatch, volume, view_of(volume, work, perspective=perspective), work)


@pytest.mark.parametrize("closer", [8.0, 0.5], ids=["near", "far"])
@pytest.mark.parametrize("work", WORKS)
def test_nor_does_it_at_other_levels_of_bricks(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, work: str, closer: float
) -> None:
    """A packet of nearby rays fits the finest bricks; from afar its rays are many voxels apart."""
    volume = body(holes=True, shape=(70, 130, 140))
    view = view_of(volume, work)
    assert view.camera.parallel_scale_mm is not None
    camera = dataclasses.replace(view.camera, parallel_scale_mm=view.camera.parallel_scale_mm / closer)
    levels: list[int] = []
    choose = BrickGrid.level_for

    def watched(grid: BrickGrid, across: np.ndarray, along: np.ndarray, **least: int) -> tuple[Level, int]:
        levels.append(choose(grid, across, along, **least)[0].size)
        return choose(grid, across, along, **least)

    monkeypatch.setattr(BrickGrid, "level_for", watched)
    compare_with_skipping_off(renderer, monkeypatch, volume, dataclasses.replace(view, camera=camera), work)
    size = levels[-1]  # after the pixel that upload draws
    assert size == BRICK if closer > 1 else BRICK < size < 128


@pytest.mark.parametrize("work", ["max", "min", "mean", "color", "color_shaded"])
@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
@pytest.mark.parametrize("surface", [24, 64])
def test_nor_where_rays_turn_along_the_line_of_sight(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, work: str, holes: bool, surface: int
) -> None:
    """In perspective a packet's rays may lie apart along an axis on which its pixels do not."""
    shape = (120, 20, 40)
    codes = np.where(np.indices(shape)[0] >= surface, 1000, -1000).astype(np.int16)
    if holes:
        codes[surface + 8 : surface + 16, :, 8:] = -2000
    geometry = VolumeGeometry(shape, np.diag([5.0, 5.0, 0.4, 1.0]))
    volume = Volume("flat", geometry, codes, invalid_code=-2000 if holes else None)
    compare_with_skipping_off(renderer, monkeypatch, volume, turning_view(volume, work), work)


def compare_with_skipping_off(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, volume: Volume, view: View, work: str
) -> None:
    fast = pixels(draw(renderer, volume, view))
    monkeypatch.setattr(BrickGrid, "level_for", skip_nothing)
    monkeypatch.setattr(FineCells, "segment_for", lambda cells, along: 0)
    monkeypatch.setattr(looks.Looks, "tables", all_entries_shown)
    slow = pixels(draw(renderer, volume, view))
    if WORKS[work][0] is RenderingMethod.VOLUME_RENDERED:
        # A packet ends when all its rays are nearly opaque, and a gradient's sample has weights of its own.
        assert np.abs(fast.astype(int) - slow).max() <= 1
        assert 20 < fast[..., 3].max() < 256
    elif work == "mean":
        # Sums of up to 300 float32 of up to 1000, in another order.
        np.testing.assert_allclose(fast, slow, atol=300 * 1000 * 2.0**-24, rtol=0)
    elif volume.codes.dtype == np.int16 and volume.invalid_code is None:
        np.testing.assert_array_equal(fast, slow)
    else:
        # Careful sampling, which checks for invalid voxels, takes a sample this near a centre to be there.
        np.testing.assert_allclose(fast, slow, atol=1500 * WHOLE_TOLERANCE, rtol=0)


def all_entries_shown(
    kept: looks.Looks, function: TransferFunction, step_mm: float, volume: Volume, code_range: tuple[float, float]
) -> TransferTables:
    """Tables that claim opacity of every entry, so that no run of samples is left out; for `looks.Looks.tables`."""
    tables = transfer_tables(function, step_mm, volume.slope, volume.intercept, code_range)
    return dataclasses.replace(tables, shown=(-np.inf, np.inf))


@pytest.mark.parametrize("how", ["orthographic", "perspective", "turning", "along i", "along k"])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("shows", ["above", "below", "between"])
def test_a_run_is_left_out_only_if_none_of_its_samples_shows(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, dtype: type, how: str, shows: str
) -> None:
    """Single voxels shine in the dark, and the least of their light shows: bit for bit the same, of fewer samples."""
    codes = np.where(np.random.default_rng(3).random((30, 34, 40)) < 0.001, 1000, 0)
    codes[0, 0, 0], codes[-1, -1, -1] = -500, 2000  # the tables' ends show nothing
    opacity: tuple[tuple[float, float], ...] = ((0, 0.0), (1, 0.3), (2500, 0.9))
    if shows == "below":
        codes, opacity = -codes, tuple((-code, each) for code, each in reversed(opacity))
    elif shows == "between":
        opacity = ((0, 0.0), (1, 0.3), (1100, 0.3), (1101, 0.0))
    volume = Volume("stars", VolumeGeometry(codes.shape, np.diag([0.8, 0.9, 1.1, 1.0])), codes.astype(dtype))
    if how == "turning":
        view = dataclasses.replace(turning_view(volume, "color"), viewport=Viewport(160, 160))
    elif how.startswith("along"):
        side = Orientation.LEFT if how == "along i" else Orientation.FEET
        viewport = Viewport(140, 90)
        camera = oriented_camera(side, volume.geometry, viewport)
        view = View(camera, viewport, (Layer(volume.id),), RenderingMethod.VOLUME_RENDERED, None)
    else:
        view = view_of(volume, "color", (140, 90), perspective=how == "perspective")
    function = TransferFunction(opacity, ((0, 1.0, 0.5, 0.2),))
    view = dataclasses.replace(view, layers=(Layer(volume.id, transfer_function=function),))
    fast = draw(renderer, volume, view)
    monkeypatch.setattr(looks.Looks, "tables", all_entries_shown)
    slow = draw(renderer, volume, view)
    np.testing.assert_array_equal(fast.color, slow.color)
    assert (fast.color[..., 3] > 0).mean() > 0.005
    assert fast.samples_taken < 0.9 * slow.samples_taken


@pytest.mark.parametrize("what", ["bricks", "cells"])
@pytest.mark.parametrize("work", ["max", "min"])
def test_skipping_does_skip(renderer: CpuRenderer, what: str, work: str) -> None:
    """The grid's bounds decide: with false ones the picture is false, so they are looked at."""
    volume = body()
    if work == "min":
        volume = dataclasses.replace(volume, codes=-volume.codes)
    view = view_of(volume, work)
    resident = renderer.upload(volume)
    with resident.in_use() as (_, grid):
        for bounds in grid.levels if what == "bricks" else (grid.cells,):
            (bounds.most if work == "max" else bounds.least)[...] = 0
    lied_to = renderer.render(view, {volume.id: resident}).values
    assert not np.array_equal(lied_to, draw(renderer, volume, view).values, equal_nan=True)


@pytest.mark.parametrize("holes", [False, True])
@pytest.mark.parametrize("work", ["max", "min"])
def test_extremes_need_no_promise_of_how_far_rays_spread(
    renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, work: str, holes: bool
) -> None:
    """Boxes that are larger than the host foresaw are seen to be, and taken."""
    volume = body(holes=holes)
    view = view_of(volume, work, perspective=True)
    extent = rays.packet_extent

    def too_small(*args: Any) -> tuple[np.ndarray, np.ndarray]:
        across, along = extent(*args)
        return across * 0, along

    monkeypatch.setattr(rays, "packet_extent", too_small)
    compare_with_skipping_off(renderer, monkeypatch, volume, view, work)


def test_a_volume_that_grows_gets_its_fine_cells_when_it_is_whole(renderer: CpuRenderer) -> None:
    volume = body()
    half = volume.geometry.shape[0] // 2
    growing = dataclasses.replace(volume, missing_slices=volume.geometry.shape[0] - half)
    first = renderer.grow(None, growing, [(0, half)])
    with first.in_use() as (_, grid):
        assert grid.cells is None
    last = renderer.grow(first, volume, [(half, volume.geometry.shape[0])])
    with last.in_use() as (_, grown), renderer.upload(volume).in_use() as (_, whole):
        np.testing.assert_array_equal(grown.cells.most, whole.cells.most)
        np.testing.assert_array_equal(grown.cells.least, whole.cells.least)


def test_more_voxels_than_an_index_reaches_are_refused(renderer: CpuRenderer) -> None:
    shape = (2, 32768, 32768)
    codes = np.broadcast_to(np.zeros(1, np.int16), shape)

    class Claimed:
        is_color = False

    volume = Claimed()
    volume.codes = codes  # type: ignore[attr-defined] # a real one would take 4 GiB
    with pytest.raises(UnsupportedError, match="2147483648 voxels"):
        renderer.upload(volume)  # type: ignore[arg-type]


@pytest.mark.parametrize("work", ["thin", "max", "color_shaded"])
@pytest.mark.parametrize("stride", [2, 3])
def test_fewer_rays_give_nearly_the_picture(renderer: CpuRenderer, work: str, stride: int) -> None:
    volume = body()
    view = view_of(volume, work, (121, 83), flip_horizontal=True)
    full = draw(renderer, volume, view)
    quick = draw(renderer, volume, view, quality=Quality(ray_stride=stride))
    assert pixels(quick).shape == pixels(full).shape
    assert not quick.is_final
    a, b = pixels(full).astype(float), pixels(quick).astype(float)
    if work == "color_shaded":
        assert np.abs(a - b).mean() < 4
        assert np.abs(a - np.roll(b, 6, axis=1)).mean() > 2 * np.abs(a - b).mean()
        return
    assert (np.isnan(a) != np.isnan(b)).mean() < 0.05
    both = ~np.isnan(a) & ~np.isnan(b)
    error = np.abs(a - b)[both].mean()
    assert error < 60
    moved = np.roll(b, 6, axis=1)
    both &= ~np.isnan(moved)
    assert np.abs(a - moved)[both].mean() > 1.5 * error


@pytest.mark.parametrize("stride", [2, 3, 5])
def test_a_linear_volume_is_enlarged_exactly(renderer: CpuRenderer, stride: int) -> None:
    """A ramp stays a ramp: rays through the wrong pixel would shift it."""
    k, j, i = np.indices((20, 90, 90))
    volume = Volume("v", VolumeGeometry((20, 90, 90), np.eye(4)), (10 * i + 3 * j + k).astype(np.int16))
    camera = Camera((45, 45, -50), (45, 45, 10), (0, -1, 0), parallel_scale_mm=16.5)
    view = View(camera, Viewport(33, 33), (Layer("v"),), RenderingMethod.MAXIMUM_IP, 0.0)
    full = draw(renderer, volume, view).values
    quick = draw(renderer, volume, view, quality=Quality(ray_stride=stride)).values
    inner = slice(stride, -stride)
    np.testing.assert_allclose(quick[inner, inner], full[inner, inner], atol=0.02)


def test_longer_steps_are_said(renderer: CpuRenderer) -> None:
    volume = body()
    view = view_of(volume, "mean")
    final, quick = (draw(renderer, volume, view, quality=Quality(step_factor=n)) for n in (1, 3))
    assert final.step_mm == pytest.approx(0.4)
    assert quick.step_mm == pytest.approx(1.2)
    assert np.nanmean(np.abs(final.values - quick.values)) < 10
    assert not np.array_equal(final.values, quick.values, equal_nan=True)


def test_a_negative_slope_swaps_the_extremes(renderer: CpuRenderer) -> None:
    plain = body()
    turned = dataclasses.replace(plain, codes=-plain.codes, slope=-1.0)
    for work in ("max", "min", "slab_max"):
        np.testing.assert_array_equal(
            draw(renderer, plain, view_of(plain, work)).values, draw(renderer, turned, view_of(turned, work)).values
        )


def test_cancelling_in_the_middle_of_a_frame(renderer: CpuRenderer) -> None:
    volume = body()
    asked: list[int] = []

    def cancelled() -> bool:
        asked.append(1)
        return len(asked) > 3

    view = view_of(volume, "color_shaded", (512, 512))
    with pytest.raises(RenderCancelledError):
        draw(renderer, volume, view, cancelled=cancelled)
    assert len(asked) < 10
    assert renderer._pool.queued_tiles == 0
    assert draw(renderer, volume, view_of(volume, "thin")).values is not None


def test_frames_drawn_at_the_same_time_are_those_drawn_alone(renderer: CpuRenderer) -> None:
    volume = body()
    resident = {volume.id: renderer.upload(volume)}
    views = [view_of(volume, work, perspective=p) for work in WORKS for p in (False, True)]
    alone = [pixels(renderer.render(view, resident)) for view in views]
    with ThreadPoolExecutor(6) as callers:
        together = list(callers.map(lambda view: pixels(renderer.render(view, resident)), views * 2))
    for expected, got in zip(alone * 2, together, strict=True):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_slice_is_shown_beside_one_that_is_not_loaded(renderer: CpuRenderer, dtype: type) -> None:
    """A plane through its centres needs nothing of the next slice; half a slice further it does."""
    codes = np.random.default_rng(5).integers(0, 1000, (12, 40, 40)).astype(dtype)
    codes[6:] = np.nan if dtype is np.float32 else -2000
    volume = Volume(
        "v", VolumeGeometry(codes.shape, np.eye(4)), codes, invalid_code=-2000 if dtype is np.int16 else None
    )
    pictures = []
    for z in (5.0, 5.5, 4.5):
        camera = Camera((19.5, 19.5, -50), (19.5, 19.5, z), (0, -1, 0), parallel_scale_mm=20.0)
        view = View(camera, Viewport(40, 40), (Layer("v"),), RenderingMethod.MAXIMUM_IP, 0.0)
        pictures.append(draw(renderer, volume, view).values)
    np.testing.assert_allclose(pictures[0], codes[5], atol=0.01)
    assert np.isnan(pictures[1]).all()
    np.testing.assert_allclose(pictures[2], codes[4:6].astype(float).mean(axis=0), atol=0.01)


def test_a_volume_that_is_not_there(renderer: CpuRenderer) -> None:
    volume = body()
    with pytest.raises(VolumeNotFoundError, match="body"):
        renderer.render(view_of(volume, "thin"), {})


def test_releasing_waits_for_frames_and_refuses_later_ones() -> None:
    renderer = CpuRenderer(1)
    volume = body()
    resident = renderer.upload(volume)
    released = threading.Event()

    def release() -> None:
        renderer.release(resident)
        released.set()

    drawing = threading.Event()
    letting_go: list[threading.Thread] = []

    def cancelled() -> bool:  # asked while the frame is being drawn
        if not drawing.is_set():
            letting_go.append(threading.Thread(target=release))
            letting_go[0].start()
            drawing.set()
        assert not released.is_set()
        return False

    renderer.render(view_of(volume, "max"), {volume.id: resident}, cancelled=cancelled)
    letting_go[0].join(20)
    assert released.is_set()
    with pytest.raises(VolumeNotFoundError, match="released"):
        renderer.render(view_of(volume, "max"), {volume.id: resident})
    renderer.close()


def test_a_transfer_function_is_remembered(renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make, mark = looks.transfer_tables, looks.kernel
    monkeypatch.setattr(looks, "transfer_tables", lambda *args: made.append(1) or make(*args))
    monkeypatch.setattr(looks, "kernel", lambda *args: made.append(1) or mark(*args))  # of the flags
    volume = dataclasses.replace(body(), slope=0.5)  # of no other test's transfer functions
    resident = {volume.id: renderer.upload(volume)}
    for work in ("color", "color", "color_shaded", "color", "color_shaded"):
        renderer.render(view_of(volume, work), resident)
    assert len(made) == 2
    view = view_of(volume, "color_shaded")
    (layer,) = view.layers
    assert layer.transfer_function is not None
    matt = dataclasses.replace(layer.transfer_function, shading=Shading(specular=0.0))
    pictures = [
        pixels(renderer.render(dataclasses.replace(view, layers=(each,)), resident))
        for each in (layer, dataclasses.replace(layer, transfer_function=matt))
    ]
    assert len(made) == 2, "another light leaves tables and flags as they are"
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("holes", [False, True])
def test_tables_are_shared_by_volumes_and_flags_are_not(holes: bool) -> None:
    """Volumes of the same codes have the same tables; where those are, and what they show, is each one's own."""
    renderer = CpuRenderer(1)
    left = body(holes=holes, shape=(48, 56, 64))
    right = dataclasses.replace(left, id="turned", codes=np.ascontiguousarray(left.codes[::-1]))
    views = [view_of(volume, work) for volume in (left, right) for work in ("color", "color_shaded")]
    resident = {volume.id: renderer.upload(volume) for volume in (left, right)}
    assert renderer.looks_nbytes == 0
    pictures = [pixels(renderer.render(view, resident)) for view in views]
    assert renderer.looks_nbytes == TABLE_BYTES + 2 * LIGHT_BYTES
    for view, picture in zip(views, pictures, strict=True):
        alone = CpuRenderer(1)
        (name,) = (layer.volume_id for layer in view.layers)
        np.testing.assert_array_equal(pixels(draw(alone, left if name == left.id else right, view)), picture)
        alone.close()
    renderer.close()


def test_what_transfer_functions_take_is_bounded_and_told(renderer: CpuRenderer) -> None:
    volume = body(holes=True)
    resident = renderer.upload(volume)
    view = view_of(volume, "color_shaded", (40, 30))
    for n in range(2 * looks.KEPT_LOOKS):
        moved = dataclasses.replace(SHADED.shifted(n), shading=Shading(shininess=10.0 + n))
        layers = (dataclasses.replace(view.layers[0], transfer_function=moved),)
        renderer.render(dataclasses.replace(view, layers=layers), {volume.id: resident})
    assert renderer.looks_nbytes == looks.KEPT_LOOKS * (TABLE_BYTES + LIGHT_BYTES)
    with resident.in_use() as (codes, grid):
        kept = sum(each.nbytes for each in resident._flags._kept.values())
        assert 0 < kept
        assert codes.nbytes + grid.nbytes + kept <= resident.nbytes


def test_steps_are_counted_no_farther_than_float32_counts(renderer: CpuRenderer) -> None:
    """From 2**24 on ``k + 1 == k``, and the loop over a ray of tens of millions of steps would not end."""
    tiny = VolumeGeometry((20, 20, 20), np.diag([0.002, 0.002, 0.002, 1.0]))
    volume = Volume("tiny", tiny, np.full((20, 20, 20), 300, np.int16))
    camera = Camera(position=(0.0, 0.0, -60_000.0), look_at=(0.02, 0.02, 60.0), up=(0.0, 1.0, 0.0), fov_deg=60.0)
    layer = Layer("tiny", transfer_function=load_preset("CT-AAA"))
    view = View(camera, Viewport(16, 16), (layer,), RenderingMethod.VOLUME_RENDERED, None)
    p = rays.ray_parameters(tiny, camera, view.plane, (16, 16), rays.lattice_of(tiny, None, 1.0))
    rays.bound_steps(p)
    assert -(2**23) <= p[rays.FIRST] < p[rays.LAST] <= 2**23
    draw(renderer, volume, view)

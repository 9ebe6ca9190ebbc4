"""The grid and the statistics, against brute force."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.backends import histogram
from render.backends.cpu import CpuRenderer
from render.backends.cpu import survey as module
from render.backends.cpu.bricks import BrickGrid
from render.backends.cpu.compiling import kernel
from render.backends.cpu.kernels_upload import BRICK, CELL, FARTHEST, HOLES, STEP_SLACK, WAYS
from render.backends.cpu.survey import Bricks, measure, survey
from render.backends.cpu.tiles import TilePool
from render.geometry import VolumeGeometry
from render.volume import Volume


@pytest.fixture(scope="module")
def pool() -> Iterator[TilePool]:
    pool = TilePool(2)
    yield pool
    pool.close()


def volume_of(codes: np.ndarray, invalid_code: int | None = None, slope: float = 1.0) -> Volume:
    return Volume("v", VolumeGeometry(codes.shape, np.eye(4)), codes, slope, 0.0, invalid_code)


def random_volume(shape: tuple[int, int, int], dtype: type, seed: int, holes: bool) -> Volume:
    rng = np.random.default_rng(seed)
    codes = rng.normal(0, 400, shape).round().clip(-1500, 1500).astype(dtype)
    if holes:
        codes[rng.random(shape) < 0.05] = np.nan if dtype is np.float32 else -2000
    return volume_of(codes, -2000 if holes and dtype is np.int16 else None)


def grid_of(volume: Volume, pool: TilePool) -> BrickGrid:
    return survey(volume, volume.codes.reshape(-1), pool)[0]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_brick_bounds_any_box_of_its_size(pool: TilePool, dtype: type, holes: bool, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 37)] * 3))
    volume = random_volume(shape, dtype, data.draw(st.integers(0, 99)), holes)
    values = volume.values()
    grid = grid_of(volume, pool)
    for level in grid.levels:
        low = [data.draw(st.floats(0, n - 1)) for n in shape]
        extent = [data.draw(st.floats(0, level.size - 1)) for _ in shape]
        box = tuple(slice(int(a), min(int(a + size) + 2, n)) for a, size, n in zip(low, extent, shape, strict=True))
        brick = tuple(int(a) // level.size for a in low)
        inside = values[box]
        assert bool(level.invalid[brick]) >= bool(np.isnan(inside).any())
        beside = tuple(slice(max(part.start - level.size, 0), part.stop + level.size) for part in box)
        assert bool(level.around[brick]) >= bool(np.isnan(values[beside]).any())
        if not np.isnan(inside).all():
            assert level.low[brick] <= np.nanmin(inside)
            assert level.high[brick] >= np.nanmax(inside)
            assert in_codes(grid, level.most[brick], 1) >= np.nanmax(inside)
            assert in_codes(grid, level.least[brick], -1) <= np.nanmin(inside)


def in_codes(grid: BrickGrid, steps: np.uint8, sign: int) -> np.float32:
    """Turn a bound in steps into a code as kernels do, in float32."""
    base = np.float32(grid.minimum if sign > 0 else -grid.maximum)
    return np.float32(sign) * (np.float32(steps) * np.float32(grid.step) + base)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_one_fine_cell_bounds_any_line_as_long_as_it_says(
    pool: TilePool, dtype: type, holes: bool, data: st.DataObject
) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 23)] * 3))
    volume = random_volume(shape, dtype, data.draw(st.integers(0, 99)), holes)
    values, grid = volume.values(), grid_of(volume, pool)
    if grid.cells is None:
        assert np.isnan(values).all() or min(shape) == 1
        return
    step = np.array([data.draw(st.floats(0, 1)) for _ in shape])
    extent = step * (grid.cells.segment_for(step) - 1)
    low = [data.draw(st.floats(0, n - 1)) for n in shape]
    box = tuple(slice(int(a), min(int(a + size) + 2, n)) for a, size, n in zip(low, extent, shape, strict=True))
    cell = tuple(int(a) // CELL for a in low)
    if not np.isnan(values[box]).all():
        assert in_codes(grid, grid.cells.most[cell], 1) >= np.nanmax(values[box])
        assert in_codes(grid, grid.cells.least[cell], -1) <= np.nanmin(values[box])


@pytest.mark.parametrize(
    "ends",
    [
        np.array((-32768, 32767), np.int16),
        np.array((32766, 32767), np.int16),
        np.array((-1e6, 3), np.float32),
        np.array((1e6, 1e6 + 0.25), np.float32),
        np.array((-1e30, 1e30), np.float32),
        np.array((0, 1e-30), np.float32),
    ],
)
def test_bounds_in_steps_hold_for_every_range_and_cost_little(pool: TilePool, ends: np.ndarray) -> None:
    low, high = ends.astype(np.float64)
    steps = np.linspace(low, high, 4096).astype(ends.dtype)
    codes = np.repeat(steps, CELL**3).reshape(-1, CELL, CELL, CELL).swapaxes(0, 1).reshape(CELL, -1, CELL)
    volume = volume_of(np.ascontiguousarray(codes))
    grid = grid_of(volume, pool)
    assert grid.cells is not None
    most, least = grid.cells.most[0, :-1, 0], grid.cells.least[0, :, 0]
    above = np.array([in_codes(grid, each, 1) for each in most])
    below = np.array([in_codes(grid, each, -1) for each in least])
    assert (above >= steps[1:]).all()
    assert (below <= steps).all()
    assert (above.astype(np.float64) - steps[1:]).max() <= 2 * grid.step
    assert grid.cells.most[0, 0, 0] > 0 or steps[1] == steps[0]
    assert grid.cells.least[0, -1, 0] == 0


def blocks(values: np.ndarray, side: int, join: np.ufunc, fill: float) -> np.ndarray:
    """Join blocks of `side` voxels along every axis; those that stick out have fewer."""
    padded = np.pad(values, [(0, -n % side) for n in values.shape], constant_values=fill)
    k, j, i = (n // side for n in padded.shape)
    return join.reduce(padded.reshape(k, side, j, side, i, side), axis=(1, 3, 5))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_one_pass_finds_every_bound_and_counts_every_code(
    pool: TilePool, dtype: type, holes: bool, data: st.DataObject
) -> None:
    shape = data.draw(st.tuples(st.integers(1, 21), st.integers(1, 21), st.integers(1, 75)))
    volume = random_volume(shape, dtype, data.draw(st.integers(0, 99)), holes)
    if dtype is np.float32 and holes and data.draw(st.booleans()):
        volume.codes[0, 0, 0] = np.inf
    codes, bricks = volume.codes, Bricks.without_voxels(volume)
    counts = [np.zeros(65536 * WAYS, np.uint32) for _ in range(pool.threads)]
    cell_low, cell_high = bricks.sweep(volume, codes.reshape(-1), pool, (0, bricks.low.shape[0]), counts)
    bad = codes == volume.invalid_code if dtype is np.int16 else ~np.isfinite(codes)
    least, most = (-32768, 32767) if dtype is np.int16 else (-np.inf, np.inf)
    lowest, highest = np.where(bad, dtype(most), codes), np.where(bad, dtype(least), codes)
    np.testing.assert_array_equal(cell_low, blocks(lowest, CELL, np.minimum, most))
    np.testing.assert_array_equal(cell_high, blocks(highest, CELL, np.maximum, least))
    np.testing.assert_array_equal(bricks.low, blocks(lowest, BRICK, np.minimum, most))
    np.testing.assert_array_equal(bricks.high, blocks(highest, BRICK, np.maximum, least))
    np.testing.assert_array_equal(bricks.invalid, blocks(bad, BRICK, np.logical_or, False))
    if dtype is np.int16:
        counted = np.sum(counts, axis=0).reshape(-1, WAYS).sum(axis=1)
        np.testing.assert_array_equal(counted, np.bincount(codes.reshape(-1).astype(int) + 32768, minlength=65536))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_bricks_of_slices_that_arrive_in_any_order_are_those_of_the_whole(
    pool: TilePool, dtype: type, data: st.DataObject
) -> None:
    shape = data.draw(st.tuples(st.integers(2, 300), st.integers(1, 12), st.integers(1, 12)))
    source = random_volume(shape, dtype, data.draw(st.integers(0, 99)), holes=True)
    codes = np.full_like(source.codes, -2000 if dtype is np.int16 else np.nan)
    volume, bricks = dataclasses.replace(source, codes=codes), Bricks.without_voxels(source)
    cuts = sorted(data.draw(st.sets(st.integers(1, shape[0] - 1), max_size=5)))
    spans = data.draw(st.permutations(list(zip([0, *cuts], [*cuts, shape[0]], strict=True))))
    for arrived in (spans[:1], spans[1:]):
        for first, last in arrived:
            codes[first:last] = source.codes[first:last]
        bricks.fill(volume, codes.reshape(-1), pool, arrived)
        whole = Bricks.without_voxels(volume)
        whole.sweep(volume, codes.reshape(-1), pool, (0, whole.low.shape[0]))
        for name in ("low", "high", "invalid"):
            np.testing.assert_array_equal(getattr(bricks, name), getattr(whole, name))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("depth", [2, 33, 64, 71, 150])
def test_a_volume_looked_at_by_runs_of_layers_has_the_same_grid(
    pool: TilePool, monkeypatch: pytest.MonkeyPatch, dtype: type, depth: int
) -> None:
    volume = random_volume((depth, 21, 19), dtype, 3, holes=True)
    codes = volume.codes.reshape(-1)
    expected, statistics = survey(volume, codes, pool)
    monkeypatch.setattr(module, "MOST_AT_ONCE", 0)
    monkeypatch.setattr(module, "MOST_LAYERS", 4)
    known = Bricks.without_voxels(volume)
    known.fill(volume, codes, pool, [(0, depth)])
    for bricks in (None, known):
        grid, got = survey(volume, codes, pool, bricks)
        assert got == statistics
        assert grid.cells is not None
        assert expected.cells is not None
        np.testing.assert_array_equal(grid.cells.most, expected.cells.most)
        np.testing.assert_array_equal(grid.cells.least, expected.cells.least)
        for level, whole in zip(grid.levels, expected.levels, strict=True):
            for name in ("low", "high", "invalid", "around", "most", "least"):
                np.testing.assert_array_equal(getattr(level, name), getattr(whole, name))


def test_of_a_large_volume_the_pass_counts_some_rows(pool: TilePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same rows as a pass of its own, so a volume that grew has the statistics of one that was uploaded."""
    monkeypatch.setattr(histogram, "HISTOGRAM_VOXELS", 1000)
    volume = random_volume((9, 21, 30), np.int16, 4, holes=True)
    assert histogram.histogram_stride(volume.codes.size) == 5
    grid, got = survey(volume, volume.codes.reshape(-1), pool)
    assert got == measure(volume, volume.codes.reshape(-1), grid, pool)
    rows = volume.codes.reshape(-1, 30)[::5]
    rows = rows[(rows != -2000) & (rows != grid.minimum)]
    assert got.low == np.sort(rows)[int(np.ceil(rows.size * 0.01)) - 1]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_bytes_hold_the_bounds_of_cells_with_their_neighbours(pool: TilePool, dtype: type, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(2, 23)] * 3))
    volume = random_volume(shape, dtype, data.draw(st.integers(0, 99)), holes=False)
    grid = grid_of(volume, pool)
    assert grid.cells is not None
    codes = volume.codes.astype(np.float64)
    for k, j, i in np.ndindex(grid.cells.most.shape):
        inside = codes[tuple(slice(CELL * at, CELL * at + 2 * CELL) for at in (k, j, i))]
        for got, distance in (
            (grid.cells.most[k, j, i], inside.max() - grid.minimum),
            (grid.cells.least[k, j, i], grid.maximum - inside.min()),
        ):
            assert got == (int(distance / grid.step + STEP_SLACK) if distance > 0 else 0)


def test_where_all_is_equal_nothing_is_above(pool: TilePool) -> None:
    for value in (0, -1024, 32767):
        grid = grid_of(volume_of(np.full((9, 10, 11), value, np.int16)), pool)
        assert grid.cells is not None
        assert not grid.cells.most.any()
        assert not grid.cells.least.any()
        assert in_codes(grid, grid.cells.most[0, 0, 0], 1) == value


def test_a_brick_says_nothing_of_what_is_far(pool: TilePool) -> None:
    """Bounds that were too wide would skip nothing, and no other test would see it."""
    codes = np.zeros((64, 64, 64), np.int16)
    codes[40, 40, 40] = 900
    grid = grid_of(volume_of(codes), pool)
    assert grid.cells is not None
    assert (grid.cells.most > 0).sum() == 8
    finest = grid.levels[0]
    assert finest.size == BRICK
    assert np.argwhere(finest.high == 900).min() == 40 // BRICK - 1
    assert (finest.high == 900).sum() == 8


def test_levels_end_in_one_brick(pool: TilePool) -> None:
    levels = grid_of(volume_of(np.zeros((3, 70, 9), np.int16)), pool).levels
    assert [level.size for level in levels] == [8, 16, 32, 64, 128]
    assert levels[0].low.shape == (1, 9, 2)
    assert levels[-1].low.shape == (1, 1, 1)


def test_a_segment_fits_its_level(pool: TilePool) -> None:
    grid = grid_of(volume_of(np.zeros((64, 64, 64), np.int16)), pool)
    for pixel, step in ((0.3, 0.4), (1.5, 0.4), (9.0, 0.5), (0.1, 20.0)):
        across, along = np.full(3, pixel), np.array([step, step / 2, 0.0])
        level, samples = grid.level_for(across, along)
        fits = (across + along * (samples - 1)).max() <= level.size - 1
        assert fits or level is grid.levels[-1]
    assert grid.level_for(np.full(3, 0.3), np.full(3, 0.4))[0].size == BRICK


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("slope", [1.0, -0.5])
def test_statistics_are_those_of_valid_voxels_that_are_not_background(
    pool: TilePool, dtype: type, slope: float
) -> None:
    rng = np.random.default_rng(3)
    codes = rng.normal(100, 50, (20, 30, 40)).round().astype(dtype)
    codes[:5] = -1000  # background
    codes[5, :, :10] = np.nan if dtype is np.float32 else -2000
    volume = volume_of(codes, None if dtype is np.float32 else -2000, slope)
    values = volume.values()
    values = values[~np.isnan(values)]
    tissue = values[values != -1000 * slope]
    grid, got = survey(volume, codes.reshape(-1), pool)
    assert got == measure(volume, codes.reshape(-1), grid, pool)
    assert got.minimum == values.min()
    assert got.maximum == values.max()
    assert got.low == pytest.approx(np.percentile(tissue, 1), abs=1)
    assert got.high == pytest.approx(np.percentile(tissue, 99), abs=1)


@pytest.mark.parametrize(
    ("volume", "expected"),
    [
        (volume_of(np.full((4, 5, 6), -2000, np.int16), -2000), (0, 0, 0, 0)),
        (volume_of(np.full((4, 5, 6), np.nan, np.float32)), (0, 0, 0, 0)),
        (volume_of(np.full((4, 5, 6), 70, np.int16)), (70, 70, 70, 70)),
        (volume_of(np.full((4, 5, 6), -32768, np.int16)), (-32768,) * 4),
        (volume_of(np.full((1, 1, 1), 0.5, np.float32)), (0.5,) * 4),
    ],
)
def test_statistics_of_volumes_with_nothing_to_tell(
    pool: TilePool, volume: Volume, expected: tuple[float, ...]
) -> None:
    got = survey(volume, volume.codes.reshape(-1), pool)[1]
    assert (got.minimum, got.maximum, got.low, got.high) == expected


@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (1, 300, 500), (2, 301, 200), (300, 3, 301), (4, 4, 4), (32, 33, 32), (9, 200, 200), (100, 100, 100)],
)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
def test_the_estimate_covers_what_is_taken(shape: tuple[int, int, int], dtype: type, holes: bool) -> None:
    renderer = CpuRenderer(1)
    volume = random_volume(shape, dtype, 1, holes)
    resident = renderer.upload(volume)
    estimate = renderer.estimate_bytes(volume.nbytes, volume.codes.itemsize)
    assert volume.nbytes < resident.nbytes <= estimate
    assert estimate - volume.nbytes < 0.06 * volume.nbytes + 1.06e6
    renderer.close()


@pytest.mark.parametrize("shape", [(24, 128, 128), (33, 129, 140), (90, 101, 113)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("holes", [False, True])
def test_a_volume_takes_at_most_a_twentieth_over_its_voxels(
    shape: tuple[int, int, int], dtype: type, holes: bool
) -> None:
    renderer = CpuRenderer(1)
    volume = random_volume(shape, dtype, 1, holes)
    assert renderer.upload(volume).nbytes <= 1.05 * volume.nbytes
    renderer.close()


def test_voxels_are_shared_even_if_they_may_not_be_written() -> None:
    renderer = CpuRenderer(1)
    codes = np.arange(1000, dtype=np.int16).reshape(10, 10, 10)
    codes.setflags(write=False)
    resident = renderer.upload(volume_of(codes))
    with resident.in_use() as (flat, _):
        assert np.shares_memory(flat, codes)
    assert resident.statistics.maximum == 999
    renderer.close()


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_flags_tell_how_far_the_next_visible_brick_is(data: st.DataObject) -> None:
    shape = data.draw(st.tuples(*[st.integers(1, 9)] * 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 9999)))
    shown = rng.random(shape) < data.draw(st.sampled_from([0.0, 0.01, 0.1, 0.5]))
    holes = rng.random(shape) < 0.1
    low = np.where(shown, 0, -40).astype(np.int16).reshape(-1)
    high = np.where(shown, 5, -30).astype(np.int16).reshape(-1)
    opacity = np.arange(64) >= 32  # of codes from 0 on
    cumulated = np.concatenate([[0], np.cumsum(opacity)])
    flags = np.empty(low.size, np.uint8)
    bad = holes.reshape(-1).view(np.uint8)
    kernel("visible", np.dtype(np.int16))(low, high, bad, shape, cumulated, 1.0, 32.5, flags)
    places = np.argwhere(shown)
    for at, flag in zip(np.ndindex(shape), flags, strict=True):
        nearest = np.abs(places - at).max(axis=1).min() if len(places) else FARTHEST
        assert flag & FARTHEST == nearest
        assert bool(flag & HOLES) == bool(holes[at])

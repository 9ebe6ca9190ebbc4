"""The operations of each set, lanes and scalars, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from render.backends.cpu import boxes, gathers, lanes, operations, ranges, rows4, scalars, weights
from render.backends.cpu.operations import KernelSet

F = np.float32
INDEX = np.arange(16, dtype=np.int32)
SETS = {
    "lanes": KernelSet("lanes", "", False, (lanes, gathers, rows4, boxes, ranges)),
    "scalars": KernelSet("scalars", "", False, (scalars,)),
}


class Operations:
    """One set under test; compiled code sees a set's functions only as plain variables."""

    def __init__(self, kernel_set: KernelSet) -> None:
        self._set = kernel_set
        gather, to_i32, extract = kernel_set["gather"], kernel_set["to_i32"], kernel_set["extract"]
        lane_row, lane_column = kernel_set["lane_row"], kernel_set["lane_column"]
        width, packet_width = kernel_set["WIDTH"], F(kernel_set["PACKET_WIDTH"])

        @njit
        def load(values: Any) -> Any:
            """Return lanes from an array, whose first values they take."""
            return gather(values, to_i32(lane_row() * packet_width + lane_column()))

        @njit
        def keep(value: Any, out: Any) -> None:
            for lane in range(width):
                out[lane] = extract(value, lane)

        self.width, self.load, self.keep = width, load, keep

    def over(self, run: Any, *inputs: Any, outs: int = 1, shared: tuple[Any, ...] = ()) -> Any:
        """Run it on as many values at a time as there are lanes, until all 16 are done."""
        out = np.zeros((outs, 16), F)
        for start in range(0, 16, self.width):
            part = slice(start, start + self.width)
            run(*shared, *(values[part] for values in inputs), *(row[part] for row in out))
        return out if outs > 1 else out[0]

    def __getitem__(self, name: str) -> Any:
        return self._set[name]

    def all(self, *names: str) -> list[Any]:
        return [self._set[name] for name in names]


@pytest.fixture(scope="module", params=SETS)
def of(request: pytest.FixtureRequest) -> Operations:
    return Operations(SETS[request.param])


def floats(*values: float) -> np.ndarray:
    return np.resize(np.array(values, F), 16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimum", lambda x, y: np.where(x < y, x, y)),
        ("maximum", lambda x, y: np.where(x > y, x, y)),
    ],
)
def test_minimum_and_maximum_give_the_second_where_the_first_is_nan(of: Operations, name: str, expected: Any) -> None:
    load, keep = of.load, of.keep
    operation = of[name]

    @njit
    def run(a: Any, b: Any, out: Any) -> None:
        keep(operation(load(a), load(b)), out)

    a, b = floats(1, np.nan, -3, 2.5), floats(2, 7, np.nan)
    out = of.over(run, a, b)
    np.testing.assert_array_equal(out, expected(a, b))
    assert np.isnan(expected(a, b)).any()  # NaN in the second place does come out


def test_arithmetic_and_comparisons_are_numpys(of: Operations) -> None:
    load, keep = of.load, of.keep
    select = of["select"]

    @njit
    def run(a: Any, b: Any, out: Any) -> None:
        x, y = load(a), load(b)
        keep(select(x < y, (x + y) * x - y / x, F(3) * x), out)

    a, b = floats(1.5, -2, 3), floats(0.5, 4, 3, 9)
    out = of.over(run, a, b)
    np.testing.assert_array_equal(out, np.where(a < b, (a + b) * a - b / a, F(3) * a))


def test_integers_shift_and_convert_towards_zero(of: Operations) -> None:
    load, keep = of.load, of.keep
    to_f32, to_i32 = of.all("to_f32", "to_i32")

    @njit
    def run(a: Any, out: Any) -> None:
        whole = to_i32(load(a))
        keep(to_f32((whole << np.int32(3)) + (whole & np.int32(1))), out)

    a = floats(1.9, -1.9, 2.0, -0.5)
    out = of.over(run, a)
    whole = np.trunc(a).astype(np.int32)
    np.testing.assert_array_equal(out, ((whole << 3) + (whole & 1)).astype(F))


def test_reductions_and_any(of: Operations) -> None:
    load = of.load
    any_lane, reduce_max, reduce_min = of.all("any_lane", "reduce_max", "reduce_min")

    @njit
    def run(a: Any) -> Any:
        x = load(a)
        return reduce_min(x), reduce_max(x), any_lane(x > F(4)), any_lane(x > F(5))

    a = floats(1, 5, -2, 3)[: of.width]
    assert run(a) == (a.min(), a.max(), (a > 4).any(), False)
    assert run(a + F(8)) == (a.min() + 8, a.max() + 8, True, True)


def test_roots_and_rounding(of: Operations) -> None:
    load, keep = of.load, of.keep
    absolute, ceil, floor, sqrt = of.all("absolute", "ceil", "floor", "sqrt")

    @njit
    def run(a: Any, out: Any) -> None:
        x = load(a)
        keep(sqrt(absolute(x)) + floor(x) * F(16) + ceil(x) * F(256), out)

    a = floats(2.25, -4.5, 9)
    out = of.over(run, a)
    np.testing.assert_array_equal(out, (np.sqrt(np.abs(a)) + np.floor(a) * 16 + np.ceil(a) * 256))


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_row_mixes_a_voxel_with_its_neighbour(of: Operations, dtype: type) -> None:
    load, keep = of.load, of.keep
    gather, mix, row, weight = of.all("gather", "mix", "row", "weight")

    @njit
    def run(codes: Any, index: Any, fraction: Any, out: Any, apart: Any) -> None:
        at, part = load(index), weight(codes, load(fraction))
        keep(row(codes, 5, at, part), out)
        left, right = gather(codes, at + np.int32(5)), gather(codes, at + np.int32(6))
        keep(mix(left, right, part), apart)

    rng = np.random.default_rng(1)
    codes = rng.integers(-32768, 32768, 64).astype(dtype)
    codes[5:9] = [-32768, 32767, 32767, -32768]  # the sums must not overflow
    index, fraction = (INDEX * 3 % 50).astype(np.int32), rng.random(16, dtype=F)
    index[:3], fraction[:3] = [0, 1, 2], [0.5, 1.0, 0.0]
    out, apart = of.over(run, index, fraction, outs=2, shared=(codes,))
    wide = codes.astype(np.float64)
    exact = wide[index + 5] * (1 - fraction) + wide[index + 6] * fraction
    difference = np.abs(wide[index + 6] - wide[index + 5])
    error = np.abs(out / weights.weight_unit(dtype) - exact)
    assert (error <= difference * 2.0**-15 + np.abs(exact) * 2.0**-22 + 2.0**-6).all()
    np.testing.assert_array_equal(out, apart)  # one load or two: the same bits


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_four_voxels_are_weighted(of: Operations, dtype: type) -> None:
    load, keep = of.load, of.keep
    row4, weights4 = of.all("row4", "weights4")

    @njit
    def run(codes: Any, index: Any, first: Any, third: Any, fourth: Any, out: Any, rise: Any) -> None:
        at, apart = load(index), (load(first), load(third), load(fourth))
        keep(row4(codes, 2, at, weights4(codes, apart, 1.0)), out)
        keep(row4(codes, 2, at, weights4(codes, apart, 0.0)), rise)

    rng = np.random.default_rng(2)
    codes = rng.integers(-3000, 3000, 64).astype(dtype)
    index = (INDEX * 3 % 50).astype(np.int32)
    first, third, fourth = (rng.random(16, dtype=F) / 3 for _ in range(3))
    out, rise = of.over(run, index, first, third, fourth, outs=2, shared=(codes,))
    a, b, c, d = (codes.astype(np.float64)[index + 2 + n] for n in range(4))
    rest = first + third + fourth
    unit = weights.weight_unit(dtype)
    np.testing.assert_allclose(out / unit, a * first + b * (1 - rest) + c * third + d * fourth, atol=0.8)
    np.testing.assert_allclose(rise / unit, a * first - b * rest + c * third + d * fourth, atol=0.8)


NX, NY = 11, 9
CELLS = np.stack((INDEX % 4 + INDEX // 8 % 3, INDEX % 3, INDEX // 4 % 2)).astype(np.int32)
"""Of 7 x 4 x 3 voxels at most."""


def rows_of(of: Operations, codes: Any, cells: Any, corner: Any, shape: Any, beside: int = 0) -> Any:
    """Return `cell_rows` of cells, and the rows read one by one; `beside` moves the box's rows, as nobody should."""
    load, keep = of.load, of.keep
    cell_rows, row, weight = of.all("cell_rows", "row", "weight")
    lanes_rows = np.zeros(max(of["BOX_ROWS"], 1), np.int64)
    for n in range(min(shape[0], of["BOX_ROWS"])):
        lanes_rows[n] = n // shape[1] * NX * NY + n % shape[1] * NX + beside

    @njit
    def run(codes: Any, corner: Any, shape: Any, rows: Any, i: Any, j: Any, k: Any, w: Any, *out: Any) -> None:
        box = corner, shape, rows, (np.int64(7), np.int64(3))
        x, y, z, across = load(i), load(j), load(k), weight(codes, load(w))
        a, b, c, d = cell_rows(codes, (np.int64(NX), np.int64(NX * NY)), (x, y, z), across, box)
        at = x + y * NX + z * (NX * NY)
        keep(a, out[0])
        keep(b, out[1])
        keep(c, out[2])
        keep(d, out[3])
        keep(row(codes, 0, at, across), out[4])
        keep(row(codes, NX, at, across), out[5])
        keep(row(codes, NX * NY, at, across), out[6])
        keep(row(codes, NX * NY + NX, at, across), out[7])

    fractions = np.random.default_rng(6).random(16, dtype=F)
    shared = codes, tuple(np.int64(c) for c in corner), tuple(np.int64(n) for n in shape), lanes_rows
    out = of.over(run, *cells, fractions, outs=8, shared=shared)
    return out[:4], out[4:]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("shape", [(12, 4, 3), (16, 4, 4), (24, 6, 4), (24, 4, 6), (0, 1, 1)], ids=str)
def test_cells_from_a_box_are_those_from_memory(of: Operations, dtype: type, shape: tuple[int, int, int]) -> None:
    codes = np.random.default_rng(5).integers(-3000, 3000, NX * NY * 8).astype(dtype)
    start = (2, 1, 1)
    cells = CELLS + np.array(start, np.int32)[:, None]
    # At the corner, and where some cells lie beyond one of the box's six faces.
    corners = [start, *(tuple(c + s * (n == axis) for n, c in enumerate(start)) for axis in range(3) for s in (-1, 1))]
    for corner in corners:
        found, wanted = rows_of(of, codes, cells, corner, shape)
        np.testing.assert_array_equal(found, wanted, err_msg=str(corner))


def test_cells_in_a_box_are_read_from_it(of: Operations) -> None:
    codes = np.arange(NX * NY * 8).astype(np.int16)
    for shape in ((12, 4, 3), (24, 6, 4)):
        found, wanted = rows_of(of, codes, CELLS, (0, 0, 0), shape, beside=1)
        moved = 1 if of["BOX_ROWS"] else 0
        np.testing.assert_allclose((found - wanted) * weights.weight_unit(np.dtype(np.int16)) ** -1, moved, atol=1e-3)
        far, wanted = rows_of(of, codes, CELLS, (0, 0, 5), shape, beside=1)
        np.testing.assert_array_equal(far, wanted)


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("shape", [(4, 1), (4, 3), (5, 2), (7, 4), (8, 1), (9, 2)], ids=str)
def test_the_range_of_a_box_is_that_of_its_voxels_and_no_others(
    of: Operations, dtype: type, shape: tuple[int, int]
) -> None:
    rng = np.random.default_rng(9)
    codes = rng.permutation(np.arange(-700, 800)[: 6 * 10 * 11]).reshape(6, 10, 11).astype(dtype)
    if dtype is np.float32:
        codes[rng.random(codes.shape) < 0.1] = np.nan
    box_range, length = of.all("box_range", "RANGE_LENGTH")

    @njit
    def run(codes: Any, at: Any, shape: Any, from_below: Any) -> Any:
        return box_range(codes, at, (np.int64(11), np.int64(110)), shape, from_below)

    rows, slabs = shape
    for k, j, i in ((0, 0, 0), (1, 1, 2), (6 - slabs, 10 - rows, 11 - length)):
        box = codes[k : k + slabs, j : j + rows, i : i + length]
        low, high = run(codes.reshape(-1), (k * 10 + j) * 11 + i, shape, True)
        assert (low, high) == (np.nanmin(box), np.nanmax(box))
        assert run(codes.reshape(-1), (k * 10 + j) * 11 + i, shape, False)[1] == high


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_chosen_lanes_come_to_the_front_in_their_order(of: Operations, dtype: type) -> None:
    load, store, compress, count_lanes, splat = of.all("load", "store", "compress", "count_lanes", "splat")

    @njit
    def run(values: Any, chosen: Any, out: Any) -> Any:
        mask = load(chosen, 0) > splat(np.int32(0))
        store(out, 0, compress(load(values, 0), mask))
        return count_lanes(mask)

    rng = np.random.default_rng(11)
    for chosen in (np.zeros(of.width), np.ones(of.width), *(rng.random((60, of.width)) < 0.5)):
        values = rng.integers(-(1 << 24), 1 << 24, of.width).astype(dtype)
        out = np.zeros(of.width, dtype)
        count = run(values, chosen.astype(np.int32), out)
        assert count == np.count_nonzero(chosen)
        np.testing.assert_array_equal(out[:count], values[chosen != 0])


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_lanes_go_to_memory_and_back(of: Operations, dtype: type) -> None:
    load, store, store_rows, bits = of.all("load", "store", "store_rows", "bits")
    height, packet_width = of["PACKET_HEIGHT"], of["PACKET_WIDTH"]

    @njit
    def run(values: Any, moved: Any, picture: Any) -> Any:
        value = load(values, 1)
        store(moved, 2, value)
        store_rows(picture, 1, 2, value)
        return bits(value > load(values, 0))

    values = np.array([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2], dtype)[: of.width + 1]
    moved, picture = np.zeros(of.width + 4, dtype), np.zeros((height + 2, packet_width + 3), dtype)
    which = run(values, moved, picture)
    np.testing.assert_array_equal(moved, [0, 0, *values[1:], 0, 0])
    inside = picture[1 : 1 + height, 2 : 2 + packet_width]
    np.testing.assert_array_equal(inside.reshape(-1), values[1:])
    assert np.count_nonzero(picture) == of.width  # and nothing beside it
    assert which == sum(1 << lane for lane in range(of.width) if values[lane + 1] > values[lane])


def test_invalid_is_a_code_or_nan(of: Operations) -> None:
    load, keep = of.load, of.keep
    is_invalid, select, splat = of.all("is_invalid", "select", "splat")

    @njit
    def run(codes: Any, invalid: Any, out: Any) -> None:
        bad = is_invalid(load(codes), invalid)
        keep(select(bad, splat(F(1)), splat(F(0))), out)

    def over(codes: np.ndarray, invalid: int) -> Any:
        return of.over(lambda part, out: run(part, np.int32(invalid), out), codes)

    integers = np.resize(np.array([5, -2000, 7], np.int16), 16)
    np.testing.assert_array_equal(over(integers, -2000), integers == -2000)
    assert not over(integers, 1 << 16).any()
    numbers = floats(5, np.nan, 7, np.inf, -np.inf)
    np.testing.assert_array_equal(over(numbers, 7), ~np.isfinite(numbers))


def test_the_high_bits_of_a_negative_word(of: Operations) -> None:
    load, keep = of.load, of.keep
    to_f32 = of["to_f32"]

    @njit
    def run(a: Any, out: Any) -> None:
        keep(to_f32((load(a) >> np.int32(21)) & np.int32(2047)), out)

    words = (np.arange(16, dtype=np.uint32) * 900_000_001).view(np.int32)
    assert (words < 0).any()
    np.testing.assert_array_equal(of.over(run, words), words.view(np.uint32) >> 21)


def test_fused_and_interpolated(of: Operations) -> None:
    load, keep = of.load, of.keep
    fma, lerp = of.all("fma", "lerp")

    @njit
    def run(a: Any, b: Any, out: Any, between: Any) -> None:
        keep(fma(load(a), load(b), load(a)) + fma(load(a), F(3), load(b)), out)
        keep(lerp(load(a), load(b), load(b)), between)

    a, b = floats(1.5, -2, 3), floats(0.5, 4, 0.25, 9, -1)
    out, between = of.over(run, a, b, outs=2)
    np.testing.assert_array_equal(out, a * b + a + a * 3 + b)
    np.testing.assert_array_equal(between, a + b * (b - a))


def test_packets_are_laid_out_by_row(of: Operations) -> None:
    keep = of.keep
    lane_row, lane_column = of.all("lane_row", "lane_column")

    @njit
    def run(rows: Any, columns: Any) -> None:
        keep(lane_row(), rows)
        keep(lane_column(), columns)

    rows, columns = np.zeros((2, of.width), F)
    run(rows, columns)
    wide, high = of.all("PACKET_WIDTH", "PACKET_HEIGHT")
    assert of.width == wide * high
    np.testing.assert_array_equal(np.stack([rows, columns]), np.indices((high, wide)).reshape(2, -1))


def test_a_counter_gives_what_it_was(of: Operations) -> None:
    fetch_add = of["fetch_add"]

    @njit
    def run(counters: Any, at: int, amount: int) -> Any:
        return fetch_add(counters, at, amount)

    counters = np.array([7, 1 << 40, -3])
    assert [run(counters, 1, 5), run(counters, 1, -1), run(counters, 2, 0)] == [1 << 40, (1 << 40) + 5, -3]
    assert counters.tolist() == [7, (1 << 40) + 4, -3]


def test_every_operation_is_in_both_sets() -> None:
    names = set(operations.__all__) - {"KERNEL_SET", "KernelSet", "inline", "tell"}
    assert len(names) > 20
    for kernel_set in SETS.values():
        assert all(kernel_set[name] is not None for name in names)

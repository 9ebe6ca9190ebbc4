"""The operations on lanes, each against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from render.backends.cpu import gathers, lanes, rows3, weights
from render.backends.cpu.lanes import WIDTH, extract, splat, to_f32, to_i32

F = np.float32
INDEX = np.arange(16, dtype=np.int32)


@njit
def load(values: Any) -> Any:
    """Lanes from an array, whose first `WIDTH` values they take."""
    return gathers.gather(values, to_i32(lanes.lane_row() * F(lanes.PACKET_WIDTH) + lanes.lane_column()))


@njit
def keep(value: Any, out: Any) -> None:
    for lane in range(WIDTH):
        out[lane] = extract(value, lane)


def floats(*values: float) -> np.ndarray:
    return np.resize(np.array(values, F), 16)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minimum", lambda x, y: np.where(x < y, x, y)),
        ("maximum", lambda x, y: np.where(x > y, x, y)),
    ],
)
def test_minimum_and_maximum_give_the_second_where_the_first_is_nan(name: str, expected: Any) -> None:
    operation = getattr(lanes, name)

    @njit
    def run(a: Any, b: Any, out: Any) -> None:
        keep(operation(load(a), load(b)), out)

    a, b = floats(1, np.nan, -3, 2.5), floats(2, 7, np.nan)
    out = np.zeros(WIDTH, F)
    run(a, b, out)
    np.testing.assert_array_equal(out, expected(a, b)[:WIDTH])
    assert np.isnan(expected(a, b)[:WIDTH]).any()  # NaN in the second place does come out


def test_arithmetic_and_comparisons_are_numpys() -> None:
    @njit
    def run(a: Any, b: Any, out: Any) -> None:
        x, y = load(a), load(b)
        keep(lanes.select(x < y, (x + y) * x - y / x, F(3) * x), out)

    a, b = floats(1.5, -2, 3), floats(0.5, 4, 3, 9)
    out = np.zeros(WIDTH, F)
    run(a, b, out)
    np.testing.assert_array_equal(out, np.where(a < b, (a + b) * a - b / a, F(3) * a)[:WIDTH])


def test_integers_shift_and_convert_towards_zero() -> None:
    @njit
    def run(a: Any, out: Any) -> None:
        whole = to_i32(load(a))
        keep(to_f32((whole << np.int32(3)) + (whole & np.int32(1))), out)

    a = floats(1.9, -1.9, 2.0, -0.5)
    out = np.zeros(WIDTH, F)
    run(a, out)
    whole = np.trunc(a).astype(np.int32)
    np.testing.assert_array_equal(out, ((whole << 3) + (whole & 1))[:WIDTH].astype(F))


def test_reductions_and_any() -> None:
    @njit
    def run(a: Any) -> Any:
        x = load(a)
        return lanes.reduce_min(x), lanes.reduce_max(x), lanes.any_lane(x > F(4)), lanes.any_lane(x > F(5))

    a = floats(1, 5, -2, 3)
    assert run(a) == (-2.0, 5.0, True, False) if WIDTH >= 4 else run(a)[0] == 1.0


def test_roots_and_rounding() -> None:
    @njit
    def run(a: Any, out: Any) -> None:
        x = load(a)
        keep(lanes.sqrt(lanes.absolute(x)) + lanes.floor(x) * F(16) + lanes.ceil(x) * F(256), out)

    a = floats(2.25, -4.5, 9)
    out = np.zeros(WIDTH, F)
    run(a, out)
    np.testing.assert_array_equal(out, (np.sqrt(np.abs(a)) + np.floor(a) * 16 + np.ceil(a) * 256)[:WIDTH])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_row_mixes_a_voxel_with_its_neighbour(dtype: type) -> None:
    @njit
    def run(codes: Any, index: Any, fraction: Any, out: Any, apart: Any) -> None:
        at, weight = load(index), gathers.weight(codes, load(fraction))
        keep(gathers.row(codes, 5, at, weight), out)
        left, right = gathers.gather(codes, at + np.int32(5)), gathers.gather(codes, at + np.int32(6))
        keep(gathers.mix(left, right, weight), apart)

    rng = np.random.default_rng(1)
    codes = rng.integers(-32768, 32768, 64).astype(dtype)
    codes[5:9] = [-32768, 32767, 32767, -32768]  # the sums must not overflow
    index, fraction = (INDEX * 3 % 50).astype(np.int32), rng.random(16, dtype=F)
    index[:3], fraction[:3] = [0, 1, 2], [0.5, 1.0, 0.0]
    out, apart = np.zeros(WIDTH, F), np.zeros(WIDTH, F)
    run(codes, index, fraction, out, apart)
    wide = codes.astype(np.float64)
    exact = wide[index + 5] * (1 - fraction) + wide[index + 6] * fraction
    difference = np.abs(wide[index + 6] - wide[index + 5])
    error = np.abs(out / weights.weight_unit(dtype) - exact[:WIDTH])
    assert (error <= difference[:WIDTH] * 2.0**-15 + np.abs(exact[:WIDTH]) * 2.0**-22 + 2.0**-6).all()
    np.testing.assert_array_equal(out, apart)  # one load or two: the same bits


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_three_voxels_are_weighted(dtype: type) -> None:
    @njit
    def run(codes: Any, index: Any, first: Any, last: Any, out: Any, rise: Any) -> None:
        at = load(index)
        keep(rows3.row3(codes, 2, at, rows3.weights3(codes, load(first), load(last), 1.0)), out)
        keep(rows3.row3(codes, 2, at, rows3.weights3(codes, load(first), load(last), 0.0)), rise)

    rng = np.random.default_rng(2)
    codes = rng.integers(-3000, 3000, 64).astype(dtype)
    index = (INDEX * 3 % 50).astype(np.int32)
    first, last = (rng.random(16, dtype=F) / 2 for _ in range(2))
    out, rise = np.zeros(WIDTH, F), np.zeros(WIDTH, F)
    run(codes, index, first, last, out, rise)
    wide = codes.astype(np.float64)
    a, b, c = (wide[index + 2 + n] for n in range(3))
    unit = weights.weight_unit(dtype)
    np.testing.assert_allclose(out / unit, (a * first + b * (1 - first - last) + c * last)[:WIDTH], atol=0.6)
    np.testing.assert_allclose(rise / unit, (a * first - b * (first + last) + c * last)[:WIDTH], atol=0.6)


def test_invalid_is_a_code_or_nan() -> None:
    @njit
    def run(codes: Any, invalid: Any, out: Any) -> None:
        bad = gathers.is_invalid(load(codes), invalid)
        keep(lanes.select(bad, splat(F(1)), splat(F(0))), out)

    out = np.zeros(WIDTH, F)
    integers = np.resize(np.array([5, -2000, 7], np.int16), 16)
    run(integers, np.int32(-2000), out)
    np.testing.assert_array_equal(out, (integers == -2000)[:WIDTH])
    run(integers, np.int32(1 << 16), out)
    assert not out.any()
    numbers = floats(5, np.nan, 7)
    run(numbers, np.int32(7), out)
    np.testing.assert_array_equal(out, np.isnan(numbers)[:WIDTH])

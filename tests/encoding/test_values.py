from __future__ import annotations

import zlib

import hypothesis.extra.numpy as hnp
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.encoding import decode_values
from render.encoding.values import OUTSIDE_CODE, pack_deflate, pack_raw, quantise, unpack_deflate
from render.errors import InvalidArgumentError

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9)
FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


def undone(values: npt.NDArray[np.float32], units: str) -> tuple[npt.NDArray[np.float64], float]:
    codes, slope, intercept = quantise(values, units)
    height, width = values.shape
    return decode_values(pack_deflate(codes), width, height, slope, intercept, deflated=True), slope


@given(hnp.arrays(np.float32, SHAPES, elements=FLOATS), st.sampled_from(["HU", "Bq/ml", ""]))
def test_every_value_comes_back_within_half_a_step_and_outside_stays_outside(
    values: npt.NDArray[np.float32], units: str
) -> None:
    back, slope = undone(values, units)
    inside = np.isfinite(values)
    assert np.array_equal(np.isnan(back), ~inside)
    # In float64, beside the sum's own rounding.
    error = np.abs(back[inside] - values[inside].astype(np.float64))
    assert (error <= slope / 2 + 1e-15 * np.abs(values[inside].astype(np.float64))).all()
    assert np.frexp(slope)[0] == 0.5, "not a power of two"


@given(hnp.arrays(np.int32, SHAPES, elements=st.integers(-32768, 32766)))
def test_integers_come_back_exactly_with_slope_1(values: npt.NDArray[np.int32]) -> None:
    back, slope = undone(values.astype(np.float32), "HU")
    assert slope == 1
    assert np.array_equal(back, values)


@given(hnp.arrays(np.float32, SHAPES, elements=st.floats(-1024, 3071, width=32)))
def test_ct_is_coded_to_an_eighth_of_a_hu(values: npt.NDArray[np.float32]) -> None:
    back, slope = undone(values, "HU")
    assert slope in (1, 1 / 8)
    assert np.abs(back - values).max() <= 1 / 16


def test_the_largest_range_that_fits_keeps_slope_1_and_one_more_does_not() -> None:
    assert quantise(np.float32([[0, 65534]]), "HU")[1] == 1
    codes, slope, _ = quantise(np.float32([[0, 65535]]), "HU")
    assert slope == 2
    assert codes.max() != OUTSIDE_CODE


def test_ct_beyond_8191_hu_gets_the_next_slope_that_fits() -> None:
    assert quantise(np.float32([[0.5, 8191]]), "HU")[1] == 1 / 8
    assert quantise(np.float32([[0.5, 8200]]), "HU")[1] == 1 / 4


def test_small_units_are_coded_relative_to_their_range() -> None:
    suv = np.linspace(0, 12.3, 1000, dtype=np.float32).reshape(10, 100)
    back, slope = undone(suv, "SUVbw")
    assert 12.3 / 2**15 < slope <= 12.3 / 2**14
    assert np.abs(back - suv).max() <= slope / 2


def test_a_frame_outside_of_everything() -> None:
    codes, slope, intercept = quantise(np.full((2, 3), np.nan, np.float32), "HU")
    assert (codes == OUTSIDE_CODE).all()
    assert (slope, intercept) == (1, 0)


@given(hnp.arrays(np.uint16, SHAPES))
def test_deflate_is_lossless(codes: npt.NDArray[np.uint16]) -> None:
    height, width = codes.shape
    assert np.array_equal(unpack_deflate(pack_deflate(codes), width, height), codes)


def test_the_bytes_are_as_the_schema_says() -> None:
    # Deltas 258, -1, then (next row) 0, 1; zigzag 516, 1, 0, 2.
    codes = np.array([[258, 257], [0, 1]], np.uint16)
    assert zlib.decompress(pack_deflate(codes), -15) == bytes([4, 1, 0, 2, 2, 0, 0, 0])
    assert pack_raw(codes) == bytes([2, 1, 1, 1, 0, 0, 1, 0])


@pytest.mark.parametrize("damage", [lambda p: p[:-1], lambda p: p[1:], lambda p: b"", lambda p: b"\xff" * 9])
def test_a_damaged_payload_is_refused(damage: object) -> None:
    payload = pack_deflate(np.arange(12, dtype=np.uint16).reshape(3, 4))
    with pytest.raises(InvalidArgumentError):
        unpack_deflate(damage(payload), 4, 3)  # type: ignore[operator]


def test_a_payload_of_another_size_is_refused() -> None:
    codes = np.arange(12, dtype=np.uint16).reshape(3, 4)
    for width in (3, 5):
        with pytest.raises(InvalidArgumentError):
            decode_values(pack_deflate(codes), width, 3, 1, 0, deflated=True)
        with pytest.raises(InvalidArgumentError):
            decode_values(pack_raw(codes), width, 3, 1, 0, deflated=False)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    payload = bomb.compress(bytes(50_000_000)) + bomb.flush()
    with pytest.raises(InvalidArgumentError, match="25 bytes, 24 needed"):
        unpack_deflate(payload, 4, 3)

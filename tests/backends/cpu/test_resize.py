"""Fewer rays, brought to the viewport's size."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.backends.cpu.compiling import KERNELS
from render.backends.cpu.tiles import cut

STRIDES = [2, 3, 4]


def enlarged(rays: npt.NDArray, stride: int, shape: tuple[int, int], rows: int = 1000) -> npt.NDArray:
    out = np.full((*shape, *rays.shape[2:]), 77, rays.dtype)
    kernel = KERNELS["enlarge_values" if rays.ndim == 2 else "enlarge_color"]
    for top, bottom, _, _ in cut(*shape, rows, shape[1]):
        kernel(np.ascontiguousarray(rays), stride, out, top, bottom)
    return out


def positions(pixels: int, stride: int, count: int) -> npt.NDArray[np.float64]:
    return np.clip((np.arange(pixels) - (stride - 1) / 2) / stride, 0, count - 1)


def around(rays: npt.NDArray, stride: int, shape: tuple[int, int]) -> npt.NDArray:
    """Return the four rays around each pixel, shape ``(4, H, W, ...)``."""
    (top, bottom), (left, right) = (
        (before, np.minimum(before + 1, count - 1))
        for n, count in zip(shape, rays.shape[:2], strict=True)
        for before in [np.minimum(positions(n, stride, count).astype(int), max(count - 2, 0))]
    )
    return np.stack([rays[y][:, x] for y in (top, bottom) for x in (left, right)])


@st.composite
def pictures(draw: st.DrawFn) -> tuple[int, tuple[int, int], np.random.Generator]:
    shape = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    return draw(st.integers(1, 5)), shape, np.random.default_rng(draw(st.integers(0, 99)))


def rays_shape(stride: int, shape: tuple[int, int]) -> tuple[int, int]:
    return -(-shape[0] // stride), -(-shape[1] // stride)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_constant_stays_constant(stride: int) -> None:
    values = np.full((7, 9), -817.25, np.float32)
    assert (enlarged(values, stride, (7 * stride, 9 * stride)) == values[0, 0]).all()
    color = np.full((7, 9, 4), (11, 200, 37, 201), np.uint8)
    assert (enlarged(color, stride, (7 * stride, 9 * stride)) == color[0, 0]).all()


@pytest.mark.parametrize("stride", STRIDES)
def test_a_ramp_stays_a_ramp_up_to_the_outermost_rays(stride: int) -> None:
    shape = (8 * stride, 11 * stride)
    y, x = np.mgrid[:8, :11]
    down, across = positions(shape[0], stride, 8)[:, None], positions(shape[1], stride, 11)
    np.testing.assert_allclose(
        enlarged((7 * x - 3 * y).astype(np.float32), stride, shape), 7 * across - 3 * down, atol=1e-4
    )
    shifted = 7 * (across + 0.25) - 3 * down
    assert np.abs(enlarged((7 * x - 3 * y).astype(np.float32), stride, shape) - shifted).min() > 1


@settings(deadline=None, max_examples=60)
@given(pictures())
def test_nothing_leaves_the_range_of_the_rays_around_it(case) -> None:
    stride, shape, random = case
    values = random.normal(0, 300, rays_shape(stride, shape)).astype(np.float32)
    got, rays = enlarged(values, stride, shape), around(values, stride, shape)
    assert (got >= rays.min(axis=0)).all()
    assert (got <= rays.max(axis=0)).all()
    alpha = random.integers(0, 256, rays_shape(stride, shape))
    color = np.dstack([random.integers(0, alpha + 1) for _ in range(3)] + [alpha]).astype(np.uint8)
    got, rays = enlarged(color, stride, shape), around(color, stride, shape)
    assert (got >= rays.min(axis=0)).all()
    assert (got <= rays.max(axis=0)).all()
    assert (got[..., :3] <= got[..., 3:]).all(), "brighter than premultiplied colours can be"


@settings(deadline=None, max_examples=60)
@given(pictures())
def test_nan_takes_no_part_and_outlines_stay(case) -> None:
    stride, shape, random = case
    values = random.uniform(1000, 1100, rays_shape(stride, shape)).astype(np.float32)
    values[random.random(values.shape) < 0.3] = np.nan
    got = enlarged(values, stride, shape)
    inside = got[~np.isnan(got)]
    assert ((inside >= 1000) & (inside <= 1100)).all()
    if stride % 2:  # a pixel of its own in the middle of the rays' pixels
        middle = stride // 2
        sampled = got[middle::stride, middle::stride]
        rows, columns = sampled.shape
        np.testing.assert_array_equal(np.isnan(sampled), np.isnan(values[:rows, :columns]))


@pytest.mark.parametrize("stride", STRIDES)
def test_an_outline_is_where_the_nearest_ray_says(stride: int) -> None:
    values = np.full((6, 8), 5, np.float32)
    values[:, :3] = np.nan
    got = enlarged(values, stride, (6 * stride, 8 * stride))
    assert np.isnan(got[:, : 3 * stride]).all()
    assert (got[:, 3 * stride :] == 5).all()


@settings(deadline=None, max_examples=30)
@given(pictures(), st.integers(1, 9))
def test_rows_may_be_done_in_any_parts(case, rows: int) -> None:
    stride, shape, random = case
    values = random.normal(0, 300, rays_shape(stride, shape)).astype(np.float32)
    values[random.random(values.shape) < 0.1] = np.nan
    np.testing.assert_array_equal(enlarged(values, stride, shape, rows), enlarged(values, stride, shape))
    color = random.integers(0, 256, (*rays_shape(stride, shape), 4), np.uint8)
    np.testing.assert_array_equal(enlarged(color, stride, shape, rows), enlarged(color, stride, shape))


def test_one_ray_a_pixel_changes_nothing() -> None:
    random = np.random.default_rng(5)
    values = random.normal(0, 300, (9, 13)).astype(np.float32)
    values[2, 3:7] = np.nan
    np.testing.assert_array_equal(enlarged(values, 1, values.shape), values)
    alpha = random.integers(0, 256, (9, 13, 1))
    color = np.concatenate([alpha // 2, alpha // 3, alpha, alpha], axis=2).astype(np.uint8)
    np.testing.assert_array_equal(enlarged(color, 1, color.shape[:2]), color)


@pytest.mark.parametrize("stride", STRIDES)
def test_a_smooth_picture_is_met_better_than_bilinearly(stride: int) -> None:
    shape = 24 * stride, 24 * stride
    y, x = (positions(n, stride, 24) for n in shape)

    def wave(rows: npt.NDArray, columns: npt.NDArray) -> npt.NDArray:
        return 100 * np.sin(rows * 0.9)[:, None] * np.cos(columns * 0.7)

    values = wave(np.arange(24.0), np.arange(24.0)).astype(np.float32)
    y0, x0 = np.minimum(y.astype(int), 22), np.minimum(x.astype(int), 22)
    fy, fx = (y - y0)[:, None], x - x0
    upper = values[y0][:, x0] * (1 - fx) + values[y0][:, x0 + 1] * fx
    lower = values[y0 + 1][:, x0] * (1 - fx) + values[y0 + 1][:, x0 + 1] * fx
    bilinear = upper * (1 - fy) + lower * fy
    true = wave(y, x)
    error, bilinear_error = (np.abs(each - true).mean() for each in (enlarged(values, stride, shape), bilinear))
    assert error < 0.6 * bilinear_error

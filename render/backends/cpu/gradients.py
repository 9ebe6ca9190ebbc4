"""A sample's gradient from three voxels along each axis.

The neighbours of a central difference lie at most half a voxel away, so a sample and its six neighbours read
within 3 x 3 x 3 voxels. Interpolation is a sum with the hat function as weight, and it is separable: nine rows of three
voxels, each summed with the weights of the sample and with those of the difference along x, and then the
same along y and z. That is nine loads a lane where six further trilinear samples take 24.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends.cpu.operations import fma, inline, maximum, row3, splat, to_f32, to_i32, weights3

F = np.float32


@inline
def hats(u: Any) -> Any:
    """Weights of the first and the last of three voxels at 0, 1, 2 for a point at u, 0 to 2."""
    return maximum(splat(F(1)) - u, splat(F(0))), maximum(u - F(1), splat(F(0)))


@inline
def axis_weights(u: Any, reach: Any) -> Any:
    """Return ``(first, last, rise_first, rise_last)``: of a sample at u, and of the difference of its neighbours."""
    first, last = hats(u)
    before_first, before_last = hats(u - reach)
    after_first, after_last = hats(u + reach)
    return first, last, after_first - before_first, after_last - before_last


@inline
def slab3(codes: Any, offset: Any, row_stride: Any, at: Any, wx: Any, dx: Any, wy: Any) -> Any:
    """Return ``(value, rise along x, rise along y)`` within one slice."""
    first, last, rise_first, rise_last = wy
    middle, rise_middle = splat(F(1)) - first - last, splat(F(0)) - rise_first - rise_last
    a, b, c = (
        row3(codes, offset, at, wx),
        row3(codes, offset + row_stride, at, wx),
        row3(codes, offset + 2 * row_stride, at, wx),
    )
    rise_a, rise_b, rise_c = (
        row3(codes, offset, at, dx),
        row3(codes, offset + row_stride, at, dx),
        row3(codes, offset + 2 * row_stride, at, dx),
    )
    value = fma(a, first, fma(b, middle, c * last))
    along_x = fma(rise_a, first, fma(rise_b, middle, rise_c * last))
    return value, along_x, fma(a, rise_first, fma(b, rise_middle, c * rise_last))


@inline
def sample_and_rises(codes: Any, row_stride: Any, slab_stride: Any, reach: Any, x: Any, y: Any, z: Any) -> Any:
    """Return a sample, and the differences of its neighbours `reach` voxels away along i, j and k.

    All are `weights.weight_unit` times too large. The sample differs from `sampling.sample` by the rounding of weights.
    `reach` is at most 1/2 on each axis. Lanes must stay `READ_AHEAD` voxels within the outermost voxel centres.
    """
    i, j, k = to_i32(x - F(0.5)), to_i32(y - F(0.5)), to_i32(z - F(0.5))
    at = i + j * row_stride + k * slab_stride
    first, last, rise_first, rise_last = axis_weights(x - to_f32(i), reach[0])
    wx, dx = weights3(codes, first, last, 1.0), weights3(codes, rise_first, rise_last, 0.0)
    wy = axis_weights(y - to_f32(j), reach[1])
    first, last, rise_first, rise_last = axis_weights(z - to_f32(k), reach[2])
    middle, rise_middle = splat(F(1)) - first - last, splat(F(0)) - rise_first - rise_last
    value_a, x_a, y_a = slab3(codes, 0, row_stride, at, wx, dx, wy)
    value_b, x_b, y_b = slab3(codes, slab_stride, row_stride, at, wx, dx, wy)
    value_c, x_c, y_c = slab3(codes, 2 * slab_stride, row_stride, at, wx, dx, wy)
    value = fma(value_a, first, fma(value_b, middle, value_c * last))
    return value, (
        fma(x_a, first, fma(x_b, middle, x_c * last)),
        fma(y_a, first, fma(y_b, middle, y_c * last)),
        fma(value_a, rise_first, fma(value_b, rise_middle, value_c * rise_last)),
    )


READ_AHEAD = 2.51
"""Voxels: a row of four begins half a voxel and less than one before its sample, so it ends within two and a half."""
READ_AROUND = 1.5
"""Voxels around a sample whose codes take part, if only with a weight of zero: none of them may be invalid."""

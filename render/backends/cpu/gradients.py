"""A sample's gradient from three voxels along each axis.

The neighbours of a central difference lie at most half a voxel away, so a sample and its six neighbours read
within 3 x 3 x 3 voxels. Interpolation is a sum with the hat function as weight, and it is separable: nine rows of
voxels, each summed with the weights of the sample and with those of the difference along x, and then the
same along y and z. That is nine loads a lane where six further trilinear samples take 24. A row is four voxels long,
since that is what one load brings; the fourth counts only at the volume's last face.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.operations import (
    absolute,
    fma,
    inline,
    maximum,
    minimum,
    row4,
    splat,
    to_f32,
    to_i32,
    weights4,
)
from render.backends.cpu.sampling import held

F = np.float32
READ_BEHIND, READ_AHEAD = F(0.51), F(2.51)
"""Voxels: a row of four begins half a voxel and less than one before its sample, so it ends within two and a half."""


@inline
def hats4(u: Any) -> Any:
    """Weights of the first, third and fourth of four voxels at 0, 1, 2, 3 for a point at u, 0 to 3."""
    zero, one = splat(F(0)), splat(F(1))
    return maximum(one - u, zero), maximum(one - absolute(u - F(2)), zero), maximum(u - F(2), zero)


@inline
def hats3(u: Any) -> Any:
    """Weights of the first and the last of three voxels at 0, 1, 2 for a point at u, 0 to 2."""
    return maximum(splat(F(1)) - u, splat(F(0))), maximum(u - F(1), splat(F(0)))


@inline
def slab3(codes: Any, offset: Any, row_stride: Any, at: Any, wx: Any, dx: Any, wy: Any) -> Any:
    """Return ``(value, rise along x, rise along y)`` within one slice."""
    first, last, rise_first, rise_last = wy
    middle, rise_middle = splat(F(1)) - first - last, splat(F(0)) - rise_first - rise_last
    a, b, c = (
        row4(codes, offset, at, wx),
        row4(codes, offset + row_stride, at, wx),
        row4(codes, offset + 2 * row_stride, at, wx),
    )
    rise_a, rise_b, rise_c = (
        row4(codes, offset, at, dx),
        row4(codes, offset + row_stride, at, dx),
        row4(codes, offset + 2 * row_stride, at, dx),
    )
    value = fma(a, first, fma(b, middle, c * last))
    along_x = fma(rise_a, first, fma(rise_b, middle, rise_c * last))
    return value, along_x, fma(a, rise_first, fma(b, rise_middle, c * rise_last))


@inline
def separable(codes: Any, p: Any, ijk: Any, wx: Any, dx: Any, wy: Any, wz: Any) -> Any:
    """Sum 4 x 3 x 3 voxels from ``ijk`` on: the rises along i, j and k."""
    row_stride = np.int64(p[rays.SIZE])
    slab_stride = row_stride * np.int64(p[rays.SIZE + 1])
    at = ijk[0] + ijk[1] * row_stride + ijk[2] * slab_stride
    first, last, rise_first, rise_last = wz
    middle, rise_middle = splat(F(1)) - first - last, splat(F(0)) - rise_first - rise_last
    value_a, x_a, y_a = slab3(codes, 0, row_stride, at, wx, dx, wy)
    value_b, x_b, y_b = slab3(codes, slab_stride, row_stride, at, wx, dx, wy)
    value_c, x_c, y_c = slab3(codes, 2 * slab_stride, row_stride, at, wx, dx, wy)
    return (
        fma(x_a, first, fma(x_b, middle, x_c * last)),
        fma(y_a, first, fma(y_b, middle, y_c * last)),
        fma(value_a, rise_first, fma(value_b, rise_middle, value_c * rise_last)),
    )


@inline
def axis3(u: Any, before: Any, after: Any) -> Any:
    """Return ``(first, last, rise_first, rise_last)``: weights of a sample, and of its neighbours' difference."""
    first, last = hats3(u)
    before_first, before_last = hats3(before)
    after_first, after_last = hats3(after)
    return first, last, after_first - before_first, after_last - before_last


@inline
def rises(codes: Any, p: Any, x: Any, y: Any, z: Any) -> Any:
    """Return the differences of a sample's neighbours `rays.PROBE` voxels away along i, j and k.

    They are `weights.weight_unit` times too large. Lanes must stay `READ_BEHIND` and `READ_AHEAD` voxels within the
    outermost centres.
    """
    i, j, k = to_i32(x - F(0.5)), to_i32(y - F(0.5)), to_i32(z - F(0.5))
    u, v, w = x - to_f32(i), y - to_f32(j), z - to_f32(k)
    reach_x, reach_y, reach_z = F(p[rays.PROBE]), F(p[rays.PROBE + 1]), F(p[rays.PROBE + 2])
    none = splat(F(0))
    first, last = hats3(u)
    before_first, before_last = hats3(u - reach_x)
    after_first, after_last = hats3(u + reach_x)
    wx = weights4(codes, (first, last, none), 1.0)
    dx = weights4(codes, (after_first - before_first, after_last - before_last, none), 0.0)
    wy, wz = axis3(v, v - reach_y, v + reach_y), axis3(w, w - reach_z, w + reach_z)
    return separable(codes, p, (i, j, k), wx, dx, wy, wz)


@inline
def edge_rises(codes: Any, p: Any, x: Any, y: Any, z: Any) -> Any:
    """Return `rises` anywhere; neighbours are held at the faces. The volume must have 4 x 3 x 3 voxels at least."""
    half = F(0.5)
    none = splat(F(0))
    xc, yc, zc = held(p, 0, x), held(p, 1, y), held(p, 2, z)
    i = to_i32(minimum(maximum(xc - half, none), splat(F(p[rays.SIZE] - 4))))
    j = to_i32(minimum(maximum(yc - half, none), splat(F(p[rays.SIZE + 1] - 3))))
    k = to_i32(minimum(maximum(zc - half, none), splat(F(p[rays.SIZE + 2] - 3))))
    reach_x, reach_y, reach_z = F(p[rays.PROBE]), F(p[rays.PROBE + 1]), F(p[rays.PROBE + 2])
    first = to_f32(i)
    a, c, d = hats4(held(p, 0, x - reach_x) - first)
    e, g, h = hats4(held(p, 0, x + reach_x) - first)
    wx = weights4(codes, hats4(xc - first), 1.0)
    dx = weights4(codes, (e - a, g - c, h - d), 0.0)
    first = to_f32(j)
    wy = axis3(yc - first, held(p, 1, y - reach_y) - first, held(p, 1, y + reach_y) - first)
    first = to_f32(k)
    wz = axis3(zc - first, held(p, 2, z - reach_z) - first, held(p, 2, z + reach_z) - first)
    return separable(codes, p, (i, j, k), wx, dx, wy, wz)

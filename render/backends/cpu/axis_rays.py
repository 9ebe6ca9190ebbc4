"""Rays along an axis of the voxels, as in every slab and MIP that is not oblique: samples lie between *nodes*.

All rays of the picture then cross a plane of voxel centres at the same k, each at a point that stays where it is in the
plane. What a ray has there, its node, is interpolated once, and every sample up to the next plane lies between two
nodes: two rows of voxels a plane where other rays take four a sample, at addresses that are found once a packet.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.operations import fma, inline, lerp, maximum, row, splat, to_f32, to_i32, weight
from render.backends.cpu.sampling import F

ORIGIN, STEP, SIZE = rays.ORIGIN, rays.STEP, rays.SIZE


@inline
def take(codes: Any, p: Any, at: Any, k: Any, end: Any, taken: Any, sign: Any, adds: bool) -> Any:
    """Take samples `k` to `end` of rays along `rays.AXIS` into `taken`, as it was: their sum, or their maximum.

    `at` is the position of any of them; each lane must lie within the outermost voxel centres all the way. Samples are
    multiplied by `sign` before the maximum.
    """
    axis = np.int64(p[rays.AXIS])
    start, step = p[ORIGIN + axis], p[STEP + axis]
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    ix, iy, iz = to_i32(at[0]), to_i32(at[1]), to_i32(at[2])
    fx, fy, fz = at[0] - to_f32(ix), at[1] - to_f32(iy), at[2] - to_f32(iz)
    onward = np.int64(1) if step > 0 else np.int64(-1)
    if axis == 0:
        index = iy * row_stride + iz * slab_stride
        left, right = weight(codes, splat(F(onward < 0))), weight(codes, splat(F(onward > 0)))
        while k <= end:
            plane = np.int64(start + step * k)
            behind = bilinear(codes, plane, row_stride, slab_stride, index, left, fy, fz)
            ahead = bilinear(codes, plane, row_stride, slab_stride, index, right, fy, fz)
            entered = plane if onward > 0 else plane + 1
            cell = span((start - entered) * onward, step * onward, k, end)
            taken = with_cell(taken, behind, ahead, cell, sign, adds)
            k += cell[3]
        return taken
    # The other axes differ in their strides alone.
    stride, aside, between, index = slab_stride, row_stride, fy, ix + iy * row_stride
    if axis == 1:
        stride, aside, between, index = row_stride, slab_stride, fz, ix + iz * slab_stride
    across = weight(codes, fx)
    expected = np.int64(-1)
    behind = ahead = splat(F(0))
    while k <= end:
        where = start + step * k
        plane = np.int64(where)
        if onward < 0 and where > plane:
            plane += 1
        behind = ahead
        if plane != expected:
            behind = node(codes, plane * stride, aside, index, across, between)
        expected = plane + onward
        ahead = node(codes, expected * stride, aside, index, across, between)
        cell = span((start - plane) * onward, step * onward, k, end)
        taken = with_cell(taken, behind, ahead, cell, sign, adds)
        k += cell[3]
    return taken


@inline
def span(start: Any, step: Any, k: Any, end: Any) -> Any:
    """Return ``(first, last, sum, count)`` of the fractions ``start + step * k`` up to the first that is 1 or `end`.

    That of `k` itself always counts.
    """
    fraction = F(start + step * k)
    first = last = total = fraction
    count = F(1)
    k += F(1)
    fraction = F(start + step * k)
    while k <= end and fraction < F(1):
        last = fraction
        total += fraction
        count += F(1)
        k += F(1)
        fraction = F(start + step * k)
    return first, last, total, count


@inline
def node(codes: Any, offset: Any, aside: Any, index: Any, across: Any, between: Any) -> Any:
    """Interpolate along x and, between two rows `aside` elements apart, along one more axis."""
    return lerp(row(codes, offset, index, across), row(codes, offset + aside, index, across), between)


@inline
def bilinear(
    codes: Any, offset: Any, row_stride: Any, slab_stride: Any, index: Any, across: Any, fy: Any, fz: Any
) -> Any:
    """Interpolate along y and z; `across` chooses one of two neighbours along x."""
    near = node(codes, offset, row_stride, index, across, fy)
    far = node(codes, offset + slab_stride, row_stride, index, across, fy)
    return lerp(near, far, fz)


@inline
def with_cell(taken: Any, behind: Any, ahead: Any, cell: Any, sign: Any, adds: bool) -> Any:
    """Add the samples between two nodes, or take the maximum with them: with the outermost, for they lie on a line."""
    first, last, total, count = cell
    if adds:
        return fma(behind, count, taken) + (ahead - behind) * total
    rise = ahead - behind
    extreme = maximum(fma(rise, splat(first), behind) * sign, fma(rise, splat(last), behind) * sign)
    return maximum(extreme, taken)

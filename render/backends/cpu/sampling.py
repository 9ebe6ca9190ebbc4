"""What all kernels do: make the rays of a packet, clip them to the volume, sample it."""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.operations import (
    absolute,
    ceil,
    cell_rows,
    floor,
    fma,
    gather,
    inline,
    is_invalid,
    lane_column,
    lane_row,
    lerp,
    maximum,
    minimum,
    mix,
    row,
    select,
    splat,
    sqrt,
    to_f32,
    to_i32,
    weight,
)

F = np.float32
HUGE = F(3e38)
"""Beyond every sample."""
PARALLEL = F(1e-12)
"""Voxels a step: a ray slower than this along an axis is parallel to it."""

ORIGIN, COLUMN, ROW, STEP = rays.ORIGIN, rays.COLUMN, rays.ROW, rays.STEP
EYE, SIZE, INNER = rays.EYE, rays.SIZE, rays.INNER
FACE, WHOLE = rays.FACE_TOLERANCE, rays.WHOLE_TOLERANCE


@inline
def pixel_axis(p: Any, axis: int, first: int, top: int, left: int) -> Any:
    """One coordinate that is linear in the pixel, at each lane; the packet's own corner is computed in float64."""
    corner = p[first + axis] + left * p[COLUMN + axis] + top * p[ROW + axis]
    across = fma(lane_column(), F(p[COLUMN + axis]), splat(F(corner)))
    return fma(lane_row(), F(p[ROW + axis]), across)


@inline
def packet_rays(p: Any, top: int, left: int) -> Any:
    """Return ``(x, y, z, step_x, step_y, step_z, behind)`` of a packet; samples behind the eye have k <= behind."""
    x, y, z = (
        pixel_axis(p, 0, ORIGIN, top, left),
        pixel_axis(p, 1, ORIGIN, top, left),
        pixel_axis(p, 2, ORIGIN, top, left),
    )
    behind = splat(F(-rays.FAR))
    step_x, step_y, step_z = splat(F(p[STEP])), splat(F(p[STEP + 1])), splat(F(p[STEP + 2]))
    if p[rays.PERSPECTIVE] != 0:
        right_mm, down_mm = F(p[rays.SPACING_RIGHT]), F(p[rays.SPACING_DOWN])
        u = fma(lane_column(), right_mm, splat(F(p[rays.EYE_RIGHT] + left * p[rays.SPACING_RIGHT])))
        v = fma(lane_row(), down_mm, splat(F(p[rays.EYE_DOWN] + top * p[rays.SPACING_DOWN])))
        distance = sqrt(fma(u, u, fma(v, v, splat(F(p[rays.EYE_DISTANCE2])))))
        steps = distance * F(1 / p[rays.STEP_MM])
        lattice = F(p[rays.LATTICE])
        behind = splat(F(0)) - steps - lattice
        step_x = pixel_axis(p, 0, EYE, top, left) / steps
        step_y = pixel_axis(p, 1, EYE, top, left) / steps
        step_z = pixel_axis(p, 2, EYE, top, left) / steps
        x, y, z = fma(step_x, lattice, x), fma(step_y, lattice, y), fma(step_z, lattice, z)
    return x, y, z, step_x, step_y, step_z, behind


@inline
def clip_axis(x: Any, step: Any, low: Any, high: Any, first: Any, last: Any) -> Any:
    """Narrow ``first <= k <= last`` to where ``low <= x + step * k <= high``."""
    slope = select(absolute(step) < PARALLEL, splat(PARALLEL), step)
    a, b = (low - x) / slope, (high - x) / slope
    return maximum(first, minimum(a, b)), minimum(last, maximum(a, b))


@inline
def clip_volume(p: Any, ray: Any) -> Any:
    """Return the first and the last k of each lane whose sample is inside the volume, the slab, and before the eye."""
    first, last = splat(F(p[rays.FIRST])), splat(F(p[rays.LAST]))
    # Strictly before the eye: the sample in the eye itself has no direction.
    first = maximum(first, floor(ray[6]) + F(1))
    first, last = clip_axis(ray[0], ray[3], F(-0.5 - FACE), F(p[SIZE] - 0.5 + FACE), first, last)
    first, last = clip_axis(ray[1], ray[4], F(-0.5 - FACE), F(p[SIZE + 1] - 0.5 + FACE), first, last)
    first, last = clip_axis(ray[2], ray[5], F(-0.5 - FACE), F(p[SIZE + 2] - 0.5 + FACE), first, last)
    return ceil(first), floor(last)


@inline
def clip_inner(p: Any, x: Any, y: Any, z: Any, step_x: Any, step_y: Any, step_z: Any, first: Any, last: Any) -> Any:
    """Return the k between which each lane may be sampled plainly."""
    for_x, for_y, for_z = F(p[INNER]), F(p[INNER + 1]), F(p[INNER + 2])
    if p[SIZE] - 1 < 2 * for_x or p[SIZE + 1] - 1 < 2 * for_y or p[SIZE + 2] - 1 < 2 * for_z:
        return splat(HUGE), splat(-HUGE)  # too thin to have an inside; clip_axis would take its faces for each other
    first, last = clip_axis(x, step_x, for_x, F(p[SIZE] - 1) - for_x, first, last)
    first, last = clip_axis(y, step_y, for_y, F(p[SIZE + 1] - 1) - for_y, first, last)
    first, last = clip_axis(z, step_z, for_z, F(p[SIZE + 2] - 1) - for_z, first, last)
    return ceil(first), floor(last)


@inline
def sample(codes: Any, row_stride: Any, slab_stride: Any, x: Any, y: Any, z: Any) -> Any:
    """Trilinear, times `gathers.weight_unit`. Every lane must lie within the volume's outermost voxel centres."""
    return trilinear(codes, row_stride, slab_stride, x, y, z, to_i32(x), to_i32(y), to_i32(z))


@inline
def near_sample(codes: Any, row_stride: Any, slab_stride: Any, x: Any, y: Any, z: Any, box: Any) -> Any:
    """Return `sample`, which is quicker where the lanes lie in the `box`, as `cell_rows` takes it."""
    ix, iy, iz = to_i32(x), to_i32(y), to_i32(z)
    across = weight(codes, x - to_f32(ix))
    a, b, c, d = cell_rows(codes, (row_stride, slab_stride), (ix, iy, iz), across, box)
    fy, fz = y - to_f32(iy), z - to_f32(iz)
    return lerp(lerp(a, b, fy), lerp(c, d, fy), fz)


@inline
def edge_sample(codes: Any, p: Any, x: Any, y: Any, z: Any) -> Any:
    """Return `sample` anywhere, edge values held. The volume must be two voxels thick at least."""
    x, y, z = held(p, 0, x), held(p, 1, y), held(p, 2, z)
    ix = to_i32(minimum(x, splat(F(p[SIZE] - 2))))
    iy = to_i32(minimum(y, splat(F(p[SIZE + 1] - 2))))
    iz = to_i32(minimum(z, splat(F(p[SIZE + 2] - 2))))
    row_stride = np.int64(p[SIZE])
    slab_stride = np.int64(p[SIZE]) * np.int64(p[SIZE + 1])
    return trilinear(codes, row_stride, slab_stride, x, y, z, ix, iy, iz)


@inline
def is_flat(p: Any) -> Any:
    """Whether the volume is one voxel thick somewhere: then it has no pairs to interpolate between."""
    return p[SIZE] < 2 or p[SIZE + 1] < 2 or p[SIZE + 2] < 2


@inline
def held(p: Any, axis: int, x: Any) -> Any:
    """Bring a coordinate between the outermost voxel centres."""
    return minimum(maximum(x, splat(F(0))), splat(F(p[SIZE + axis] - 1)))


@inline
def trilinear(codes: Any, row_stride: Any, slab_stride: Any, x: Any, y: Any, z: Any, ix: Any, iy: Any, iz: Any) -> Any:
    """Interpolate between the eight voxels from ``(ix, iy, iz)`` on."""
    at = ix + iy * row_stride + iz * slab_stride
    across = weight(codes, x - to_f32(ix))
    fy, fz = y - to_f32(iy), z - to_f32(iz)
    near = lerp(row(codes, 0, at, across), row(codes, row_stride, at, across), fy)
    far = lerp(row(codes, slab_stride, at, across), row(codes, slab_stride + row_stride, at, across), fy)
    return lerp(near, far, fz)


@inline
def probe(codes: Any, p: Any, x: Any, y: Any, z: Any) -> Any:
    """Return `sample` anywhere, edge values held, and whether all eight voxels are valid. Never reads out of bounds."""
    nx, ny, nz = F(p[SIZE] - 1), F(p[SIZE + 1] - 1), F(p[SIZE + 2] - 1)
    row_stride = np.int64(p[SIZE])
    slab_stride = np.int64(p[SIZE]) * np.int64(p[SIZE + 1])
    x, y, z = (
        minimum(maximum(x, splat(F(0))), splat(nx)),
        minimum(maximum(y, splat(F(0))), splat(ny)),
        minimum(maximum(z, splat(F(0))), splat(nz)),
    )
    x0, y0, z0 = to_i32(x), to_i32(y), to_i32(z)
    fx, fy, fz = x - to_f32(x0), y - to_f32(y0), z - to_f32(z0)
    across = weight(codes, fx)
    x0, x1 = corners_axis(x0, fx, nx)
    y0, y1 = corners_axis(y0, fy, ny)
    z0, z1 = corners_axis(z0, fz, nz)
    y0, y1 = y0 * row_stride, y1 * row_stride
    z0, z1 = z0 * slab_stride, z1 * slab_stride
    invalid = np.int32(p[rays.INVALID])
    a, bad_a = edge_row(codes, y0 + z0, x0, x1, across, invalid)
    b, bad_b = edge_row(codes, y1 + z0, x0, x1, across, invalid)
    c, bad_c = edge_row(codes, y0 + z1, x0, x1, across, invalid)
    d, bad_d = edge_row(codes, y1 + z1, x0, x1, across, invalid)
    bad = bad_a | bad_b | bad_c | bad_d
    value = lerp(lerp(a, b, fy), lerp(c, d, fy), fz)
    return value, select(bad, splat(F(0)), splat(F(1))) > F(0)


@inline
def corners_axis(index: Any, fraction: Any, last: Any) -> Any:
    """Return the two voxels around a sample, or twice the same one where the other has no weight to speak of.

    So a plane through the centres of a slice shows it, whether or not the next slice is there.
    """
    after = minimum(index + np.int32(1), splat(np.int32(last)))
    before = select(fraction > F(1 - WHOLE), after, index)
    return before, select(fraction < F(WHOLE), index, after)


@inline
def edge_row(codes: Any, at: Any, x0: Any, x1: Any, across: Any, invalid: Any) -> Any:
    """Return `operations.row` of two separate voxels, and whether one of them is invalid."""
    left, right = gather(codes, at + x0), gather(codes, at + x1)
    return mix(left, right, across), is_invalid(left, invalid) | is_invalid(right, invalid)

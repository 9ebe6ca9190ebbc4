"""What the ray marching kernels share: a packet's span, and which brick bounds a segment of it.

A packet is marched in segments of a fixed number of samples. The grid's bricks are bounds over themselves and their
next neighbours (see `bricks`), so the brick at the low corner of a segment's box bounds all its samples if the box is
no larger than a brick: one look-up decides whether a segment is worth taking.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.operations import (
    BOX_LENGTH,
    BOX_ROWS,
    PACKET_HEIGHT,
    PACKET_WIDTH,
    WIDTH,
    bits,
    extract,
    fma,
    gather,
    inline,
    lane_column,
    lane_row,
    load,
    maximum,
    minimum,
    reduce_max,
    reduce_min,
    select,
    splat,
    store,
    store_rows,
    to_f32,
    to_i32,
)
from render.backends.cpu.sampling import HUGE, F, clip_inner, clip_volume, packet_rays

SIZE, GRID, COLUMN = rays.SIZE, rays.GRID, rays.COLUMN
SLACK = 0.01
"""Voxels. What float32 may lose of a box's corner."""
MAX_SEGMENT = 64
"""Samples."""


@inline
def enter(p: Any, top: int, left: int) -> Any:
    """Return a packet ready to march: ``(ray, first, last, alive, start, stop, inner_first, inner_last)``.

    Lanes that miss the volume are not alive; their rays are parked at its middle, so that they may be sampled with
    the others. All alive lanes are inside the volume from `start` to `stop` or less, and everything between
    `inner_first` and `inner_last` may be sampled plainly. An empty packet has ``start > stop``.
    """
    ray = packet_rays(p, top, left)
    first, last = clip_volume(p, ray)
    alive = first <= last
    start = reduce_min(select(alive, first, splat(HUGE)))
    stop = reduce_max(select(alive, last, splat(-HUGE)))
    x = select(alive, ray[0], splat(F(p[SIZE] / 2 - 0.5)))
    y = select(alive, ray[1], splat(F(p[SIZE + 1] / 2 - 0.5)))
    z = select(alive, ray[2], splat(F(p[SIZE + 2] / 2 - 0.5)))
    still = splat(F(0))
    step_x, step_y, step_z = (
        select(alive, ray[3], still),
        select(alive, ray[4], still),
        select(alive, ray[5], still),
    )
    inner_first, inner_last = clip_inner(
        p,
        x,
        y,
        z,
        step_x,
        step_y,
        step_z,
        select(alive, first, splat(-HUGE)),
        select(alive, last, splat(HUGE)),
    )
    ray = x, y, z, step_x, step_y, step_z
    return ray, first, last, alive, start, stop, reduce_max(inner_first), reduce_min(inner_last)


@inline
def segments(p: Any, ray: Any, alive: Any, start: Any, stop: Any) -> Any:
    """Return ``(length, bounded)``: samples to a segment, and whether the brick at its low corner bounds it.

    Where rays are parallel both are known from the host. In perspective each packet's rays spread by themselves, and
    some more than its size on the image plane says: far off the middle they turn along the line of sight as well.
    """
    length = F(p[rays.SEGMENT])
    if p[rays.PERSPECTIVE] == 0:
        return length, True
    path = stop - start
    fitting = min(
        fitting_axis(p, 0, ray[0], ray[3], alive, start, path),
        fitting_axis(p, 1, ray[1], ray[4], alive, start, path),
        fitting_axis(p, 2, ray[2], ray[5], alive, start, path),
    )
    if fitting < F(1):
        return length, False
    return min(np.floor(fitting), F(MAX_SEGMENT)), True


@inline
def fitting_axis(p: Any, axis: int, x: Any, step: Any, alive: Any, start: Any, path: Any) -> Any:
    """Return how many samples a segment may have whose box fits a brick along an axis, with a fraction, all the way.

    Its low corner moves on by the least of the steps, so that the box grows by all that the steps differ.
    """
    if p[GRID + axis] <= 2:
        return F(MAX_SEGMENT)  # a brick with its next neighbour is all there is from it on
    here = fma(step, start, x)
    low, high = reduce_min(select(alive, here, splat(HUGE))), reduce_max(select(alive, here, splat(-HUGE)))
    least, most = reduce_min(select(alive, step, splat(HUGE))), reduce_max(select(alive, step, splat(-HUGE)))
    room = F(1 / p[rays.BRICKS_PER_VOXEL] - 1 - SLACK) - (high - low) - (most - least) * path
    return room / max(most, -least, most - least, F(1e-6)) + F(1)


@inline
def corner_axis(x: Any, step: Any, alive: Any, start: Any, span: Any) -> Any:
    """Return ``(c, s)``: the box of the segment that begins u samples after `start` has its low side at c + s * u."""
    here = fma(step, start, x)
    low = reduce_min(select(alive, here, splat(HUGE)))
    slope = reduce_min(select(alive, step, splat(HUGE)))
    return low + min(F(0), slope * span), slope


@inline
def corners(p: Any, ray: Any, alive: Any, start: Any, length: Any) -> Any:
    """`corner_axis` of the three axes, in bricks."""
    span, scale = length - F(1), F(p[rays.BRICKS_PER_VOXEL])
    cx, sx = corner_axis(ray[0], ray[3], alive, start, span)
    cy, sy = corner_axis(ray[1], ray[4], alive, start, span)
    cz, sz = corner_axis(ray[2], ray[5], alive, start, span)
    return cx * scale, cy * scale, cz * scale, sx * scale, sy * scale, sz * scale


@inline
def bound_segments(p: Any, bounds: Any, box: Any, length: Any, bounded: Any, count: Any, bound: Any) -> None:
    """Bound each segment of a packet, times the samples' unit and sign, a segment to a lane; what follows is -HUGE.

    `bounds` are the bricks' in steps.
    """
    nx, ny, nz = p[GRID], p[GRID + 1], p[GRID + 2]
    number = fma(lane_row(), F(PACKET_WIDTH), lane_column())
    for first in range(0, count, WIDTH):
        u = (number + F(first)) * length
        index = brick_axis(p, box[0], box[3], u, nx)
        index = index + brick_axis(p, box[1], box[4], u, ny) * np.int64(nx)
        index = index + brick_axis(p, box[2], box[5], u, nz) * np.int64(nx * ny)
        value = fma(to_f32(gather(bounds, index)), F(p[rays.BOUND_STEP]), splat(F(p[rays.BOUND_BASE])))
        if not bounded:
            value = splat(HUGE)
        store(bound, first, select(number + F(first) < F(count), value, splat(-HUGE)))


@inline
def brick_axis(p: Any, near: Any, slope: Any, u: Any, bricks: Any) -> Any:
    """Return the brick in which each lane's box begins, a little early for what rounding loses; `u` samples onwards."""
    low = fma(u, slope, splat(near - F(SLACK / 2 * p[rays.BRICKS_PER_VOXEL])))
    return to_i32(minimum(maximum(low, splat(F(0))), splat(F(bricks - 1))))


@inline
def highest(bound: Any, count: Any) -> Any:
    """Return which of `count` bounds, padded to whole vectors, is the highest: the first."""
    top = load(bound, 0)
    for first in range(WIDTH, count, WIDTH):
        top = maximum(load(bound, first), top)
    greatest = reduce_max(top)
    first = 0
    found = bits(load(bound, 0) >= greatest)
    while found == 0:
        first += WIDTH
        found = bits(load(bound, first) >= greatest)
    while found & 1 == 0:
        first += 1
        found >>= 1
    return first


@inline
def brick_at(p: Any, box: Any, u: Any) -> Any:
    """Index of the brick that bounds the segment which begins u samples after the packet's start."""
    nx, ny, nz = np.int64(p[GRID]), np.int64(p[GRID + 1]), np.int64(p[GRID + 2])
    # Truncation is floor for what is not clamped to 0 anyway.
    i: Any = min(max(np.int64(box[0] + box[3] * u), 0), nx - 1)
    j: Any = min(max(np.int64(box[1] + box[4] * u), 0), ny - 1)
    k: Any = min(max(np.int64(box[2] + box[5] * u), 0), nz - 1)
    return (k * ny + j) * nx + i


@inline
def extent_axis(x: Any, step: Any, alive: Any, start: Any, stop: Any) -> Any:
    """Return ``(c, s, extent)``: along this axis a packet's samples k lie from c + s * k on, `extent` voxels at most.

    A coordinate's least is concave in k and its greatest convex, so between the ends the samples lie within.
    """
    here, there = fma(step, start, x), fma(step, stop, x)
    low = reduce_min(select(alive, here, splat(HUGE)))
    later = reduce_min(select(alive, there, splat(HUGE)))
    extent = reduce_max(select(alive, here, splat(-HUGE))) - low
    extent = max(extent, reduce_max(select(alive, there, splat(-HUGE))) - later)
    slope = (later - low) / max(stop - start, F(1))
    return low - slope * start, slope, extent


@inline
def box_shape(p: Any, extent_x: Any, extent_y: Any, extent_z: Any, rows: Any) -> Any:
    """Return a box's rows, and its voxels along j and k, for samples so far apart at most, and set its `rows`.

    ``(0, 1, 1)`` if there is none: the samples, or the box, would not fit.
    """
    nx, ny, nz = np.int64(p[SIZE]), np.int64(p[SIZE + 1]), np.int64(p[SIZE + 2])
    # Voxels between which samples so far apart lie at worst.
    j, k = np.int64(np.ceil(extent_y)) + 2, np.int64(np.ceil(extent_z)) + 2
    count: Any = j * k
    if BOX_ROWS == 0 or count > BOX_ROWS or extent_x > BOX_LENGTH - 2 or nx < BOX_LENGTH or ny < j or nz < k:
        return np.int64(0), np.int64(1), np.int64(1)
    n = 0
    for c in range(k):
        for b in range(j):
            rows[n] = (c * ny + b) * nx
            n += 1
    for beyond in range(count, BOX_ROWS):
        rows[beyond] = 0
    return count, j, k


@inline
def surround(p: Any, ray: Any, alive: Any, start: Any, stop: Any, rows: Any) -> Any:
    """Choose the box that goes with a packet's samples, see `operations.cell_rows`, and set its `rows`.

    Returns
    -------
    shape
        Rows of it, and its voxels along j and k; ``(0, 1, 1)`` if samples would not fit.
    lines
        ``(c, s, last)`` of the three axes: sample k's box begins at c + s * k, from 0 to `last`.
    ahead
        Voxels from there to the box of the next packet on the right.
    """
    cx, sx, extent_x = extent_axis(ray[0], ray[3], alive, start, stop)
    cy, sy, extent_y = extent_axis(ray[1], ray[4], alive, start, stop)
    cz, sz, extent_z = extent_axis(ray[2], ray[5], alive, start, stop)
    nx, ny, nz = np.int64(p[SIZE]), np.int64(p[SIZE + 1]), np.int64(p[SIZE + 2])
    right_x, right_y, right_z = PACKET_WIDTH * p[COLUMN], PACKET_WIDTH * p[COLUMN + 1], PACKET_WIDTH * p[COLUMN + 2]
    ahead = np.int64(np.rint(right_x)) + (np.int64(np.rint(right_y)) + np.int64(np.rint(right_z)) * ny) * nx
    ahead += BOX_LENGTH // 2
    count, j, k = box_shape(p, extent_x, extent_y, extent_z, rows)
    return (count, j, k), (cx, sx, F(nx - BOX_LENGTH)), (cy, sy, F(ny - j)), (cz, sz, F(nz - k)), ahead


@inline
def box_at(around: Any, rows: Any, k: Any) -> Any:
    """Return sample k's box, as `operations.cell_rows` takes it."""
    shape, x, y, z, ahead = around
    corner = (
        np.int64(min(max(x[0] + x[1] * k, F(0)), x[2])),
        np.int64(min(max(y[0] + y[1] * k, F(0)), y[2])),
        np.int64(min(max(z[0] + z[1] * k, F(0)), z[2])),
    )
    return corner, shape, rows, (ahead, np.int64(k))


@inline
def at(ray: Any, k: Any) -> Any:
    """Voxel coordinates ``(x, y, z)`` of sample k of each lane."""
    steps = splat(k)
    return fma(ray[3], steps, ray[0]), fma(ray[4], steps, ray[1]), fma(ray[5], steps, ray[2])


@inline
def store_packet(out: Any, value: Any, top: int, left: int, row_to: int, column_to: int) -> None:
    """Write a packet of 32-bit pixels; the parts beyond the tile are dropped."""
    if top + PACKET_HEIGHT <= row_to and left + PACKET_WIDTH <= column_to:
        store_rows(out, top, left, value)
    else:
        for lane in range(WIDTH):
            row, column = top + lane // PACKET_WIDTH, left + lane % PACKET_WIDTH
            if row < row_to and column < column_to:
                out[row, column] = extract(value, lane)


@inline
def within(k: Any, first: Any, last: Any) -> Any:
    """Lanes whose sample k counts."""
    return (first <= k) & (last >= k)


@inline
def clamp(value: Any, high: Any) -> Any:
    """Between 0 and `high`; NaN becomes 0."""
    return minimum(maximum(value, splat(F(0))), splat(high))

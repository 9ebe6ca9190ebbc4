"""The kernel of the thin view: one sample a ray, on the plane.

Pixels lie on a plane, so voxel coordinates are linear along a row of packets, whatever the projection. What is to be
asked of a packet (is it outside, can it be sampled plainly) is answered once a row, as a range of columns.
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
    fma,
    inline,
    lane_column,
    lane_row,
    prefetch,
    reduce_max,
    reduce_min,
    select,
    splat,
    to_i32,
)
from render.backends.cpu.packets import box_shape, brick_at, store_packet
from render.backends.cpu.sampling import PARALLEL, F, near_sample, probe, sample
from render.backends.cpu.shared_rows import claim, is_drawn, tell

ORIGIN, COLUMN, ROW, SIZE = rays.ORIGIN, rays.COLUMN, rays.ROW, rays.SIZE
OUTSIDE = -0.5 - 2 * rays.FACE_TOLERANCE
FACE = F(-0.5 - rays.FACE_TOLERANCE)
EVERYWHERE = 1e9
"""Columns, and more."""
AHEAD = 64
"""Columns from a packet to the one whose voxels are asked for meanwhile."""
ACROSS_ROWS = 0.1
"""Rows of voxels a column."""


def thin(codes: Any, p: Any, invalid: Any, out: Any, starts: Any, counts: Any, most: int, helps: bool) -> Any:
    """Draw parts of `out` that nobody has, some `most` rows; return whether nothing is left to draw.

    `starts` and `counts` are of `shared_rows.SharedRows`, `helps` tells that another thread waits for the picture; the
    other arguments are as those of the kernels of `kernels_values`.
    """
    begun = 0
    part = claim(counts)
    while part >= 0:
        row_from, row_to = starts[part], starts[part + 1]
        packets = draw_rows(codes, p, invalid, out, row_from, row_to)
        tell(counts, min(packets * WIDTH, (row_to - row_from) * out.shape[1]))
        begun += row_to - row_from
        part = claim(counts) if begun < most else -1
    return is_drawn(counts, helps)


@inline
def draw_rows(codes: Any, p: Any, invalid: Any, out: Any, row_from: Any, row_to: Any) -> Any:
    """Draw whole rows of `out`, and return how many packets were sampled."""
    column_to = out.shape[1]
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    scale, offset = splat(F(p[rays.SCALE])), splat(F(p[rays.OFFSET]))
    check = p[rays.CHECK_INVALID] != 0
    nowhere = splat(F(np.nan))
    lanes_x, lanes_y, lanes_z = packet_axis(p, 0), packet_axis(p, 1), packet_axis(p, 2)
    right_x, right_y, right_z = p[COLUMN], p[COLUMN + 1], p[COLUMN + 2]
    # Along a row of voxels the processor sees for itself what comes next; across rows each line is a wait, and a box
    # would have lines in it that nobody needs.
    scattered = abs(right_y) + abs(right_z) > ACROSS_ROWS
    ahead = AHEAD, 0
    far_x, far_y, far_z = onwards(p, 0, ahead), onwards(p, 1, ahead), onwards(p, 2, ahead)
    beyond = AHEAD - column_to, PACKET_HEIGHT  # what is ahead of a row's end is the next row's beginning
    next_x, next_y, next_z = onwards(p, 0, beyond), onwards(p, 1, beyond), onwards(p, 2, beyond)
    rows = np.empty(max(BOX_ROWS, 1), np.int64)
    low_x, low_y, low_z = reduce_min(lanes_x), reduce_min(lanes_y), reduce_min(lanes_z)
    shape = box_shape(p, reduce_max(lanes_x) - low_x, reduce_max(lanes_y) - low_y, reduce_max(lanes_z) - low_z, rows)
    last_x, last_y, last_z = F(p[SIZE] - BOX_LENGTH), F(p[SIZE + 1] - shape[1]), F(p[SIZE + 2] - shape[2])
    taken = 0
    for top in range(row_from, row_to, PACKET_HEIGHT):
        row_x = p[ORIGIN] + top * p[ROW]
        row_y = p[ORIGIN + 1] + top * p[ROW + 1]
        row_z = p[ORIGIN + 2] + top * p[ROW + 2]
        inside_from, inside_to = columns(p, row_x, row_y, row_z, OUTSIDE, OUTSIDE, OUTSIDE, False)
        plain_from, plain_to = columns(
            p, row_x, row_y, row_z, p[rays.INNER], p[rays.INNER + 1], p[rays.INNER + 2], True
        )
        for left in range(0, column_to, PACKET_WIDTH):
            right = left + (PACKET_WIDTH - 1)
            if right < inside_from or left > inside_to:
                store_packet(out, nowhere, top, left, row_to, column_to)
                continue
            taken += 1
            x = splat(F(row_x + left * right_x)) + lanes_x
            y = splat(F(row_y + left * right_y)) + lanes_y
            z = splat(F(row_z + left * right_z)) + lanes_z
            plain = left >= plain_from and right <= plain_to
            if check and plain:
                per_voxel = F(p[rays.BRICKS_PER_VOXEL])
                least = (
                    reduce_min(x) * per_voxel,
                    reduce_min(y) * per_voxel,
                    reduce_min(z) * per_voxel,
                    F(0),
                    F(0),
                    F(0),
                )
                plain = invalid[brick_at(p, least, F(0))] == 0
            if plain:
                if scattered:
                    if left + AHEAD < column_to:
                        at = to_i32(x + far_x) + to_i32(y + far_y) * row_stride + to_i32(z + far_z) * slab_stride
                    else:
                        at = to_i32(x + next_x) + to_i32(y + next_y) * row_stride + to_i32(z + next_z) * slab_stride
                    prefetch(codes, 0, at)
                    prefetch(codes, row_stride, at)
                    prefetch(codes, slab_stride, at)
                    prefetch(codes, row_stride + slab_stride, at)
                    value = sample(codes, row_stride, slab_stride, x, y, z)
                else:
                    corner = (
                        np.int64(min(max(F(row_x + left * right_x) + low_x, F(0)), last_x)),
                        np.int64(min(max(F(row_y + left * right_y) + low_y, F(0)), last_y)),
                        np.int64(min(max(F(row_z + left * right_z) + low_z, F(0)), last_z)),
                    )
                    near = corner, shape, rows, (np.int64(0), np.int64(0))  # what comes next comes by itself
                    value = near_sample(codes, row_stride, slab_stride, x, y, z, near)
                value = fma(value, scale, offset)
            else:
                value, valid = probe(codes, p, x, y, z)
                inside = valid & (x >= FACE) & (x <= F(p[SIZE] - 1) - FACE)
                inside = inside & (y >= FACE) & (y <= F(p[SIZE + 1] - 1) - FACE)
                inside = inside & (z >= FACE) & (z <= F(p[SIZE + 2] - 1) - FACE)
                value = select(inside, fma(value, scale, offset), nowhere)
            store_packet(out, value, top, left, row_to, column_to)
    return taken


@inline
def onwards(p: Any, axis: int, pixels: Any) -> Any:
    """How much further one coordinate is `pixels`, columns and rows, away, in every lane."""
    return splat(F(pixels[0] * p[COLUMN + axis] + pixels[1] * p[ROW + axis]))


@inline
def packet_axis(p: Any, axis: int) -> Any:
    """One coordinate of each lane relative to its packet's first."""
    return fma(lane_row(), F(p[ROW + axis]), lane_column() * F(p[COLUMN + axis]))


@inline
def columns(p: Any, x: Any, y: Any, z: Any, low_x: Any, low_y: Any, low_z: Any, whole: bool) -> Any:
    """Return the first and last column, fractional, at which a row of packets is inside.

    Inside is at least `low` beyond the first voxel centre, and as much before the last, on each axis. `whole`: all
    the pixels above one another in a packet must be; otherwise one of them.
    """
    first, last = columns_axis(p, 0, x, low_x, whole, -EVERYWHERE, EVERYWHERE)
    first, last = columns_axis(p, 1, y, low_y, whole, first, last)
    return columns_axis(p, 2, z, low_z, whole, first, last)


@inline
def columns_axis(p: Any, axis: int, at: Any, low: Any, whole: bool, first: Any, last: Any) -> Any:
    """Narrow ``first <= column <= last`` to where a coordinate is inside."""
    step, down = p[COLUMN + axis], p[ROW + axis] * (PACKET_HEIGHT - 1)
    before, after = min(0.0, down), max(0.0, down)
    if not whole:
        before, after = after, before
    low, high = low - before, p[SIZE + axis] - 1 - low - after
    if low > high or (abs(step) < PARALLEL and not low <= at <= high):
        return EVERYWHERE, -EVERYWHERE
    if abs(step) < PARALLEL:
        return first, last
    a, b = (low - at) / step, (high - at) / step
    return max(first, min(a, b)), min(last, max(a, b))

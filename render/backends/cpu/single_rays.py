"""Segments that single rays still need, put off until a whole vector of them is there.

Of a packet that can't leave a segment out, often only some rays may find a greater value there. So its parts are looked
up ray by ray, all lanes at once, in a grid of fine cells. What is left waits, and is sampled one ray's part to a lane,
from whatever depth.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.kernels_upload import CELL_BITS
from render.backends.cpu.operations import (
    WIDTH,
    bits,
    fma,
    gather,
    inline,
    load,
    maximum,
    minimum,
    permute,
    splat,
    store,
    to_f32,
    to_i32,
)
from render.backends.cpu.packets import at
from render.backends.cpu.sampling import HUGE, F, sample

SIZE, CELLS = rays.SIZE, rays.CELLS
LANE_BITS = WIDTH.bit_length() - 1
NEARLY_ALL = WIDTH - WIDTH // 8
"""So many lanes are better taken as the packet that they are: nothing has to be gathered."""


@inline
def cell_axis(p: Any, axis: int, a: Any, b: Any) -> Any:
    """Return the index of the cell that a line from `a` to `b` begins in, from below."""
    low = minimum(minimum(a, b), splat(F(p[SIZE + axis] - 2)))
    return to_i32(maximum(low, splat(F(0)))) >> np.int32(CELL_BITS)


@inline
def cell_bound(p: Any, cells: Any, ray: Any, k: Any, length: Any) -> Any:
    """Bound each lane's part of `length` samples from `k` on, times the samples' unit and sign.

    Coordinates rise or fall along a ray whatever the rounding, so those of its ends bound all between.
    """
    x0, y0, z0 = at(ray, k)
    x1, y1, z1 = at(ray, k + (length - F(1)))
    nx, ny = np.int64(p[CELLS]), np.int64(p[CELLS + 1])
    index = cell_axis(p, 0, x0, x1) + cell_axis(p, 1, y0, y1) * nx + cell_axis(p, 2, z0, z1) * (nx * ny)
    return fma(to_f32(gather(cells, index)), F(p[rays.BOUND_STEP]), splat(F(p[rays.BOUND_BASE])))


@inline
def put(ids: Any, count: Any, part: Any, needed: Any) -> Any:
    """Queue a part of the packet's span for the lanes that need it; return the new count."""
    lanes = bits(needed)
    for lane in range(WIDTH):
        ids[count] = np.int32(part * WIDTH + lane)
        count += (lanes >> lane) & 1
    return count


@inline
def take_vector(
    codes: Any, p: Any, ray: Any, ids: Any, start: Any, length: Any, sign: Any, most: Any, kept: Any, best: Any
) -> Any:
    """Sample the first vector of what waits, each lane a ray's part; return `best` of the packet's rays as it is then.

    `most` and `kept` are scratch.
    """
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    entry = load(ids, 0)
    lane = entry & np.int32(WIDTH - 1)
    x, y, z = permute(ray[0], lane), permute(ray[1], lane), permute(ray[2], lane)
    step_x, step_y, step_z = permute(ray[3], lane), permute(ray[4], lane), permute(ray[5], lane)
    k = fma(to_f32(entry >> np.int32(LANE_BITS)), length, splat(start))
    greatest = splat(-HUGE)
    for _ in range(np.int64(length)):
        value = sample(codes, row_stride, slab_stride, fma(step_x, k, x), fma(step_y, k, y), fma(step_z, k, z))
        greatest = maximum(value * sign, greatest)
        k = k + F(1)
    store(most, 0, greatest)
    store(kept, 0, best)
    for each in range(WIDTH):
        to = np.int64(ids[each]) & (WIDTH - 1)
        kept[to] = max(kept[to], most[each])
    return load(kept, 0)

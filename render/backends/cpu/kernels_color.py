"""The volume rendering kernel: front-to-back compositing through tables, shaded or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.kernels_upload import FARTHEST, HOLES
from render.backends.cpu.operations import (
    BOX_ROWS,
    PACKET_HEIGHT,
    PACKET_WIDTH,
    WIDTH,
    any_lane,
    fma,
    gather,
    inline,
    load,
    reduce_min,
    select,
    splat,
    store,
    to_i32,
)
from render.backends.cpu.packets import (
    at,
    box_at,
    brick_at,
    clamp,
    corners,
    enter,
    segments,
    store_packet,
    surround,
    within,
)
from render.backends.cpu.runs import run_shows, runs
from render.backends.cpu.sampling import F, edge_sample, is_flat, near_sample, probe
from render.backends.cpu.shading import FULL, flush, new_queue, put, unpack

SIZE, AHEAD = rays.SIZE, rays.AHEAD

OPAQUE = F(0.996)
"""A ray ends when it is this opaque: what is left out is at most one step of 8 bits."""


def composite_kernel(shaded: bool) -> Callable[..., Any]:
    """Return the kernel's text, with or without shading: a branch that is known while compiling costs nothing."""

    def composite(
        codes: Any,
        p: Any,
        flags: Any,
        opacity: Any,
        color: Any,
        light: Any,
        out: Any,
        row_from: int,
        row_to: int,
        column_from: int,
        column_to: int,
    ) -> Any:
        """Draw a tile of `out`, RGBA premultiplied, 8 bits each, red lowest; return samples taken, and possible.

        `flags`: of the bricks; the tables are those of `tables`.
        """
        row_stride = np.int64(p[SIZE])
        slab_stride = row_stride * np.int64(p[SIZE + 1])
        table_scale, table_offset = F(p[rays.TABLE_SCALE]), F(p[rays.TABLE_OFFSET])
        table_last = F(p[rays.TABLE_LAST])
        shown_from, shown_below = F(p[rays.SHOWN_FROM]), F(p[rays.SHOWN_BELOW])
        unit = F(p[rays.UNIT])
        layer = F(p[rays.LAYER_OPACITY]) * F(255)
        nothing, one = splat(F(0)), splat(F(1))
        flat = is_flat(p)
        few = p[SIZE] < 4 or p[SIZE + 1] < 3 or p[SIZE + 2] < 3
        if shaded:
            fields, colors, waiting = new_queue()
        directions, lit, sums = (
            np.empty(3 * WIDTH, np.float32),
            np.empty(3 * WIDTH, np.float32),
            np.empty(3 * WIDTH, np.float32),
        )
        box_rows = np.empty(max(BOX_ROWS, 1), np.int64)
        taken = possible = np.int64(0)
        for top in range(row_from, row_to, PACKET_HEIGHT):
            for left in range(column_from, column_to, PACKET_WIDTH):
                ray, first, last, alive, start, stop, inner_first, inner_last = enter(p, top, left)
                red = green = blue = nothing
                alpha = select(alive, nothing, one)
                if start <= stop:
                    possible += np.int64(stop - start) + 1
                    length, bounded = segments(p, ray, alive, start, stop)
                    reach = runs(p, ray, alive, start, stop)
                    run = reach[0]
                    around = surround(p, ray, alive, start, stop, box_rows)
                    box = corners(p, ray, alive, start, length)
                    # A little less than to the next brick, so that rounding can't reach one farther.
                    to_a_brick = F(0.9999) / max(abs(box[3]), abs(box[4]), abs(box[5]), F(1e-6))
                    count = np.int64(0)
                    careful = few
                    if shaded:
                        store_direction(p, ray, directions)
                        sums[:] = 0
                    begin = start
                    while begin <= stop:
                        k = begin
                        end = min(k + (length - F(1)), stop)
                        flag = flags[brick_at(p, box, begin - start)] if bounded else np.uint8(HOLES)
                        distance = flag & FARTHEST
                        if distance != 0:
                            begin += max(length, np.floor(F(distance - 1) * to_a_brick))
                            continue
                        begin += length
                        holes = flat or flag & HOLES != 0
                        careful |= holes
                        seen = k - F(1)
                        while k <= end:
                            if k > seen:
                                seen = end
                                if run > F(0) and not holes:
                                    seen = min(k + (run - F(1)), end)
                                    if not run_shows(codes, p, reach, k, table_scale * unit, table_offset):
                                        k = seen + F(1)
                                        continue
                                taken += np.int64(seen - k) + 1
                            x, y, z = at(ray, k)
                            counts = alpha <= OPAQUE
                            if holes:
                                value, valid = probe(codes, p, x, y, z)
                                counts = counts & valid & within(k, first, last)
                            elif k < inner_first or k > inner_last:
                                value = edge_sample(codes, p, x, y, z)
                                counts = counts & within(k, first, last)
                            else:
                                near = box_at(around, box_rows, k)
                                value = near_sample(codes, row_stride, slab_stride, x, y, z, near)
                            entry = fma(value, table_scale, splat(table_offset))
                            shown = counts & (entry >= shown_from) & (entry < shown_below)
                            if any_lane(shown):
                                index = to_i32(clamp(entry, table_last))
                                part = select(shown, gather(opacity, index), nothing) * (one - alpha)
                                packed = gather(color, index)
                                alpha = alpha + part
                                if shaded:
                                    sample = x, y, z, part, value
                                    count = put(fields, colors, waiting, count, sample, packed, part > F(0))
                                    if count > FULL:
                                        flush(
                                            codes,
                                            p,
                                            light,
                                            fields,
                                            colors,
                                            waiting,
                                            count,
                                            directions,
                                            lit,
                                            sums,
                                            careful,
                                        )
                                        count = np.int64(0)
                                        careful = few or holes
                                else:
                                    r, g, b = unpack(packed)
                                    red, green, blue = fma(part, r, red), fma(part, g, green), fma(part, b, blue)
                            k += F(1)
                        if reduce_min(alpha) > OPAQUE:
                            break
                    if shaded:
                        flush(codes, p, light, fields, colors, waiting, count, directions, lit, sums, careful)
                        red, green, blue = load(sums, 0), load(sums, WIDTH), load(sums, 2 * WIDTH)
                alpha = select(alive, alpha, nothing)
                half = splat(F(0.5))
                pixel = to_i32(fma(red, layer, half)) | (to_i32(fma(green, layer, half)) << np.int32(8))
                pixel = pixel | (to_i32(fma(blue, layer, half)) << np.int32(16))
                pixel = pixel | (to_i32(fma(alpha, layer, half)) << np.int32(24))
                store_packet(out, pixel, top, left, row_to, column_to)
        return taken * WIDTH, possible * WIDTH

    return composite


@inline
def store_direction(p: Any, ray: Any, directions: Any) -> None:
    """Store each ray's unit direction in patient space, from its step in voxels."""
    for axis in range(3):
        m = AHEAD + 3 * axis
        along = fma(ray[3], F(p[m]), fma(ray[4], F(p[m + 1]), ray[5] * F(p[m + 2])))
        store(directions, axis * WIDTH, along)

"""Kernels that give values: the extreme and the mean of the samples along a ray.

Each draws the tile ``[row_from, row_to) x [column_from, column_to)`` of `out`, float32 in modality units, NaN outside,
and returns how many samples it took and how many there were.
`p` is the array of `rays`; `codes` the voxels, flat; the grids are those of `bricks`, flat; the `bounds` of bricks
and of fine cells in steps.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.axis_rays import take
from render.backends.cpu.operations import (
    BOX_ROWS,
    PACKET_HEIGHT,
    PACKET_WIDTH,
    WIDTH,
    any_lane,
    fma,
    inline,
    load,
    maximum,
    reduce_min,
    select,
    splat,
    store,
)
from render.backends.cpu.packets import (
    at,
    bound_segments,
    box_at,
    brick_at,
    corners,
    enter,
    highest,
    segments,
    store_packet,
    surround,
    within,
)
from render.backends.cpu.sampling import HUGE, F, edge_sample, is_flat, near_sample, probe
from render.backends.cpu.single_rays import NEARLY_ALL, cell_bound, put, take_vector

SIZE = rays.SIZE
NAN = F(np.nan)
IN_ORDER = 8
"""So few segments, as of a slab, are taken in their order: next to nothing falls, and memory is read as it lies."""
BEST_FIRST = 48
"""Each is looked for among all: where hundreds of segments have about the same bound, as in noise, that would cost."""


def extreme(
    codes: Any,
    p: Any,
    bounds: Any,
    invalid: Any,
    cells: Any,
    out: Any,
    row_from: int,
    row_to: int,
    column_from: int,
    column_to: int,
) -> Any:
    """Maximum along each ray, or the minimum, which is the maximum of what is negated (`rays.SIGN`).

    A segment is left out if its bound does not exceed what every ray of the packet has already. Those with the
    highest bounds go first, so that most others fall; what is left after `BEST_FIRST` of them goes in its order.
    Of a segment that stays, the parts are asked for ray by ray (see `single_rays`). `cells` are theirs, `bounds` the
    bricks', both in steps.
    """
    sign = F(p[rays.SIGN])
    scale, offset = F(p[rays.SCALE] * p[rays.SIGN]), F(p[rays.OFFSET])
    check = p[rays.CHECK_INVALID] != 0
    flat = is_flat(p)
    on_axis = p[rays.AXIS] >= 0
    rows = np.empty(max(BOX_ROWS, 1), np.int64)
    asks = p[rays.CELL_SEGMENT] > 0
    taken = possible = np.int64(0)
    room: Any = 256
    bound = np.empty(room, np.float32)
    ids = np.empty(3 * WIDTH, np.int32)
    most, kept = np.empty(WIDTH, np.float32), np.empty(WIDTH, np.float32)
    for top in range(row_from, row_to, PACKET_HEIGHT):
        for left in range(column_from, column_to, PACKET_WIDTH):
            ray, first, last, alive, start, stop, inner_first, inner_last = enter(p, top, left)
            best = select(alive, splat(-HUGE), splat(HUGE))
            if start <= stop:
                possible += np.int64(stop - start) + 1
                length, bounded = segments(p, ray, alive, start, stop)
                around = surround(p, ray, alive, start, stop, rows)
                part_length = min(F(p[rays.CELL_SEGMENT]), length) if asks else length
                parts = np.int64(length / part_length)
                length = F(parts) * part_length
                box = corners(p, ray, alive, start, length)
                count = np.int64((stop - start) / length) + 1
                if count + WIDTH > room:
                    room = 2 * (count + WIDTH)
                    bound = np.empty(room, np.float32)
                bound_segments(p, bounds, box, length, bounded, count, bound)
                low = -HUGE
                waiting = np.int64(0)
                best_first: Any = BEST_FIRST if count > IN_ORDER else 0
                for turn in range(best_first + count):
                    segment: Any = turn - best_first
                    if turn < best_first:
                        segment = highest(bound, count)
                        if bound[segment] <= low:
                            break
                    if bound[segment] <= low:
                        continue
                    holes = flat or (check and (not bounded or invalid[brick_at(p, box, F(segment) * length)] != 0))
                    bound[segment] = -HUGE
                    part: Any = segment * parts
                    while part < (segment + 1) * parts:
                        k = start + F(part) * part_length
                        end = min(k + (part_length - F(1)), stop)
                        part += 1
                        if k > stop:
                            break
                        if asks and not holes:
                            needed = cell_bound(p, cells, ray, k, part_length) > best
                            if not any_lane(needed):
                                continue
                            if on_axis:
                                while part < (segment + 1) * parts and any_lane(
                                    cell_bound(p, cells, ray, end + F(1), part_length) > best
                                ):
                                    end = min(end + part_length, stop)
                                    part += 1
                            elif k >= inner_first and k + (part_length - F(1)) <= inner_last:
                                total = put(ids, waiting, part - 1, needed)
                                if total - waiting < NEARLY_ALL:
                                    waiting = total
                                    if waiting >= WIDTH:
                                        taken += np.int64(part_length)
                                        best = take_vector(
                                            codes, p, ray, ids, start, part_length, sign, most, kept, best
                                        )
                                        store(ids, 0, load(ids, WIDTH))
                                        waiting -= WIDTH
                                    continue
                        taken += np.int64(end - k) + 1
                        best = take_packet(
                            codes, p, ray, around, rows, first, last, inner_first, inner_last, k, end, holes, sign, best
                        )
                    low = reduce_min(best)
                if waiting > 0:
                    taken += np.int64(part_length)
                    store(ids, waiting, splat(ids[0]))
                    best = take_vector(codes, p, ray, ids, start, part_length, sign, most, kept, best)
            best = select(alive & (best > -HUGE), fma(best, scale, splat(offset)), splat(NAN))
            store_packet(out, best, top, left, row_to, column_to)
    return taken * WIDTH, possible * WIDTH


@inline
def take_packet(
    codes: Any,
    p: Any,
    ray: Any,
    around: Any,
    rows: Any,
    first: Any,
    last: Any,
    inner_first: Any,
    inner_last: Any,
    k: Any,
    end: Any,
    holes: Any,
    sign: Any,
    best: Any,
) -> Any:
    """Take samples `k` to `end` of all rays of a packet; return their `best` as it is then."""
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    on_axis = p[rays.AXIS] >= 0
    if holes:
        while k <= end:
            x, y, z = at(ray, k)
            value, valid = probe(codes, p, x, y, z)
            best = select(valid & within(k, first, last), maximum(value * sign, best), best)
            k += F(1)
    while k <= end:
        x, y, z = at(ray, k)
        if k < inner_first or k > inner_last:
            value = edge_sample(codes, p, x, y, z) * sign
            best = select(within(k, first, last), maximum(value, best), best)
        elif on_axis:
            until = min(end, inner_last)
            best = take(codes, p, (x, y, z), k, until, best, sign, False)
            k = until
        else:
            value = near_sample(codes, row_stride, slab_stride, x, y, z, box_at(around, rows, k))
            best = maximum(value * sign, best)
        k += F(1)
    return best


def mean(
    codes: Any,
    p: Any,
    low: Any,
    high: Any,
    invalid: Any,
    out: Any,
    row_from: int,
    row_to: int,
    column_from: int,
    column_to: int,
) -> Any:
    """Mean of the samples inside along each ray. Segments of one constant value are added without sampling."""
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    scale, offset, unit = F(p[rays.SCALE]), F(p[rays.OFFSET]), F(p[rays.UNIT])
    check = p[rays.CHECK_INVALID] != 0
    flat = is_flat(p)
    on_axis = p[rays.AXIS] >= 0
    rows = np.empty(max(BOX_ROWS, 1), np.int64)
    taken = possible = np.int64(0)
    nothing, one = splat(F(0)), splat(F(1))
    for top in range(row_from, row_to, PACKET_HEIGHT):
        for left in range(column_from, column_to, PACKET_WIDTH):
            ray, first, last, alive, start, stop, inner_first, inner_last = enter(p, top, left)
            total, weight = nothing, nothing
            if start <= stop:
                possible += np.int64(stop - start) + 1
                length, bounded = segments(p, ray, alive, start, stop)
                around = surround(p, ray, alive, start, stop, rows)
                box = corners(p, ray, alive, start, length)
                begin = start
                while begin <= stop:
                    k = begin
                    end = min(k + (length - F(1)), stop)
                    brick = brick_at(p, box, begin - start)
                    holes = flat or (check and (not bounded or invalid[brick] != 0))
                    part = nothing
                    constant = bounded and low[brick] == high[brick] and not holes
                    if constant and k >= inner_first and end <= inner_last:
                        part = splat(F(low[brick]) * unit * (end - k + F(1)))
                        weight = weight + (end - k + F(1))
                    else:
                        taken += np.int64(end - k) + 1
                        while k <= end:
                            x, y, z = at(ray, k)
                            if on_axis and not holes and k >= inner_first and k <= inner_last:
                                until = min(end, inner_last)
                                part = take(codes, p, (x, y, z), k, until, part, F(1), True)
                                weight = weight + (until - k + F(1))
                                k = until + F(1)
                                continue
                            if holes:
                                value, valid = probe(codes, p, x, y, z)
                                counts = valid & within(k, first, last)
                            elif k < inner_first or k > inner_last:
                                value = edge_sample(codes, p, x, y, z)
                                counts = within(k, first, last)
                            else:
                                near = box_at(around, rows, k)
                                value = near_sample(codes, row_stride, slab_stride, x, y, z, near)
                                counts = alive
                            part = part + select(counts, value, nothing)
                            weight = weight + select(counts, one, nothing)
                            k += F(1)
                    total = total + part
                    begin += length
            total = total / maximum(weight, one)
            total = select(alive & (weight > F(0)), fma(total, scale, splat(offset)), splat(NAN))
            store_packet(out, total, top, left, row_to, column_to)
    return taken * WIDTH, possible * WIDTH

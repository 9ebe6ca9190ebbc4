"""Kernels that give values: one sample a ray, the extreme and the mean of the samples along a ray.

Each draws the tile ``[row_from, row_to) x [column_from, column_to)`` of `out`, float32 in modality units, NaN outside.
`p` is the array of `rays`; `codes` the voxels, flat; the grids are those of `bricks`, flat.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends.cpu import rays
from render.backends.cpu.operations import (
    PACKET_HEIGHT,
    PACKET_WIDTH,
    any_lane,
    fma,
    maximum,
    reduce_min,
    select,
    splat,
)
from render.backends.cpu.packets import at, brick_at, corners, enter, store, within
from render.backends.cpu.sampling import HUGE, F, packet_rays, probe, sample

SIZE, INNER = rays.SIZE, rays.INNER
FACE = F(rays.FACE_TOLERANCE)
NAN = F(np.nan)


def thin(
    codes: Any, p: Any, invalid: Any, out: Any, row_from: int, row_to: int, column_from: int, column_to: int
) -> None:
    """One sample a ray, on the plane."""
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    nx, ny, nz = F(p[SIZE] - 1), F(p[SIZE + 1] - 1), F(p[SIZE + 2] - 1)
    scale, offset = F(p[rays.SCALE]), F(p[rays.OFFSET])
    face = F(-0.5) - FACE
    margin_x, margin_y, margin_z = F(p[INNER]), F(p[INNER + 1]), F(p[INNER + 2])
    check = p[rays.CHECK_INVALID] != 0
    nowhere = splat(NAN)
    for top in range(row_from, row_to, PACKET_HEIGHT):
        for left in range(column_from, column_to, PACKET_WIDTH):
            ray = packet_rays(p, top, left)
            x, y, z = ray[0], ray[1], ray[2]
            inside = (x >= face) & (y >= face) & (z >= face)
            inside = inside & (x <= nx - face) & (y <= ny - face) & (z <= nz - face)
            value = nowhere
            if any_lane(inside):
                edge = (x < margin_x) | (y < margin_y) | (z < margin_z)
                edge = edge | (x > nx - margin_x) | (y > ny - margin_y) | (z > nz - margin_z)
                careful = any_lane(edge)
                if check and not careful:
                    box = reduce_min(x), reduce_min(y), reduce_min(z), F(0), F(0), F(0)
                    scaled = F(p[rays.BRICKS_PER_VOXEL])
                    box = box[0] * scaled, box[1] * scaled, box[2] * scaled, F(0), F(0), F(0)
                    careful = invalid[brick_at(p, box, F(0))] != 0
                if careful:
                    value, valid = probe(codes, p, x, y, z)
                    inside = inside & valid
                else:
                    value = sample(codes, row_stride, slab_stride, x, y, z)
                value = select(inside, fma(value, scale, splat(offset)), nowhere)
            store(out, value, top, left, row_to, column_to)


def extreme(
    codes: Any,
    p: Any,
    bounds: Any,
    invalid: Any,
    out: Any,
    row_from: int,
    row_to: int,
    column_from: int,
    column_to: int,
) -> None:
    """Maximum along each ray, or the minimum, which is the maximum of what is negated (`rays.SIGN`).

    A segment is left out if its bound does not exceed what every ray of the packet has already. The one with
    the highest bound goes first, so that most others fall.
    """
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    sign, unit = F(p[rays.SIGN]), F(p[rays.UNIT])
    scale, offset = F(p[rays.SCALE] * p[rays.SIGN]), F(p[rays.OFFSET])
    length = F(p[rays.SEGMENT])
    check = p[rays.CHECK_INVALID] != 0
    room: Any = 256
    bound = np.empty(room, np.float32)
    for top in range(row_from, row_to, PACKET_HEIGHT):
        for left in range(column_from, column_to, PACKET_WIDTH):
            ray, first, last, alive, start, stop, inner_first, inner_last = enter(p, top, left)
            best = select(alive, splat(-HUGE), splat(HUGE))
            if start <= stop:
                box = corners(p, ray, alive, start)
                count = np.int64((stop - start) / length) + 1
                if count > room:
                    room = 2 * count
                    bound = np.empty(room, np.float32)
                likeliest, highest = 0, -HUGE
                for segment in range(count):
                    limit = F(bounds[brick_at(p, box, F(segment) * length)]) * sign * unit
                    bound[segment] = limit
                    if limit > highest:
                        likeliest, highest = segment, limit
                low = -HUGE
                for turn in range(-1, count):
                    segment = likeliest if turn < 0 else turn
                    if bound[segment] > low:
                        bound[segment] = -HUGE
                        k = start + F(segment) * length
                        end = min(k + (length - F(1)), stop)
                        careful = k < inner_first or end > inner_last
                        if check and not careful:
                            careful = invalid[brick_at(p, box, F(segment) * length)] != 0
                        if careful:
                            while k <= end:
                                x, y, z = at(ray, k)
                                value, valid = probe(codes, p, x, y, z)
                                counts = valid & within(k, first, last)
                                best = select(counts, maximum(value * sign, best), best)
                                k += F(1)
                        else:
                            while k <= end:
                                x, y, z = at(ray, k)
                                best = maximum(sample(codes, row_stride, slab_stride, x, y, z) * sign, best)
                                k += F(1)
                        low = reduce_min(best)
            best = select(alive & (best > -HUGE), fma(best, scale, splat(offset)), splat(NAN))
            store(out, best, top, left, row_to, column_to)


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
) -> None:
    """Mean of the samples inside along each ray. Segments of one constant value are added without sampling."""
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    scale, offset, unit = F(p[rays.SCALE]), F(p[rays.OFFSET]), F(p[rays.UNIT])
    length = F(p[rays.SEGMENT])
    check = p[rays.CHECK_INVALID] != 0
    nothing = splat(F(0))
    for top in range(row_from, row_to, PACKET_HEIGHT):
        for left in range(column_from, column_to, PACKET_WIDTH):
            ray, first, last, alive, start, stop, inner_first, inner_last = enter(p, top, left)
            total, taken = nothing, nothing
            if start <= stop:
                box = corners(p, ray, alive, start)
                begin = start
                while begin <= stop:
                    k = begin
                    end = min(k + (length - F(1)), stop)
                    brick = brick_at(p, box, begin - start)
                    careful = k < inner_first or end > inner_last or (check and invalid[brick] != 0)
                    part = nothing
                    if not careful and low[brick] == high[brick]:
                        part = splat(F(low[brick]) * unit * (end - k + F(1)))
                        taken = taken + (end - k + F(1))
                    elif careful:
                        while k <= end:
                            x, y, z = at(ray, k)
                            value, valid = probe(codes, p, x, y, z)
                            counts = valid & within(k, first, last)
                            part = part + select(counts, value, nothing)
                            taken = taken + select(counts, splat(F(1)), nothing)
                            k += F(1)
                    else:
                        while k <= end:
                            x, y, z = at(ray, k)
                            part = part + sample(codes, row_stride, slab_stride, x, y, z)
                            k += F(1)
                        taken = taken + (end - begin + F(1))
                    total = total + part
                    begin += length
            total = total / maximum(taken, splat(F(1)))
            total = select(alive & (taken > F(0)), fma(total, scale, splat(offset)), splat(NAN))
            store(out, total, top, left, row_to, column_to)

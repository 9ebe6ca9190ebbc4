"""The volume rendering kernel: front-to-back compositing through tables, shaded or not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from render.backends.cpu import rays
from render.backends.cpu.gradients import sample_and_rises
from render.backends.cpu.operations import (
    PACKET_HEIGHT,
    PACKET_WIDTH,
    WIDTH,
    any_lane,
    extract,
    fma,
    gather,
    inline,
    minimum,
    reduce_min,
    select,
    splat,
    sqrt,
    to_f32,
    to_i32,
)
from render.backends.cpu.packets import at, brick_at, clamp, corners, enter, within
from render.backends.cpu.sampling import F, probe, sample

SIZE, PROBE, GRADIENT, AHEAD = rays.SIZE, rays.PROBE, rays.GRADIENT, rays.AHEAD

OPAQUE = F(0.996)
"""A packet ends when all its rays are this opaque: what is left out is at most one step of 8 bits."""
VISIBLE, INVALID = 1, 2
"""Bits of the grid's flags: some opacity is above zero in the brick's range; it holds invalid voxels."""


@inline
def patient_gradient(p: Any, rise: Any) -> Any:
    """Bring the differences along i, j and k to patient space, modality units per mm; three lanes."""
    rise_x, rise_y, rise_z = rise
    return (
        fma(rise_x, F(p[GRADIENT]), fma(rise_y, F(p[GRADIENT + 1]), rise_z * F(p[GRADIENT + 2]))),
        fma(rise_x, F(p[GRADIENT + 3]), fma(rise_y, F(p[GRADIENT + 4]), rise_z * F(p[GRADIENT + 5]))),
        fma(rise_x, F(p[GRADIENT + 6]), fma(rise_y, F(p[GRADIENT + 7]), rise_z * F(p[GRADIENT + 8]))),
    )


@inline
def careful_rises(codes: Any, p: Any, x: Any, y: Any, z: Any, own: Any) -> Any:
    """Return the rises anywhere: neighbours are held at the faces; an invalid one has the sample's own value."""
    rise_x = rise_y = rise_z = splat(F(0))
    for axis in range(3):
        dx = F(p[PROBE]) if axis == 0 else F(0)
        dy = F(p[PROBE + 1]) if axis == 1 else F(0)
        dz = F(p[PROBE + 2]) if axis == 2 else F(0)
        after, after_valid = probe(codes, p, x + dx, y + dy, z + dz)
        before, before_valid = probe(codes, p, x - dx, y - dy, z - dz)
        rise = select(after_valid, after, own) - select(before_valid, before, own)
        if axis == 0:
            rise_x = rise
        elif axis == 1:
            rise_y = rise
        else:
            rise_z = rise
    return rise_x, rise_y, rise_z


@inline
def shade(p: Any, light: Any, gradient: Any, ahead: Any) -> Any:
    """Return ``(factor, highlight)`` of a sample: ambient and diffuse on its colour, and the specular part.

    ``|n.v| = |g.d| / sqrt(|g|^2 + floor^2)``, d the unit direction of the ray in patient space.
    """
    gx, gy, gz = gradient
    along = fma(gx, ahead[0], fma(gy, ahead[1], gz * ahead[2]))
    steep = fma(gx, gx, fma(gy, gy, fma(gz, gz, splat(F(p[rays.FLOOR2])))))
    facing = minimum(along * along / steep, splat(F(1)))
    factor = fma(sqrt(facing), F(p[rays.DIFFUSE]), splat(F(p[rays.AMBIENT])))
    last = F(p[rays.LIGHT_LAST])
    return factor, gather(light, to_i32(fma(facing, last, splat(F(0.5)))))


def composite_kernel(shaded: bool) -> Callable[..., None]:
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
    ) -> None:
        """Draw a tile of `out`, uint8 RGBA premultiplied. `flags`: of the bricks; the tables are those of `tables`."""
        row_stride = np.int64(p[SIZE])
        slab_stride = row_stride * np.int64(p[SIZE + 1])
        reach = F(p[PROBE]), F(p[PROBE + 1]), F(p[PROBE + 2])
        table_scale, table_offset = F(p[rays.TABLE_SCALE]), F(p[rays.TABLE_OFFSET])
        table_last = F(p[rays.TABLE_LAST])
        length = F(p[rays.SEGMENT])
        layer = F(p[rays.LAYER_OPACITY]) * F(255)
        nothing, one = splat(F(0)), splat(F(1))
        for top in range(row_from, row_to, PACKET_HEIGHT):
            for left in range(column_from, column_to, PACKET_WIDTH):
                ray, first, last, alive, start, stop, inner_first, inner_last = enter(p, top, left)
                red = green = blue = nothing
                alpha = select(alive, nothing, one)
                if start <= stop:
                    box = corners(p, ray, alive, start)
                    ahead = nothing, nothing, nothing
                    if shaded:
                        ahead = direction(p, ray)
                    begin = start
                    seen = False  # whether the sample before had opacity: then this one will want its gradient
                    while begin <= stop:
                        k = begin
                        end = min(k + (length - F(1)), stop)
                        flag = flags[brick_at(p, box, begin - start)]
                        begin += length
                        if flag & VISIBLE == 0:
                            continue
                        careful = k < inner_first or end > inner_last or flag & INVALID != 0
                        while k <= end:
                            x, y, z = at(ray, k)
                            counts = alive
                            rise = nothing, nothing, nothing
                            if careful:
                                value, valid = probe(codes, p, x, y, z)
                                counts = valid & within(k, first, last)
                            elif shaded and seen:
                                value, rise = sample_and_rises(codes, row_stride, slab_stride, reach, x, y, z)
                            else:
                                value = sample(codes, row_stride, slab_stride, x, y, z)
                            index = to_i32(clamp(fma(value, table_scale, splat(table_offset)), table_last))
                            part = select(counts, gather(opacity, index), nothing)
                            visible = any_lane(part > F(0))
                            if shaded and visible and not (seen or careful):
                                seen = True  # take the same sample again, with its gradient
                                continue
                            seen = visible
                            if visible:
                                packed = gather(color, index)
                                r = to_f32((packed >> np.int32(21)) & np.int32(2047)) * F(1 / 2047)
                                g = to_f32((packed >> np.int32(10)) & np.int32(2047)) * F(1 / 2047)
                                b = to_f32(packed & np.int32(1023)) * F(1 / 1023)
                                if shaded:
                                    if careful:
                                        rise = careful_rises(codes, p, x, y, z, value)
                                    factor, highlight = shade(p, light, patient_gradient(p, rise), ahead)
                                    r = minimum(fma(r, factor, highlight), one)
                                    g = minimum(fma(g, factor, highlight), one)
                                    b = minimum(fma(b, factor, highlight), one)
                                part = part * (one - alpha)
                                red, green, blue = fma(part, r, red), fma(part, g, green), fma(part, b, blue)
                                alpha = alpha + part
                            k += F(1)
                        if reduce_min(alpha) > OPAQUE:
                            break
                alpha = select(alive, alpha, nothing)
                for lane in range(WIDTH):
                    row, column = top + lane // PACKET_WIDTH, left + lane % PACKET_WIDTH
                    if row < row_to and column < column_to:
                        out[row, column, 0] = np.uint8(extract(red, lane) * layer + F(0.5))
                        out[row, column, 1] = np.uint8(extract(green, lane) * layer + F(0.5))
                        out[row, column, 2] = np.uint8(extract(blue, lane) * layer + F(0.5))
                        out[row, column, 3] = np.uint8(extract(alpha, lane) * layer + F(0.5))

    return composite


@inline
def direction(p: Any, ray: Any) -> Any:
    """Each ray's unit direction in patient space, three lanes, from its step in voxels."""
    return (
        fma(ray[3], F(p[AHEAD]), fma(ray[4], F(p[AHEAD + 1]), ray[5] * F(p[AHEAD + 2]))),
        fma(ray[3], F(p[AHEAD + 3]), fma(ray[4], F(p[AHEAD + 4]), ray[5] * F(p[AHEAD + 5]))),
        fma(ray[3], F(p[AHEAD + 6]), fma(ray[4], F(p[AHEAD + 7]), ray[5] * F(p[AHEAD + 8]))),
    )

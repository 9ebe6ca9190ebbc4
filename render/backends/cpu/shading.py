"""Shading, put off: samples with opacity wait in a queue until a whole vector of them is there.

Where rays enter a surface, often only one lane in three has a sample to shade. What a sample adds to its ray is its
weight, which is known before its light is, times its lit colour; these sums may be made in any order.
So the queue takes lanes, not packets, and the gradient, which is the costly part, is computed for full vectors.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.gradients import READ_AHEAD, READ_BEHIND, edge_rises, rises
from render.backends.cpu.operations import (
    PACKET_WIDTH,
    WIDTH,
    any_lane,
    compress,
    count_lanes,
    fma,
    gather,
    inline,
    lane_column,
    lane_row,
    load,
    minimum,
    permute,
    select,
    splat,
    sqrt,
    store,
    to_f32,
    to_i32,
)
from render.backends.cpu.sampling import F, probe

SIZE, PROBE, GRADIENT, AHEAD = rays.SIZE, rays.PROBE, rays.GRADIENT, rays.AHEAD
ROWS = 32
"""Vectors of samples that a queue holds."""
FIELDS = 5
"""x, y, z, weight and value of a sample; its colour and its ray, the lane, are beside them, in arrays of their own."""
ROOM = (ROWS + 1) * WIDTH
"""Entries of a field: a vector more than it holds, for what is stored beyond the last."""
FULL = ROOM - 2 * WIDTH
"""With more entries a queue might not have room for a packet's."""


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


@inline
def unpack(packed: Any) -> Any:
    """Return red, green and blue, 0 to 1, of a packed colour."""
    return (
        to_f32((packed >> np.int32(21)) & np.int32(2047)) * F(1 / 2047),
        to_f32((packed >> np.int32(10)) & np.int32(2047)) * F(1 / 2047),
        to_f32(packed & np.int32(1023)) * F(1 / 1023),
    )


@inline
def new_queue() -> Any:
    """Return ``(fields, colors, rays)`` of an empty queue."""
    return np.empty(FIELDS * ROOM, np.float32), np.zeros(ROOM, np.int32), np.zeros(ROOM, np.int32)


@inline
def put(fields: Any, colors: Any, rays: Any, count: Any, sample: Any, packed: Any, shown: Any) -> Any:
    """Queue the lanes of a packet that are shown; return the new count."""
    lane = to_i32(fma(lane_row(), F(PACKET_WIDTH), lane_column()))
    x, y, z, weight, value = sample
    store(fields, count, compress(x, shown))
    store(fields, ROOM + count, compress(y, shown))
    store(fields, 2 * ROOM + count, compress(z, shown))
    store(fields, 3 * ROOM + count, compress(weight, shown))
    store(fields, 4 * ROOM + count, compress(value, shown))
    store(colors, count, compress(packed, shown))
    store(rays, count, compress(lane, shown))
    return count + count_lanes(shown)


@inline
def flush(
    codes: Any,
    p: Any,
    light: Any,
    fields: Any,
    colors: Any,
    rays: Any,
    count: Any,
    directions: Any,
    lit: Any,
    sums: Any,
    careful: Any,
) -> None:
    """Shade what waits, and add it to `sums`: red, green and blue of each ray of the packet.

    `lit` is scratch of that size. `careful`: among what waits there may be neighbours of invalid voxels.
    """
    for axis in range(3):  # what fills the last vector may be sampled, and has no weight
        store(fields, axis * ROOM + count, splat(F(p[SIZE + axis] / 2)))
    store(fields, 3 * ROOM + count, splat(F(0)))
    store(fields, 4 * ROOM + count, splat(F(0)))
    store(rays, count, splat(np.int32(0)))
    far_x, far_y, far_z = (
        F(p[SIZE] - 1) - READ_AHEAD,
        F(p[SIZE + 1] - 1) - READ_AHEAD,
        F(p[SIZE + 2] - 1) - READ_AHEAD,
    )
    one = splat(F(1))
    for begin in range(0, count, WIDTH):
        x, y, z = load(fields, begin), load(fields, ROOM + begin), load(fields, 2 * ROOM + begin)
        edge = (x < READ_BEHIND) | (y < READ_BEHIND) | (z < READ_BEHIND) | (x > far_x) | (y > far_y) | (z > far_z)
        if careful:
            rise = careful_rises(codes, p, x, y, z, load(fields, 4 * ROOM + begin))
        elif any_lane(edge):
            rise = edge_rises(codes, p, x, y, z)
        else:
            rise = rises(codes, p, x, y, z)
        ray = load(rays, begin)
        ahead = (
            permute(load(directions, 0), ray),
            permute(load(directions, WIDTH), ray),
            permute(load(directions, 2 * WIDTH), ray),
        )
        factor, highlight = shade(p, light, patient_gradient(p, rise), ahead)
        r, g, b = unpack(load(colors, begin))
        part = load(fields, 3 * ROOM + begin)
        store(lit, 0, minimum(fma(r, factor, highlight), one) * part)
        store(lit, WIDTH, minimum(fma(g, factor, highlight), one) * part)
        store(lit, 2 * WIDTH, minimum(fma(b, factor, highlight), one) * part)
        for lane in range(WIDTH):
            to = np.int64(rays[begin + lane])
            sums[to] += lit[lane]
            sums[WIDTH + to] += lit[WIDTH + lane]
            sums[2 * WIDTH + to] += lit[2 * WIDTH + lane]

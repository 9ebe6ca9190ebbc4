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
    WIDTH,
    any_lane,
    bits,
    fma,
    gather,
    inline,
    load,
    minimum,
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
"""x, y, z, weight and value of a sample; its colour is beside them, in an array of its own."""
ROOM = (ROWS + 1) * WIDTH
"""Entries of a field: the last row pads the last vector that is shaded, with weight 0."""


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
def new_queue(p: Any) -> Any:
    """Return ``(fields, colors, ids)`` of an empty queue."""
    fields, colors = np.zeros(FIELDS * ROOM, np.float32), np.zeros(ROOM, np.int32)
    for axis in range(3):  # what pads a vector may be sampled
        fields[axis * ROOM + ROWS * WIDTH : (axis + 1) * ROOM] = p[SIZE + axis] / 2
    return fields, colors, np.empty(ROOM + WIDTH, np.int32)


@inline
def put(fields: Any, colors: Any, ids: Any, rows: Any, count: Any, sample: Any, packed: Any, shown: Any) -> Any:
    """Queue the lanes of a packet that are shown; return the new count."""
    start = rows * WIDTH
    x, y, z, weight, value = sample
    store(fields, start, x)
    store(fields, ROOM + start, y)
    store(fields, 2 * ROOM + start, z)
    store(fields, 3 * ROOM + start, weight)
    store(fields, 4 * ROOM + start, value)
    store(colors, start, packed)
    lanes = bits(shown)
    for lane in range(WIDTH):
        ids[count] = np.int32(start + lane)
        count += (lanes >> lane) & 1
    return count


@inline
def flush(
    codes: Any,
    p: Any,
    light: Any,
    fields: Any,
    colors: Any,
    ids: Any,
    count: Any,
    directions: Any,
    lit: Any,
    sums: Any,
    careful: Any,
) -> None:
    """Shade what waits, and add it to `sums`: red, green and blue of each ray of the packet.

    `lit` is scratch of that size. `careful`: among what waits there may be neighbours of invalid voxels.
    """
    store(ids, count, splat(np.int32(ROWS * WIDTH)))
    far_x, far_y, far_z = (
        F(p[SIZE] - 1) - READ_AHEAD,
        F(p[SIZE + 1] - 1) - READ_AHEAD,
        F(p[SIZE + 2] - 1) - READ_AHEAD,
    )
    one = splat(F(1))
    for begin in range(0, count, WIDTH):
        entry = load(ids, begin)
        x, y, z = gather(fields, entry), field(fields, 1, entry), field(fields, 2, entry)
        edge = (x < READ_BEHIND) | (y < READ_BEHIND) | (z < READ_BEHIND) | (x > far_x) | (y > far_y) | (z > far_z)
        if careful:
            rise = careful_rises(codes, p, x, y, z, field(fields, 4, entry))
        elif any_lane(edge):
            rise = edge_rises(codes, p, x, y, z)
        else:
            rise = rises(codes, p, x, y, z)
        ray = entry & np.int32(WIDTH - 1)
        ahead = (
            gather(directions, ray),
            gather(directions, ray + np.int32(WIDTH)),
            gather(directions, ray + np.int32(2 * WIDTH)),
        )
        factor, highlight = shade(p, light, patient_gradient(p, rise), ahead)
        r, g, b = unpack(gather(colors, entry))
        part = field(fields, 3, entry)
        store(lit, 0, minimum(fma(r, factor, highlight), one) * part)
        store(lit, WIDTH, minimum(fma(g, factor, highlight), one) * part)
        store(lit, 2 * WIDTH, minimum(fma(b, factor, highlight), one) * part)
        for lane in range(WIDTH):
            to = np.int64(ids[begin + lane]) & (WIDTH - 1)
            sums[to] += lit[lane]
            sums[WIDTH + to] += lit[WIDTH + lane]
            sums[2 * WIDTH + to] += lit[2 * WIDTH + lane]


@inline
def field(fields: Any, which: int, entry: Any) -> Any:
    """Return a field of queued samples."""
    return gather(fields, entry + np.int32(which * ROOM))

"""Runs of a few samples of a packet: whether any of the voxels that they read can have opacity.

Of what bricks let through, of a CT nine samples in ten have none: a brick answers for 16 voxels a side, a run's box for
8 along i and five or so along the others. To compare the voxels of such a box costs as much as half a sample.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends import rays
from render.backends.cpu.operations import RANGE_LENGTH, RANGE_ROWS, box_range, inline
from render.backends.cpu.packets import SLACK, extent_axis
from render.backends.cpu.sampling import HUGE, F

SIZE = rays.SIZE
LEAST_RUN, LONGEST_RUN = 2, 8
"""Samples of a run."""
RUN_COST = 16
"""What a run costs beside its rows, in rows."""
RUN_ROWS = 18
"""For a sample of a run at most: more cost as much as the sample."""
ENTRY_SLACK = F(0.01)
"""Entries of the tables: many times what float32 loses of the last of them."""
ROUNDING = F(2.0**-20)
"""Of a sample, relative: more than all interpolation may go beyond the voxels that it lies between."""


@inline
def run_axis(line: Any, last: Any) -> Any:
    """Return ``(c, s, voxels)``: the box of the run of `last` + 1 samples from k on begins at c + s * k."""
    c, s, extent = line
    return c + min(F(0), s * last) - F(SLACK), s, np.int64(np.ceil(extent + abs(s) * last + F(2 * SLACK))) + 2


@inline
def runs(p: Any, ray: Any, alive: Any, start: Any, stop: Any) -> Any:
    """Choose the runs of a packet's samples: of so many that they cost least.

    Returns
    -------
    length
        Samples of each; 0 if there are none.
    shape
        Voxels of a run's box along j and k.
    lines
        ``(c, s, last)`` of the three axes: the box of the run from sample k on begins at c + s * k, from 0 to `last`.
    """
    x = extent_axis(ray[0], ray[3], alive, start, stop)
    y = extent_axis(ray[1], ray[4], alive, start, stop)
    z = extent_axis(ray[2], ray[5], alive, start, stop)
    nx, ny, nz = np.int64(p[SIZE]), np.int64(p[SIZE + 1]), np.int64(p[SIZE + 2])
    length, last, cost = F(0), F(0), F(RUN_ROWS)
    j = k = np.int64(RANGE_ROWS)
    for more in range(LEAST_RUN - 1, LONGEST_RUN):
        rows, slabs = max(run_axis(y, F(more))[2], RANGE_ROWS), run_axis(z, F(more))[2]
        if run_axis(x, F(more))[2] > RANGE_LENGTH or rows > ny or slabs > nz:
            break
        each = F((rows + RANGE_ROWS - 1) // RANGE_ROWS * RANGE_ROWS * slabs + RUN_COST) / F(more + 1)
        if each < cost:
            length, last, cost = F(more + 1), F(more), each
            j, k = rows, slabs
    cx, sx, _ = run_axis(x, last)
    cy, sy, _ = run_axis(y, last)
    cz, sz, _ = run_axis(z, last)
    if nx < RANGE_LENGTH:
        length = F(0)
    return length, (j, k), (cx, sx, F(nx - RANGE_LENGTH)), (cy, sy, F(ny - j)), (cz, sz, F(nz - k))


@inline
def run_shows(codes: Any, p: Any, around: Any, k: Any, scale: Any, offset: Any) -> Any:
    """Whether a sample of the run from `k` on may have opacity.

    `scale` and `offset` turn a code into an entry of the tables.
    """
    _, shape, x, y, z = around
    row_stride = np.int64(p[SIZE])
    slab_stride = row_stride * np.int64(p[SIZE + 1])
    i = np.int64(min(max(x[0] + x[1] * k, F(0)), x[2]))
    j = np.int64(min(max(y[0] + y[1] * k, F(0)), y[2]))
    at = i + j * row_stride + np.int64(min(max(z[0] + z[1] * k, F(0)), z[2])) * slab_stride
    shown_from, shown_below = F(p[rays.SHOWN_FROM]), F(p[rays.SHOWN_BELOW])
    low, high = box_range(codes, at, (row_stride, slab_stride), shape, shown_below < HUGE)
    slack = ENTRY_SLACK + max(abs(low), abs(high)) * (scale * ROUNDING)
    return high * scale + offset >= shown_from - slack and low * scale + offset < shown_below + slack

"""Scalar kernels for what happens once per volume, or once per table: bricks, histogram, visibility.

They are left to the compiler's own vectoriser: they stream through memory and gather nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends.cpu.operations import inline

BRICK = 8
"""Voxels along each side of the finest bricks."""


@inline
def widen_int16(codes: Any, at: int, count: int, low: Any, high: Any) -> None:
    """Widen the bounds of a row of columns by a row of voxels."""
    for x in range(count):
        value = codes[at + x]
        low[x] = min(low[x], value)
        high[x] = max(high[x], value)


def bricks_int16(
    codes: Any, shape: Any, marked: int, low: Any, high: Any, invalid: Any, layer_from: int, layer_to: int
) -> None:
    """Fill brick layers of `low`, `high` and `invalid`, shape ``(K, J, I)`` in bricks.

    `marked` is the code of invalid voxels, or one that no int16 has. A brick without a valid voxel has
    ``low > high``.
    """
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.int16), np.empty(nx, np.int16)
    row_bad = np.empty(nx, np.uint8)
    checked = -32768 <= marked <= 32767
    sign = np.int16(marked) if checked else np.int16(0)
    for layer in range(layer_from, layer_to):
        for line in range(low.shape[1]):
            row_low[:] = 32767
            row_high[:] = -32768
            row_bad[:] = 0
            for z in range(layer * BRICK, min(layer * BRICK + BRICK, nz)):
                for y in range(line * BRICK, min(line * BRICK + BRICK, ny)):
                    at = (z * ny + y) * nx
                    if checked:
                        for x in range(nx):
                            value = codes[at + x]
                            bad = value == sign
                            row_low[x] = min(row_low[x], np.int16(32767) if bad else value)
                            row_high[x] = max(row_high[x], np.int16(-32768) if bad else value)
                            row_bad[x] |= np.uint8(bad)
                    else:
                        widen_int16(codes, at, nx, row_low, row_high)
            for column in range(low.shape[2]):
                least, most, bad = np.int16(32767), np.int16(-32768), np.uint8(0)
                for x in range(column * BRICK, min(column * BRICK + BRICK, nx)):
                    least, most, bad = min(least, row_low[x]), max(most, row_high[x]), bad | row_bad[x]
                low[layer, line, column], high[layer, line, column] = least, most
                invalid[layer, line, column] = bad


def bricks_float32(
    codes: Any, shape: Any, marked: int, low: Any, high: Any, invalid: Any, layer_from: int, layer_to: int
) -> None:
    """`bricks_int16` for float32, where NaN marks; `marked` is not used. Empty bricks hold infinities."""
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.float32), np.empty(nx, np.float32)
    row_bad = np.empty(nx, np.uint8)
    for layer in range(layer_from, layer_to):
        for line in range(low.shape[1]):
            row_low[:] = np.inf
            row_high[:] = -np.inf
            row_bad[:] = 0
            for z in range(layer * BRICK, min(layer * BRICK + BRICK, nz)):
                for y in range(line * BRICK, min(line * BRICK + BRICK, ny)):
                    at = (z * ny + y) * nx
                    for x in range(nx):
                        value = codes[at + x]
                        # A comparison with NaN is false, so NaN changes neither bound.
                        row_low[x] = value if value < row_low[x] else row_low[x]
                        row_high[x] = value if value > row_high[x] else row_high[x]
                        row_bad[x] |= np.uint8(value != value)
            for column in range(low.shape[2]):
                least, most, bad = np.float32(np.inf), np.float32(-np.inf), np.uint8(0)
                for x in range(column * BRICK, min(column * BRICK + BRICK, nx)):
                    least = row_low[x] if row_low[x] < least else least
                    most = row_high[x] if row_high[x] > most else most
                    bad |= row_bad[x]
                low[layer, line, column], high[layer, line, column] = least, most
                invalid[layer, line, column] = bad


def histogram_int16(
    codes: Any, row_voxels: int, stride: int, low: float, per_bin: float, counts: Any, row_from: int, row_to: int
) -> None:
    """Count the codes of every `stride`-th row into 65,536 bins, one a code from -32768. Adds to `counts`."""
    for row in range(row_from, row_to, stride):
        for at in range(row * row_voxels, (row + 1) * row_voxels):
            counts[np.int64(codes[at]) + 32768] += 1


def histogram_float32(
    codes: Any, row_voxels: int, stride: int, low: float, per_bin: float, counts: Any, row_from: int, row_to: int
) -> None:
    """Count ``(code - low) * per_bin`` of every `stride`-th row into `counts`; NaN and `low` itself are left out."""
    last = counts.size - 1
    for row in range(row_from, row_to, stride):
        for at in range(row * row_voxels, (row + 1) * row_voxels):
            value = codes[at]
            if value != low and np.isfinite(value):
                counts[min(max(np.int64((value - low) * per_bin), 0), last)] += 1


def visible_bricks(
    low: Any, high: Any, invalid: Any, cumulated: Any, scale: float, offset: float, visible: int, bad: int, flags: Any
) -> None:
    """Set `flags`: `visible` where a table entry between the brick's bounds has opacity, `bad` where `invalid`.

    `cumulated[i]` counts the entries with opacity before i, so one subtraction answers for a range. The range is one
    entry wider at both ends than the rounding of the kernels can reach.
    """
    last = cumulated.size - 2
    for brick in range(low.size):
        flag = 0
        if low[brick] <= high[brick]:
            first = min(max(np.int64(min(max(low[brick] * scale + offset, 0.0), last + 0.0)) - 1, 0), last)
            final = min(max(np.int64(min(max(high[brick] * scale + offset, 0.0), last + 0.0)) + 1, 0), last)
            if cumulated[final + 1] > cumulated[first]:
                flag = visible
        flags[brick] = flag | (bad if invalid[brick] != 0 else 0)

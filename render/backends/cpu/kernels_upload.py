"""Scalar kernels for what happens once per volume, or once per table: bricks, histogram, visibility.

They stream through memory and gather nothing, so most is left to the compiler's own vectoriser.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from render.backends.cpu.operations import WIDTH, fma, inline, load, maximum, minimum, splat, store

BRICK = 8
"""Voxels along each side of the finest bricks."""
CELL_BITS = 2
CELL = 1 << CELL_BITS
"""Voxels along each side of a fine cell."""
STEPS = 250
"""From the least code of a volume to the greatest, in bounds that are kept in a byte."""
STEP_SLACK = 1 + 1 / 32
"""To round such a bound outwards, with more than what float32 loses when a kernel turns it into a code again."""
FARTHEST, HOLES = 127, 128
"""What a brick's flag holds: the distance of visible ones, at most so many; a bit, whether it has invalid voxels."""


@inline
def widen_int16(row: Any, low: Any, high: Any) -> None:
    """Widen the bounds of a row of columns by a row of voxels."""
    for x in range(row.size):
        value = row[x]
        low[x] = min(low[x], value)
        high[x] = max(high[x], value)


@inline
def widen_float32(codes: Any, at: int, rows: int, low: Any, high: Any, bad: Any) -> None:
    """`widen_int16` for the `rows` rows from `at` on: what is not finite changes neither bound; `bad` becomes NaN.

    By the operations of lanes, several rows to a store: the compiler's own vectors store under a mask, which is slow.
    """
    length = low.size
    none = splat(np.float32(0))
    whole = length - length % WIDTH
    for x in range(0, whole, WIDTH):
        least, most, sums = load(low, x), load(high, x), load(bad, x)
        for row in range(rows):
            value = load(codes, at + row * length + x)
            sums = fma(value, none, sums)
            value = fma(value, none, value)  # infinities become NaN
            least, most = minimum(value, least), maximum(value, most)
        store(low, x, least)
        store(high, x, most)
        store(bad, x, sums)
    for row in range(rows):
        for x in range(whole, length):
            value = codes[at + row * length + x]
            bad[x] += value * np.float32(0)
            value += value * np.float32(0)
            low[x] = value if value < low[x] else low[x]
            high[x] = value if value > high[x] else high[x]


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
                        row = codes[at : at + nx]
                        for x in range(nx):
                            value = row[x]
                            bad = value == sign
                            row_low[x] = min(row_low[x], np.int16(32767) if bad else value)
                            row_high[x] = max(row_high[x], np.int16(-32768) if bad else value)
                            row_bad[x] |= np.uint8(bad)
                    else:
                        widen_int16(codes[at : at + nx], row_low, row_high)
            for column in range(low.shape[2]):
                least, most, bad = np.int16(32767), np.int16(-32768), np.uint8(0)
                for x in range(column * BRICK, min(column * BRICK + BRICK, nx)):
                    least, most, bad = min(least, row_low[x]), max(most, row_high[x]), bad | row_bad[x]
                low[layer, line, column], high[layer, line, column] = least, most
                invalid[layer, line, column] = bad


def bricks_float32(
    codes: Any, shape: Any, marked: int, low: Any, high: Any, invalid: Any, layer_from: int, layer_to: int
) -> None:
    """`bricks_int16` for float32, where NaN and infinities mark; `marked` is not used. Empty bricks hold infinities."""
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.float32), np.empty(nx, np.float32)
    row_bad = np.empty(nx, np.float32)  # NaN as soon as there was one: a flag of another type would not vectorise
    for layer in range(layer_from, layer_to):
        for line in range(low.shape[1]):
            row_low[:] = np.inf
            row_high[:] = -np.inf
            row_bad[:] = 0
            for z in range(layer * BRICK, min(layer * BRICK + BRICK, nz)):
                rows = min(BRICK, ny - line * BRICK)
                widen_float32(codes, (z * ny + line * BRICK) * nx, rows, row_low, row_high, row_bad)
            for column in range(low.shape[2]):
                least, most, bad = np.float32(np.inf), np.float32(-np.inf), np.float32(0)
                for x in range(column * BRICK, min(column * BRICK + BRICK, nx)):
                    least = row_low[x] if row_low[x] < least else least
                    most = row_high[x] if row_high[x] > most else most
                    bad += row_bad[x]
                low[layer, line, column], high[layer, line, column] = least, most
                invalid[layer, line, column] = bad != bad


def cells_int16(
    codes: Any, shape: Any, base: float, top: float, step: float, most: Any, least: Any, layer_from: int, layer_to: int
) -> None:
    """Fill layers of `most` and `least`, shape ``(K, J, I)`` in fine cells, uint8: bounds in steps, rounded outwards.

    Steps count from the least code of the volume, `base`, up, and from the greatest, `top`, down. Invalid voxels count
    too, at most as these: that widens a bound and is no error.
    """
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.int16), np.empty(nx, np.int16)
    for layer in range(layer_from, layer_to):
        for line in range(most.shape[1]):
            row_low[:] = 32767
            row_high[:] = -32768
            for z in range(layer * CELL, min(layer * CELL + CELL, nz)):
                for y in range(line * CELL, min(line * CELL + CELL, ny)):
                    at = (z * ny + y) * nx
                    widen_int16(codes[at : at + nx], row_low, row_high)
            store_cells(row_low, row_high, base, top, step, most[layer, line], least[layer, line])


def cells_float32(
    codes: Any, shape: Any, base: float, top: float, step: float, most: Any, least: Any, layer_from: int, layer_to: int
) -> None:
    """`cells_int16` for float32; what is not finite counts for nothing."""
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.float32), np.empty(nx, np.float32)
    row_bad = np.empty(nx, np.float32)
    for layer in range(layer_from, layer_to):
        for line in range(most.shape[1]):
            row_low[:] = np.inf
            row_high[:] = -np.inf
            for z in range(layer * CELL, min(layer * CELL + CELL, nz)):
                rows = min(CELL, ny - line * CELL)
                widen_float32(codes, (z * ny + line * CELL) * nx, rows, row_low, row_high, row_bad)
            store_cells(row_low, row_high, base, top, step, most[layer, line], least[layer, line])


@inline
def store_cells(low: Any, high: Any, base: Any, top: Any, step: Any, most: Any, least: Any) -> None:
    """Turn the bounds of a row of columns into those of a row of fine cells."""
    whole = low.size // CELL
    for cell in range(most.size):
        x = cell * CELL
        if cell < whole:
            greatest = max(max(high[x], high[x + 1]), max(high[x + 2], high[x + 3]))
            smallest = min(min(low[x], low[x + 1]), min(low[x + 2], low[x + 3]))
        else:
            greatest, smallest = high[x], low[x]
            for column in range(x + 1, low.size):
                greatest, smallest = max(greatest, high[column]), min(smallest, low[column])
        most[cell] = steps_to(greatest - base, step)
        least[cell] = steps_to(top - smallest, step)


@inline
def steps_to(distance: Any, step: Any) -> Any:
    """Return how many steps reach a distance for sure."""
    if distance <= 0:
        return np.uint8(0)
    return np.uint8(min(distance / step + STEP_SLACK, 255.0))


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
    low: Any, high: Any, invalid: Any, shape: Any, cumulated: Any, scale: float, offset: float, flags: Any
) -> None:
    """Set `flags`: how far the next brick with opacity is, and whether there are invalid voxels.

    The distance is in bricks, along the axis where it is greatest; 0 where a table entry between the brick's own
    bounds has opacity. `cumulated[i]` counts the entries with opacity before i, so one subtraction answers for a range.
    The range is one entry wider at both ends than the rounding of the kernels can reach.
    """
    last = cumulated.size - 2
    for brick in range(low.size):
        flag = np.uint8(FARTHEST)
        if low[brick] <= high[brick]:
            first = min(max(np.int64(min(max(low[brick] * scale + offset, 0.0), last + 0.0)) - 1, 0), last)
            final = min(max(np.int64(min(max(high[brick] * scale + offset, 0.0), last + 0.0)) + 1, 0), last)
            if cumulated[final + 1] > cumulated[first]:
                flag = np.uint8(0)
        flags[brick] = flag
    around = np.empty(flags.size, np.uint8)
    spread(flags, around, shape, 1)
    spread(flags, around, shape, -1)
    for brick in range(low.size):
        flags[brick] |= np.uint8(HOLES if invalid[brick] != 0 else 0)


@inline
def spread(distance: Any, around: Any, shape: Any, way: int) -> None:
    """Carry distances on to the 13 neighbours that come later, forwards or backwards: a chamfer's half.

    `around` holds the least of a brick and of the two beside it in its row, once a row is done.
    """
    nk, nj, ni = shape
    least = np.empty(ni, np.uint8)
    for turn in range(nk * nj):
        line = turn if way > 0 else nk * nj - 1 - turn
        j = line % nj
        least[:] = FARTHEST
        for dk, dj in ((0, -1), (-1, -1), (-1, 0), (-1, 1)):
            other = line + way * (dk * nj + dj)
            if 0 <= j + way * dj < nj and 0 <= other < nk * nj:
                for i in range(ni):
                    least[i] = min(least[i], around[other * ni + i])
        at = line * ni
        before = np.uint8(FARTHEST)
        for n in range(ni):
            i = n if way > 0 else ni - 1 - n
            nearest = min(min(before, least[i]), np.uint8(FARTHEST - 1)) + np.uint8(1)
            before = np.uint8(min(np.uint8(nearest), distance[at + i]))
            distance[at + i] = before
        for i in range(ni):
            beside = min(distance[at + max(i - 1, 0)], distance[at + min(i + 1, ni - 1)])
            around[at + i] = min(beside, distance[at + i])

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
WAYS = 4
"""Counters side by side for a code, see `count_int16`."""
FARTHEST, HOLES = 127, 128
"""What a brick's flag holds: the distance of visible ones, at most so many; a bit, whether it has invalid voxels."""


@inline
def widen_int16(codes: Any, at: int, rows: int, low: Any, high: Any) -> None:
    """Widen the bounds of a row of columns by `rows` rows of voxels, those from `at` on.

    Four of them at once: a bound is read and written once for four voxels.
    """
    length = low.size
    if rows == CELL:
        a, b = codes[at : at + length], codes[at + length : at + 2 * length]
        c, d = codes[at + 2 * length : at + 3 * length], codes[at + 3 * length : at + 4 * length]
        for x in range(length):
            low[x] = min(low[x], min(min(a[x], b[x]), min(c[x], d[x])))
            high[x] = max(high[x], max(max(a[x], b[x]), max(c[x], d[x])))
    else:
        for row in range(rows):
            a = codes[at + row * length : at + row * length + length]
            for x in range(length):
                low[x] = min(low[x], a[x])
                high[x] = max(high[x], a[x])


@inline
def widen_valid_int16(codes: Any, at: int, rows: int, marked: Any, low: Any, high: Any, bad: Any) -> None:
    """`widen_int16` without voxels of the code `marked`; they set `bad`."""
    length = low.size
    for row in range(rows):
        values = codes[at + row * length : at + row * length + length]
        for x in range(length):
            value = values[x]
            is_bad = value == marked
            low[x] = min(low[x], np.int16(32767) if is_bad else value)
            high[x] = max(high[x], np.int16(-32768) if is_bad else value)
            bad[x] |= np.uint8(is_bad)


@inline
def widen_float32(codes: Any, at: int, rows: int, low: Any, high: Any, bad: Any) -> None:
    """`widen_int16` for float32: what is not finite changes neither bound; `bad` becomes NaN.

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


@inline
def fold(low: Any, high: Any, side: int, least: Any, most: Any) -> None:
    """Join the bounds of a row, `side` by `side`; the last may be of fewer."""
    whole = low.size // side
    for at in range(whole):
        smallest, greatest = low[at * side], high[at * side]
        for x in range(at * side + 1, at * side + side):
            smallest, greatest = min(smallest, low[x]), max(greatest, high[x])
        least[at], most[at] = smallest, greatest
    for at in range(whole, least.size):
        smallest, greatest = low[at * side], high[at * side]
        for x in range(at * side + 1, low.size):
            smallest, greatest = min(smallest, low[x]), max(greatest, high[x])
        least[at], most[at] = smallest, greatest


def sweep_int16(
    codes: Any,
    shape: Any,
    marked: int,
    stride: int,
    counts: Any,
    low: Any,
    high: Any,
    invalid: Any,
    cell_low: Any,
    cell_high: Any,
    line_from: int,
    line_to: int,
) -> None:
    """Look once at every voxel of some lines of bricks: fill `low`, `high`, `invalid`, shape ``(K, J, I)`` in bricks.

    Lines are numbered along J, then K. `cell_low` and `cell_high` are the same bounds of fine cells. Every `stride`-th
    row of the volume is counted into `counts`, see `count_int16`; none if it is 0. `marked` is the code of invalid
    voxels, or one that no int16 has; they count for no bound. A brick without a valid voxel has ``low > high``.
    """
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.int16), np.empty(nx, np.int16)
    row_bad = np.empty(nx, np.uint8)
    checked = -32768 <= marked <= 32767
    sign = np.int16(marked) if checked else np.int16(0)
    for turn in range(line_from, line_to):
        layer, line = turn // low.shape[1], turn % low.shape[1]
        row_bad[:] = 0
        low[layer, line] = 32767
        high[layer, line] = -32768
        for cell_layer in range(2 * layer, min(2 * layer + 2, cell_low.shape[0])):
            for cell_line in range(2 * line, min(2 * line + 2, cell_low.shape[1])):
                row_low[:] = 32767
                row_high[:] = -32768
                rows = min(CELL, ny - cell_line * CELL)
                for z in range(cell_layer * CELL, min(cell_layer * CELL + CELL, nz)):
                    row = z * ny + cell_line * CELL
                    if checked:
                        widen_valid_int16(codes, row * nx, rows, sign, row_low, row_high, row_bad)
                    else:
                        widen_int16(codes, row * nx, rows, row_low, row_high)
                    if stride > 0:
                        for counted in range(-(-row // stride) * stride, row + rows, stride):
                            count_int16(codes[counted * nx : counted * nx + nx], counts)
                least, most = cell_low[cell_layer, cell_line], cell_high[cell_layer, cell_line]
                fold(row_low, row_high, CELL, least, most)
                widen_bricks(least, most, low[layer, line], high[layer, line])
        for column in range(low.shape[2]):
            bad = np.uint8(0)
            for x in range(column * BRICK, min(column * BRICK + BRICK, nx)):
                bad |= row_bad[x]
            invalid[layer, line, column] = bad


def sweep_float32(
    codes: Any,
    shape: Any,
    marked: int,
    stride: int,
    counts: Any,
    low: Any,
    high: Any,
    invalid: Any,
    cell_low: Any,
    cell_high: Any,
    line_from: int,
    line_to: int,
) -> None:
    """`sweep_int16` for float32, where NaN and infinities mark. Empty bricks hold infinities.

    `marked` is not used, nor is anything counted: for that the range has to be known.
    """
    nz, ny, nx = shape
    row_low, row_high = np.empty(nx, np.float32), np.empty(nx, np.float32)
    row_bad = np.empty(nx, np.float32)  # NaN as soon as there was one: a flag of another type would not vectorise
    for turn in range(line_from, line_to):
        layer, line = turn // low.shape[1], turn % low.shape[1]
        row_bad[:] = 0
        low[layer, line] = np.inf
        high[layer, line] = -np.inf
        for cell_layer in range(2 * layer, min(2 * layer + 2, cell_low.shape[0])):
            for cell_line in range(2 * line, min(2 * line + 2, cell_low.shape[1])):
                row_low[:] = np.inf
                row_high[:] = -np.inf
                rows = min(CELL, ny - cell_line * CELL)
                for z in range(cell_layer * CELL, min(cell_layer * CELL + CELL, nz)):
                    widen_float32(codes, (z * ny + cell_line * CELL) * nx, rows, row_low, row_high, row_bad)
                least, most = cell_low[cell_layer, cell_line], cell_high[cell_layer, cell_line]
                fold(row_low, row_high, CELL, least, most)
                widen_bricks(least, most, low[layer, line], high[layer, line])
        for column in range(low.shape[2]):
            sums = np.float32(0)
            for x in range(column * BRICK, min(column * BRICK + BRICK, nx)):
                sums += row_bad[x]
            invalid[layer, line, column] = sums != sums


@inline
def widen_bricks(least: Any, most: Any, low: Any, high: Any) -> None:
    """Widen the bounds of a row of bricks by a row of their cells."""
    for brick in range(least.size // 2):
        low[brick] = min(low[brick], min(least[2 * brick], least[2 * brick + 1]))
        high[brick] = max(high[brick], max(most[2 * brick], most[2 * brick + 1]))
    if least.size % 2:
        low[-1], high[-1] = min(low[-1], least[-1]), max(high[-1], most[-1])


def bounds_in_steps(
    low: Any,
    high: Any,
    keep: int,
    base: float,
    top: float,
    step: float,
    most: Any,
    least: Any,
    layer_from: int,
    layer_to: int,
) -> None:
    """Fill layers of `most` and `least`: bounds of bricks *and their next neighbours* in steps, rounded outwards.

    Steps count from the least code of the volume, `base`, up, and from the greatest, `top`, down. Where `keep` is set
    the widened bounds take the place of `low` and `high`: for all layers in one call, since each looks at the next.
    """
    nk, nj, ni = low.shape
    row_low, row_high = np.empty(ni, low.dtype), np.empty(ni, low.dtype)
    for k in range(layer_from, layer_to):
        for j in range(nj):
            row_low[:] = low[k, j]
            row_high[:] = high[k, j]
            for dk, dj in ((0, 1), (1, 0), (1, 1)):
                if k + dk < nk and j + dj < nj:
                    beside_low, beside_high = low[k + dk, j + dj], high[k + dk, j + dj]
                    for i in range(ni):
                        row_low[i] = min(row_low[i], beside_low[i])
                        row_high[i] = max(row_high[i], beside_high[i])
            for i in range(ni - 1):
                row_low[i] = min(row_low[i], row_low[i + 1])
                row_high[i] = max(row_high[i], row_high[i + 1])
            for i in range(ni):
                most[k, j, i] = steps_to(row_high[i] - base, step)
                least[k, j, i] = steps_to(top - row_low[i], step)
            if keep != 0:
                low[k, j] = row_low
                high[k, j] = row_high


@inline
def steps_to(distance: Any, step: Any) -> Any:
    """Return how many steps reach a distance for sure."""
    if distance <= 0:
        return np.uint8(0)
    return np.uint8(min(distance / step + STEP_SLACK, 255.0))


@inline
def count_int16(row: Any, counts: Any) -> None:
    """Count a row's codes, one bin a code from -32768, each in `WAYS` parts side by side.

    Of voxels in a row many are equal; adding to one counter again and again would wait for the last time.
    """
    whole = row.size - row.size % WAYS
    for x in range(0, whole, WAYS):
        for way in range(WAYS):
            counts[(np.int64(row[x + way]) + 32768) * WAYS + way] += np.uint32(1)
    for x in range(whole, row.size):
        counts[(np.int64(row[x]) + 32768) * WAYS] += np.uint32(1)


def histogram_int16(
    codes: Any, row_voxels: int, stride: int, low: float, per_bin: float, counts: Any, row_from: int, row_to: int
) -> None:
    """`count_int16` for every `stride`-th row. Adds to `counts`."""
    for row in range(row_from, row_to, stride):
        count_int16(codes[row * row_voxels : row * row_voxels + row_voxels], counts)


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

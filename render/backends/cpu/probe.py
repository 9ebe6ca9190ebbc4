"""Whether the SIMD lanes work here: a small kernel that uses each of their operations, and checks the result.

numba's extension API is not as stable as its language, and LLVM not equally tried on every CPU. Importing this module
needs the lanes; the texts of the kernels do not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types

from render.backends.cpu.boxes import BOX_ROWS, FEW_ROWS, cell_rows
from render.backends.cpu.gathers import compress, gather, is_invalid, lerp, mix, permute, row, weight
from render.backends.cpu.kernel_cache import compile_function
from render.backends.cpu.lanes import (
    PACKET_WIDTH,
    WIDTH,
    absolute,
    any_lane,
    bits,
    ceil,
    count_lanes,
    extract,
    fetch_add,
    floor,
    fma,
    lane_column,
    lane_row,
    load,
    maximum,
    minimum,
    reduce_max,
    reduce_min,
    select,
    splat,
    sqrt,
    store,
    to_f32,
    to_i32,
)
from render.backends.cpu.ranges import RANGE_LENGTH, RANGE_ROWS, box_range
from render.backends.cpu.rows4 import row4, weights4
from render.backends.cpu.trial import ensure_survival
from render.backends.cpu.weights import WEIGHT_ONE

F = np.float32
INVALID = 25
UNIT = F(1 / WEIGHT_ONE)


def probe(codes: Any, numbers: Any, packed: Any, steps: Any, rows: Any, out: Any) -> None:
    """Write a number for each lane to `out`; exact, whatever is fused. The arrays have `WIDTH` + 4 elements."""
    at = to_i32(fma(lane_row(), F(PACKET_WIDTH), lane_column()))
    back = splat(np.int32(WIDTH - 1)) - at
    quarter = permute(to_f32(back & np.int32(3)) * F(0.25), back)
    none = quarter - quarter
    in_int, in_float = weight(codes, quarter), weight(numbers, quarter)
    pair = row(codes, 1, at, in_int) * UNIT + row(numbers, 1, at, in_float)
    apart = mix(gather(codes, at), gather(codes, at + np.int32(1)), in_int) * UNIT
    apart = apart + mix(gather(numbers, at), gather(numbers, at + np.int32(1)), in_float)
    four = row4(codes, 0, at, weights4(codes, (quarter, none, none), 1.0)) * UNIT
    four = four + row4(numbers, 0, at, weights4(numbers, (quarter, none, none), 1.0))
    one, zero = np.int64(1), np.int64(0)
    for count in (FEW_ROWS, BOX_ROWS):  # a small box, a large one
        box = (zero, zero, zero), (np.int64(count), 2 * one, 2 * one), rows, (zero, zero)
        first, none_on = at & np.int32(3), at - at
        a, b, c, d = cell_rows(codes, (one, one), (first, none_on, none_on), in_int, box)
        four = four + (a + b + c + d) * UNIT
    bad = is_invalid(gather(codes, at), np.int32(INVALID)) | is_invalid(gather(numbers, at), np.int32(0))
    high = to_f32((gather(packed, at) >> np.int32(21)) & np.int32(2047)) / splat(F(2)) + to_f32(gather(steps, at))
    odd = (at & np.int32(1)) > np.int32(0)
    store(out, 0, compress(to_f32(at), odd))
    ends = splat(out[count_lanes(odd) - 1] + reduce_min(quarter) + reduce_max(to_f32(at)))
    same = (np.int64(RANGE_ROWS), one)  # rows of one voxel after another, all of them the first
    low, highest = box_range(codes, zero, (zero, zero), same, True)
    ends = ends + splat(low + highest + box_range(numbers, zero, (zero, zero), same, False)[1])
    rounded = floor(quarter) + ceil(quarter) + sqrt(absolute(splat(F(0)) - quarter * quarter))
    total = lerp(pair, apart, quarter) + four + high + ends + rounded
    total = minimum(maximum(total, splat(F(-1))), splat(F(1e6)))
    if any_lane((at >= np.int32(0)) & (quarter < F(1))):
        total = select(bad, splat(F(-2)), total)
    whole = bits(total >= splat(F(-2))) + fetch_add(rows, 0, 0)
    store(out, 0, total)
    total = load(out, 0)
    for lane in range(WIDTH):
        out[lane] = extract(total, lane) if (whole >> lane) & 1 else F(-3)


def arguments() -> tuple[npt.NDArray[Any], ...]:
    """Return what `probe` is tried on."""
    codes = (np.arange(WIDTH + 4, dtype=np.int16) * 40 % 64 - 15).astype(np.int16)
    packed = (np.arange(WIDTH + 4, dtype=np.uint32) * 900_000_001).view(np.int32)
    rows = np.zeros(max(BOX_ROWS, 4), np.int64)
    rows[:4] = 0, 1, 1, 2
    steps = (np.arange(WIDTH + 4) * 37 + 100).astype(np.uint8)
    return codes, codes[::-1].astype(F), packed, steps, rows, np.zeros(WIDTH, F)


def expected(
    codes: npt.NDArray[Any], numbers: npt.NDArray[Any], packed: npt.NDArray[Any], steps: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Return what `probe` must write, by NumPy in float64."""
    at = np.arange(WIDTH)
    quarter = (at & 3) * 0.25
    both = codes.astype(np.float64) + numbers

    def between(first: int) -> npt.NDArray[Any]:
        return np.asarray(both[at + first] * (1 - quarter) + both[at + first + 1] * quarter)

    lerped = between(1) * (1 - quarter) + between(0) * quarter
    four = both[at] * quarter + both[at + 1] * (1 - quarter)
    first = codes[np.add.outer((0, 1, 1, 2), at & 3)]
    second = codes[np.add.outer((1, 2, 2, 3), at & 3)]
    four += 2 * (first * (1 - quarter) + second * quarter).sum(0)
    high = (packed[at].view(np.uint32) >> 21) / 2 + steps[at]
    rounded = np.floor(quarter) + np.ceil(quarter) + quarter
    first, numbered = codes[:RANGE_LENGTH].astype(np.float64), numbers[:RANGE_LENGTH]
    ends = 2 * (WIDTH - 1) + first.min() + first.max() + numbered.max()
    total = np.maximum(lerped + four + high + ends + rounded, -1)
    return np.where((codes[at] == INVALID) | np.isnan(numbers[at]), -2, total)


def lanes_work() -> bool:
    """Compile the probe, or load it from the cache, and run it; the first time in another process before this one.

    Raises
    ------
    Exception
        Anything that numba or LLVM raise; ProbeCrashError if it ended the other process.
    """
    ensure_survival(WIDTH)
    flat = (
        types.Array(dtype, 1, "C")
        for dtype in (types.int16, types.float32, types.int32, types.uint8, types.int64, types.float32)
    )
    compiled = compile_function("probe", probe, types.void(*flat), WIDTH)
    *given, rows, out = arguments()
    compiled(*given, rows, out)
    return np.array_equal(out, expected(*given))

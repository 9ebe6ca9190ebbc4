"""The kernels' operations for one ray at a time: plain numba, nothing of its extension API, nothing of LLVM's.

These are what `operations` falls back on, and what the lanes are measured against. A value is an ordinary scalar:
float32, a whole number or a bool, so arithmetic and comparisons are numba's own. Two differences follow. A whole number
may grow to 64 bits, and ``>>`` keeps the sign. And `fma` rounds twice, so a picture may differ from the lanes' by
the rounding of its rays' coordinates.

What depends on the type of the codes is a branch on ``isinstance``, which numba decides while it compiles.
"""

from __future__ import annotations

import math
from typing import Any, TypeVar, cast

import numpy as np
from numba import njit

from render.backends.cpu.weights import WEIGHT_ONE

F = np.float32
WIDTH = PACKET_WIDTH = PACKET_HEIGHT = 1
BOX_LENGTH = BOX_ROWS = 0
RANGE_LENGTH = RANGE_ROWS = 4
COUNTS_TOGETHER = False
"""Plain numba has no counter that several threads may share."""

Function = TypeVar("Function")


def inline(function: Function) -> Function:
    """Compile a part of kernels, always inlined: a call would pass every vector through memory."""
    return cast(Function, njit(forceinline=True, error_model="numpy")(function))


@inline
def splat(value: Any) -> Any:
    """Return the scalar itself, as float32 or int32."""
    if isinstance(value, (float, np.float32)):  # numba knows the tuple
        return np.float32(value)
    return np.int32(value)


@inline
def fma(x: Any, y: Any, z: Any) -> Any:
    """Return ``x * y + z``, rounded twice."""
    return x * y + z


@inline
def select(mask: Any, x: Any, y: Any) -> Any:
    """Return `x` if `mask` holds, else `y`."""
    return x if mask else y


@inline
def minimum(x: Any, y: Any) -> Any:
    """Return ``x if x < y else y``; so a NaN in `x` yields `y`."""
    return x if x < y else y


@inline
def maximum(x: Any, y: Any) -> Any:
    """Return ``x if x > y else y``; so a NaN in `x` yields `y`."""
    return x if x > y else y


@inline
def to_i32(x: Any) -> Any:
    """Truncate towards zero."""
    return np.int32(x)


@inline
def to_f32(x: Any) -> Any:
    """Return a whole number as float32."""
    return np.float32(x)


@inline
def sqrt(x: Any) -> Any:
    """Return the square root."""
    return np.sqrt(x)


@inline
def absolute(x: Any) -> Any:
    """Return the absolute value."""
    return abs(x)


@inline
def floor(x: Any) -> Any:
    """Round down; float32 stays float32, which `math.floor` would not."""
    return np.floor(x)


@inline
def ceil(x: Any) -> Any:
    """Round up."""
    return np.ceil(x)


@inline
def reduce_min(x: Any) -> Any:
    """Return the value of the only lane."""
    return x


@inline
def reduce_max(x: Any) -> Any:
    """Return the value of the only lane."""
    return x


@inline
def any_lane(mask: Any) -> Any:
    """Whether the only lane's mask holds."""
    return mask


@inline
def extract(value: Any, index: Any) -> Any:
    """Return the value of the only lane."""
    return value


@inline
def lane_row() -> Any:
    """Return 0: the only lane is the packet's first row."""
    return F(0)


@inline
def lane_column() -> Any:
    """Return 0: the only lane is the packet's first column."""
    return F(0)


@inline
def gather(array: Any, index: Any) -> Any:
    """Return ``array[index]``: int32 from uint8, int16 and int32, float32 from float32."""
    value = array[np.uint64(index)]  # unsigned: numba would test for an index that counts from the end
    if isinstance(value, np.float32):
        return value
    return np.int32(value)


@inline
def permute(values: Any, index: Any) -> Any:
    """Return the value of the only lane."""
    return values


@inline
def weight(codes: Any, fraction: Any) -> Any:
    """Turn a fraction from 0 to 1 into the weight of the right neighbour, as `mix` takes it for these codes."""
    if isinstance(codes[0], np.float32):
        return fraction
    return np.int32(fraction * F(WEIGHT_ONE) + F(0.5))


@inline
def lerp(a: Any, b: Any, t: Any) -> Any:
    """Return ``a + t * (b - a)``."""
    return a + t * (b - a)


@inline
def mix(left: Any, right: Any, weight: Any) -> Any:
    """Interpolate gathered codes along x, float32, times `weights.weight_unit`."""
    if isinstance(left, np.float32):
        return left + weight * (right - left)
    return np.float32(left * (WEIGHT_ONE - weight) + right * weight)


@inline
def row(codes: Any, offset: int, index: Any, weight: Any) -> Any:
    """`mix` of ``codes[offset + index]`` and its right neighbour."""
    return mix(gather(codes, offset + index), gather(codes, offset + index + 1), weight)


@inline
def cell_rows(codes: Any, strides: Any, cell: Any, across: Any, box: Any) -> Any:
    """Return `row` of the four rows of a cell; a box of voxels is of no use to one ray."""
    at = cell[0] + cell[1] * strides[0] + cell[2] * strides[1]
    return (
        row(codes, 0, at, across),
        row(codes, strides[0], at, across),
        row(codes, strides[1], at, across),
        row(codes, strides[0] + strides[1], at, across),
    )


@inline
def prefetch(codes: Any, offset: int, index: Any) -> None:
    """Do nothing: plain numba can't ask for a cache line."""


@inline
def box_range(codes: Any, at: Any, strides: Any, shape: Any, from_below: Any) -> Any:
    """Return the least and the greatest code of a box, float32; NaN counts for nothing."""
    low, high = F(np.inf), F(-np.inf)
    for k in range(shape[1]):
        for j in range(shape[0]):
            start = at + j * strides[0] + k * strides[1]
            for i in range(RANGE_LENGTH):
                value = F(codes[np.uint64(start + i)])
                low = value if value < low else low
                high = value if value > high else high
    return low, high


@inline
def is_invalid(gathered: Any, invalid: Any) -> Any:
    """Whether a gathered code marks a voxel without a value: equals `invalid` (int16), or is not finite (float32)."""
    if isinstance(gathered, np.float32):
        return not math.isfinite(gathered)
    return gathered == invalid


@inline
def weights4(codes: Any, weights: Any, total: float) -> Any:
    """Weights of four neighbouring voxels, as `row4` takes them for these codes.

    `weights` are the first, third and fourth; the second makes the sum `total`, 0 or 1.
    """
    if isinstance(codes[0], np.float32):
        return weights[0], F(total) - weights[0] - weights[1] - weights[2], weights[1], weights[2]
    a = np.int32(weights[0] * F(WEIGHT_ONE) + F(0.5))
    c = np.int32(weights[1] * F(WEIGHT_ONE) + F(0.5))
    d = np.int32(weights[2] * F(WEIGHT_ONE) + F(0.5))
    return a, np.int32(np.int32(total * WEIGHT_ONE) - a - c - d), c, d


@inline
def row4(codes: Any, offset: int, index: Any, weights: Any) -> Any:
    """Weighted sum of the voxels at ``offset + index`` and the next three, times `weights.weight_unit`."""
    at = offset + index
    total = gather(codes, at) * weights[0] + gather(codes, at + 1) * weights[1]
    return np.float32(total + gather(codes, at + 2) * weights[2] + gather(codes, at + 3) * weights[3])


@inline
def bits(mask: Any) -> Any:
    """Return a mask as an integer: lane n is bit n."""
    return np.int64(1) if mask else np.int64(0)


@inline
def count_lanes(mask: Any) -> Any:
    """Return in how many lanes a mask holds."""
    return np.int64(1) if mask else np.int64(0)


@inline
def compress(values: Any, mask: Any) -> Any:
    """Bring the lanes in which a mask holds to the front: the only one is there."""
    return values


@inline
def load(array: Any, at: Any) -> Any:
    """Return ``array[at : at + WIDTH]``, flat, of float32 or int32."""
    return array[np.uint64(at)]


@inline
def store(array: Any, at: Any, value: Any) -> None:
    """Write `value` to ``array[at : at + WIDTH]``, flat, of float32 or int32."""
    array[np.uint64(at)] = value


@inline
def store_rows(picture: Any, row: Any, column: Any, value: Any) -> None:
    """Write a packet into a C-contiguous picture ``(H, W)`` of 32-bit pixels, in which all of it must lie."""
    picture[np.uint64(row), np.uint64(column)] = value


@inline
def fetch_add(counters: Any, at: Any, amount: Any) -> Any:
    """Add to ``counters[at]``, int64, for this thread alone, and return what it was."""
    before = counters[at]
    counters[at] = before + amount
    return before

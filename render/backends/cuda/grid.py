"""The brick grid's sizes, which of its levels a frame skips by, and a volume's statistics from its histogram.

The finest bricks have `BRICK` voxels a side; each coarser level doubles that, until one brick is left. A ray is
marched in segments that one look-up bounds (see ``kernels/bricks.cuh``), in two steps: first on a coarse level, for
what is empty or hopeless in bulk, then on a fine one.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BRICK = 8
"""Voxels along a side of the finest bricks."""
COARSER = 4
"""The coarse level's bricks have at least this many times the fine ones' side, where there is such a level."""
BOX_SLACK = 0.05
"""Voxels. What float32 may lose between a segment's box and its samples."""
MIN_SEGMENT = 4
"""Samples. With fewer to a look-up the coarser level is cheaper."""
MAX_SEGMENT = 64
MAX_COARSE_SEGMENTS = 16


@dataclass(frozen=True)
class Level:
    """Bricks of one size.

    Attributes
    ----------
    size
        Voxels along a side.
    shape
        Bricks, ``(K, J, I)``.
    """

    size: int
    shape: tuple[int, int, int]

    @property
    def bricks(self) -> int:
        """How many there are."""
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class Segments:
    """How the rays of a frame are cut.

    Attributes
    ----------
    fine, coarse
        Which levels bound the segments.
    samples
        Of a fine segment.
    coarse_segments
        Fine segments to a coarse one.
    """

    fine: int
    coarse: int
    samples: int
    coarse_segments: int


@functools.lru_cache(maxsize=256)
def levels(shape: tuple[int, int, int]) -> tuple[Level, ...]:
    """Return the levels of a volume of this shape ``(K, J, I)``, finest first."""
    size, result = BRICK, []
    while True:
        k, j, i = (-(-n // size) for n in shape)
        result.append(Level(size, (k, j, i)))
        if max(k, j, i) == 1:
            return tuple(result)
        size *= 2


def grid_nbytes(shape: tuple[int, int, int], dtype_bytes: int) -> int:
    """Bytes of the bounds and flags of all levels."""
    return sum(level.bricks for level in levels(shape)) * (2 * dtype_bytes + 1)


def segments_of(grid: Sequence[Level], along: npt.NDArray[np.float64], reach: float) -> Segments:
    """Choose the levels for rays that advance by at most `along` voxels a sample on each axis, shape (3,).

    Parameters
    ----------
    grid
        All levels, finest first.
    along
        0 for a thin view.
    reach
        Voxels around a sample that are read with it.
    """
    longest, lost = max(*along.tolist(), 1e-6), 1 + BOX_SLACK + 2 * reach
    counts = [int((level.size - lost) / longest) + 1 if level.size >= lost else 0 for level in grid]
    # The coarsest level is a single brick, which bounds everything.
    counts[-1] = MAX_SEGMENT * MAX_COARSE_SEGMENTS
    fine = next(n for n, count in enumerate(counts) if count >= MIN_SEGMENT)
    samples = min(counts[fine], MAX_SEGMENT)
    coarse = next((n for n in range(fine, len(grid)) if grid[n].size >= COARSER * grid[fine].size), len(grid) - 1)
    return Segments(fine, coarse, samples, min(max(counts[coarse] // samples, 1), MAX_COARSE_SEGMENTS))

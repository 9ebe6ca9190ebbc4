"""The grid of bricks that lets every method skip what cannot show.

The finest bricks have `kernels_upload.BRICK` voxels a side; each coarser level doubles that, until one brick is left.
What is kept for a brick are bounds over itself *and its next neighbours* along i, j and k: a box that begins
anywhere in a brick and is at most ``size - 1`` voxels long, with the voxels that its samples read, lies within those.
So one look-up bounds any box of that size. MIP and MinIP have these bounds in a byte too, in steps, and the same of
finer cells, which bound a single ray's part.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.cpu.compiling import kernel
from render.backends.cpu.kernels_upload import BRICK, CELL, STEPS
from render.backends.cpu.packets import MAX_SEGMENT

BOX_SLACK = 0.05
"""Voxels. What float32 may lose between a segment's box and its samples."""
MIN_SEGMENT = 4
"""Samples. With fewer to a look-up the coarser level is cheaper."""
MIN_PART = 3
"""Samples. To ask a fine cell costs half of one."""


@dataclass(frozen=True, eq=False)
class Level:
    """Bricks of one size; arrays of shape ``(K, J, I)`` in bricks.

    Attributes
    ----------
    size
        Voxels along a side.
    low, high
        Bounds of the valid codes in a brick and its next neighbours; ``low > high`` where there are none.
    invalid
        uint8: whether one of those voxels is invalid.
    around
        uint8: whether one of them, or of those `size` voxels around them, is.
    most, least
        uint8: the same bounds in steps of the grid, `high` up from its minimum and `low` down from its maximum, rounded
        outwards.
    """

    size: int
    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    invalid: npt.NDArray[np.uint8]
    around: npt.NDArray[np.uint8]
    most: npt.NDArray[np.uint8]
    least: npt.NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        around = 0 if self.around is self.invalid else self.around.nbytes
        return int(self.low.nbytes + self.high.nbytes + self.invalid.nbytes + around + 2 * self.most.nbytes)


@dataclass(frozen=True, eq=False)
class FineCells:
    """Bounds of cells of `CELL` voxels a side, each with its next neighbours; shape ``(K, J, I)`` in cells.

    Attributes
    ----------
    most, least
        As of a `Level`.
    """

    most: npt.NDArray[np.uint8]
    least: npt.NDArray[np.uint8]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays."""
        return self.most.nbytes + self.least.nbytes

    def segment_for(self, along: npt.NDArray[np.float64]) -> int:
        """Return the samples of a ray that one cell bounds for sure, by its step along each axis in voxels."""
        return min(int((CELL - 1 - BOX_SLACK) / max(float(along.max()), 1e-6)) + 1, MAX_SEGMENT)


@dataclass(frozen=True, eq=False)
class BrickGrid:
    """All levels, finest first.

    Attributes
    ----------
    minimum, maximum
        Over all valid codes; ``minimum > maximum`` if there are none.
    has_invalid
        Whether any voxel is.
    step
        In codes, of bounds that are kept in a byte.
    cells
        Finer than the finest level; None while a volume grows, of a single slice, and without a valid voxel.
    """

    levels: tuple[Level, ...]
    minimum: float
    maximum: float
    has_invalid: bool
    step: float
    cells: FineCells | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all levels."""
        return sum(level.nbytes for level in self.levels) + (self.cells.nbytes if self.cells else 0)

    def level_for(
        self, across: npt.NDArray[np.float64], along: npt.NDArray[np.float64], least: int = MIN_SEGMENT
    ) -> tuple[Level, int]:
        """Return the finest level that bounds a useful segment of a packet of that size, and the segment's samples.

        Parameters
        ----------
        across, along
            Size of the packet and its step, voxels on each axis, shape (3,).
        least
            So many samples are useful.
        """
        sizes, steps = across.tolist(), along.tolist()
        for level in self.levels:
            room = [level.size - 1 - BOX_SLACK - size for size in sizes]
            if min(room) < 0:
                continue
            samples = int(min(left / max(step, 1e-6) for left, step in zip(room, steps, strict=True))) + 1
            if samples >= least:
                return level, min(samples, MAX_SEGMENT)
        # The coarsest level is a single brick, which bounds everything.
        return self.levels[-1], MAX_SEGMENT

    def levels_for_extremes(
        self, across: npt.NDArray[np.float64], along: npt.NDArray[np.float64]
    ) -> tuple[Level, int, int]:
        """Return `level_for`, for segments made of equal parts that the fine cells bound, and the samples of a part.

        The part is 0 where the fine cells are of no use.
        """
        part = self.cells.segment_for(along) if self.cells is not None else 0
        if part < MIN_PART:
            return *self.level_for(across, along), 0
        level, segment = self.level_for(across, along, least=part + 1)
        parts = -(-segment // part)
        part = segment // parts
        return level, parts * part, part


def _step_of(minimum: float, maximum: float) -> float:
    """Return the step of bounds in a byte: fine enough to be of use, coarse enough for float32 to tell steps apart."""
    if minimum >= maximum:
        return 1.0
    return max((maximum - minimum) / STEPS, max(abs(minimum), abs(maximum)) * 2.0**-16)


def _with_neighbours(cells: npt.NDArray[Any], widen: np.ufunc) -> npt.NDArray[Any]:
    """Return each cell extended to its next neighbours along all axes."""
    result: npt.NDArray[Any] = cells.copy()
    for axis in range(3):
        here: list[slice] = [slice(None)] * 3
        there: list[slice] = [slice(None)] * 3
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        widen(result[tuple(here)], result[tuple(there)].copy(), out=result[tuple(here)])
    return result


def _widened(cells: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Extend each cell to its neighbours on both sides along all axes."""
    back = _with_neighbours(cells[::-1, ::-1, ::-1], np.maximum)[::-1, ::-1, ::-1]
    return _with_neighbours(back, np.maximum)


def _halved(cells: npt.NDArray[Any], widen: np.ufunc) -> npt.NDArray[Any]:
    """Join cells two by two along all axes."""
    for axis in range(3):
        even: list[slice] = [slice(None)] * 3
        odd: list[slice] = [slice(None)] * 3
        even[axis], odd[axis] = slice(None, None, 2), slice(1, None, 2)
        second = cells[tuple(odd)]
        cells = cells[tuple(even)].copy()
        odd[axis] = slice(second.shape[axis])
        widen(cells[tuple(odd)], second, out=cells[tuple(odd)])
    return cells


def grid_of(low: npt.NDArray[Any], high: npt.NDArray[Any], invalid: npt.NDArray[np.uint8]) -> BrickGrid:
    """Return the grid of all levels of the finest bricks, each for itself: bounds and validity, ``(K, J, I)``."""
    minimum, maximum, has_invalid = float(low.min()), float(high.max()), bool(invalid.any())
    step = _step_of(minimum, maximum)
    in_steps = kernel("steps", low.dtype)
    levels, size = [], BRICK
    while True:
        bad = _with_neighbours(invalid, np.maximum) if has_invalid else np.zeros(low.shape, np.uint8)
        around = _widened(bad) if has_invalid else bad
        least, most = np.empty(low.shape, np.uint8), np.empty(low.shape, np.uint8)
        wide_low, wide_high = low.copy(), high.copy()
        in_steps(wide_low, wide_high, 1, minimum, maximum, step, most, least, 0, low.shape[0])
        levels.append(Level(size, wide_low, wide_high, bad, around, most, least))
        if max(low.shape) == 1:
            return BrickGrid(tuple(levels), minimum, maximum, has_invalid, step)
        low, high = _halved(low, np.minimum), _halved(high, np.maximum)
        if has_invalid:
            invalid = _halved(invalid, np.maximum)
        size *= 2

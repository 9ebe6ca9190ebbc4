"""The grid of bricks that lets every method skip what cannot show, and a volume's statistics.

The finest bricks have `kernels_upload.BRICK` voxels a side; each coarser level doubles that, until one brick is left.
What is kept for a brick are bounds over itself *and its next neighbours* along i, j and k: a box that begins
anywhere in a brick and is at most ``size - 1`` voxels long, with the voxels that its samples read, lies within those.
So one look-up bounds any box of that size. MIP and MinIP have these bounds in a byte too, in steps, and the same of
finer cells, which bound a single ray's part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.base import Statistics
from render.backends.cpu.compiling import kernel
from render.backends.cpu.kernels_upload import BRICK, CELL, STEP_SLACK, STEPS
from render.backends.cpu.packets import MAX_SEGMENT
from render.backends.cpu.tiles import TilePool
from render.backends.histogram import HISTOGRAM_BINS, histogram_per_bin, histogram_stride, statistics_of
from render.volume import Volume

NO_CODE = 1 << 16
"""Stands for "no voxel is invalid" where an int16 code is expected."""
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
        Finer than the finest level; None while a volume grows.
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


def _steps_to(distance: npt.NDArray[np.float64], step: float) -> npt.NDArray[np.uint8]:
    """`kernels_upload.steps_to` of each distance."""
    return np.where(distance > 0, np.clip(distance / step + STEP_SLACK, 0, 255), 0).astype(np.uint8)


def _in_steps(codes: npt.NDArray[Any], start: float, sign: int, step: float) -> npt.NDArray[np.uint8]:
    """Return the steps from `start` to each code, up (`sign` 1) or down (-1)."""
    if codes.dtype == np.int16 and codes.size > 1 << 16:  # fewer codes than bricks: each is computed once
        every = np.arange(1 << 16, dtype=np.uint16).view(np.int16)
        return _in_steps(every, start, sign, step)[codes.view(np.uint16)]
    return _steps_to(sign * (codes.astype(np.float64) - start), step)


def _with_neighbours(cells: npt.NDArray[Any], widen: np.ufunc) -> npt.NDArray[Any]:
    """Return each cell extended to its next neighbours along all axes."""
    result: npt.NDArray[Any] = cells.copy()
    _extend(result, widen)
    return result


def _extend(cells: npt.NDArray[Any], widen: np.ufunc) -> None:
    """Extend each cell to its next neighbours along all axes, in place."""
    for axis in range(3):
        here: list[slice] = [slice(None)] * 3
        there: list[slice] = [slice(None)] * 3
        here[axis], there[axis] = slice(None, -1), slice(1, None)
        widen(cells[tuple(here)], cells[tuple(there)].copy(), out=cells[tuple(here)])


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


@dataclass(frozen=True, eq=False)
class Cells:
    """The finest bricks of a volume, each for itself; arrays of shape ``(K, J, I)`` in bricks.

    Attributes
    ----------
    low, high
        Bounds of the valid codes; ``low > high`` where there are none.
    invalid
        uint8: whether a voxel is invalid.
    """

    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    invalid: npt.NDArray[np.uint8]

    @classmethod
    def without_voxels(cls, volume: Volume) -> Cells:
        """Return those of a volume of which nothing has arrived."""
        shape, dtype = tuple(-(-n // BRICK) for n in volume.geometry.shape), volume.codes.dtype
        least, most = (-32768, 32767) if dtype == np.int16 else (-np.inf, np.inf)
        return cls(np.full(shape, most, dtype), np.full(shape, least, dtype), np.ones(shape, np.uint8))

    def fill(self, volume: Volume, codes: npt.NDArray[Any], pool: TilePool, slices: Sequence[tuple[int, int]]) -> None:
        """Look at the voxels of some slices, pairs of the first and one past the last, by all threads of the pool."""
        marked = NO_CODE if volume.invalid_code is None else volume.invalid_code
        build = kernel("bricks", codes.dtype)
        build.compile()
        layers = sorted({layer for first, last in slices for layer in range(first // BRICK, -(-last // BRICK))})
        pool.run(
            lambda part: build(
                codes, volume.geometry.shape, marked, self.low, self.high, self.invalid, part[0], part[1]
            ),
            [(layer, layer + 1, 0, 0) for layer in layers],
        )

    def grid(self) -> BrickGrid:
        """Return the grid of all levels."""
        low, high, invalid = self.low, self.high, self.invalid
        minimum, maximum, has_invalid = float(low.min()), float(high.max()), bool(invalid.any())
        step = _step_of(minimum, maximum)
        levels, size = [], BRICK
        while True:
            bad = _with_neighbours(invalid, np.maximum)
            least, most = _with_neighbours(low, np.minimum), _with_neighbours(high, np.maximum)
            levels.append(
                Level(
                    size,
                    least,
                    most,
                    bad,
                    _widened(bad) if has_invalid else bad,
                    _in_steps(most, minimum, 1, step),
                    _in_steps(least, maximum, -1, step),
                )
            )
            if max(low.shape) == 1:
                return BrickGrid(tuple(levels), minimum, maximum, has_invalid, step)
            low, high = _halved(low, np.minimum), _halved(high, np.maximum)
            invalid = _halved(invalid, np.maximum)
            size *= 2


def build_bricks(volume: Volume, codes: npt.NDArray[Any], pool: TilePool) -> BrickGrid:
    """Build the grid of a volume; one pass over the voxels, by all threads of the pool.

    Parameters
    ----------
    volume
        For its shape and its invalid code.
    codes
        Its voxels, flat.
    pool
        Whose threads do it.
    """
    cells = Cells.without_voxels(volume)
    cells.fill(volume, codes, pool, [(0, volume.geometry.shape[0])])
    return with_cells(cells.grid(), volume, codes, pool)


def with_cells(grid: BrickGrid, volume: Volume, codes: npt.NDArray[Any], pool: TilePool) -> BrickGrid:
    """Return a grid with the fine cells too: another pass over the voxels, now that their range is known."""
    if grid.minimum > grid.maximum:
        return grid
    shape = tuple(-(-n // CELL) for n in volume.geometry.shape)
    most, least = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    build = kernel("cells", codes.dtype)
    build.compile()
    pool.run(
        lambda part: build(
            codes, volume.geometry.shape, grid.minimum, grid.maximum, grid.step, most, least, part[0], part[1]
        ),
        [(layer, min(layer + 2, shape[0]), 0, 0) for layer in range(0, shape[0], 2)],
    )
    for bound in (most, least):
        _extend(bound, np.maximum)  # in place: of a large volume each takes 15 MB
    return replace(grid, cells=FineCells(most, least))


def measure(volume: Volume, codes: npt.NDArray[Any], grid: BrickGrid, pool: TilePool) -> Statistics:
    """Return a volume's statistics; percentiles to within a 65,536th of the range."""
    code_range = grid.minimum, grid.maximum
    if grid.minimum > grid.maximum:
        return statistics_of(np.zeros(HISTOGRAM_BINS), code_range, volume)
    rows, row_voxels = codes.size // volume.geometry.shape[2], volume.geometry.shape[2]
    stride, per_bin = histogram_stride(codes.size), histogram_per_bin(code_range)
    parts = [np.zeros(HISTOGRAM_BINS, np.int64) for _ in range(pool.threads)]
    count = kernel("histogram", codes.dtype)
    count.compile()
    block = -(-rows // (stride * len(parts))) * stride
    pool.run(
        lambda part: count(codes, row_voxels, stride, grid.minimum, per_bin, parts[part[2]], part[0], part[1]),
        [(n * block, min((n + 1) * block, rows), n, 0) for n in range(len(parts))],
    )
    return statistics_of(np.sum(parts, axis=0), code_range, volume)

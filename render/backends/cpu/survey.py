"""The look at a volume's voxels at upload: one pass gives bricks, fine cells, and the histogram of int16 codes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from render.backends.base import Statistics
from render.backends.cpu.bricks import BrickGrid, FineCells, grid_of
from render.backends.cpu.compiling import kernel
from render.backends.cpu.kernels_upload import BRICK, CELL, WAYS
from render.backends.cpu.tiles import TilePool
from render.backends.histogram import HISTOGRAM_BINS, histogram_per_bin, histogram_stride, statistics_of
from render.volume import Volume

NO_CODE = 1 << 16
"""Stands for "no voxel is invalid" where an int16 code is expected."""
PARTS_A_THREAD = 4
"""So many parts of a thin volume for each thread, of lines of bricks; parts of a thick one are a layer at most."""
MOST_AT_ONCE = 1 << 28
"""Voxels, of which the cells' bounds in codes take 16 MiB of int16 voxels, for as long as the look lasts."""
MOST_LAYERS = 32
"""Of bricks, looked at together of a larger volume, and of one that grows."""

Bounds: TypeAlias = tuple[npt.NDArray[Any], npt.NDArray[Any]]
"""Least and greatest code; of fine cells, each for itself, shape ``(K, J, I)`` in cells."""


@dataclass(frozen=True, eq=False)
class Bricks:
    """The finest bricks of a volume, each for itself; arrays of shape ``(K, J, I)`` in bricks.

    Attributes
    ----------
    low, high
        Bounds of the valid codes; ``low > high`` where there are none.
    invalid
        uint8: whether a voxel is invalid.
    shape
        Of the volume, in voxels.
    """

    low: npt.NDArray[Any]
    high: npt.NDArray[Any]
    invalid: npt.NDArray[np.uint8]
    shape: tuple[int, int, int]

    @classmethod
    def without_voxels(cls, volume: Volume) -> Bricks:
        """Return those of a volume of which nothing has arrived."""
        voxels, dtype = volume.geometry.shape, volume.codes.dtype
        shape = tuple(-(-n // BRICK) for n in voxels)
        least, most = (-32768, 32767) if dtype == np.int16 else (-np.inf, np.inf)
        return cls(np.full(shape, most, dtype), np.full(shape, least, dtype), np.ones(shape, np.uint8), voxels)

    def fill(self, volume: Volume, codes: npt.NDArray[Any], pool: TilePool, slices: Sequence[tuple[int, int]]) -> None:
        """Look at the voxels of some slices, pairs of the first and one past the last, by all threads of the pool."""
        for run in _runs({layer for first, last in slices for layer in range(first // BRICK, -(-last // BRICK))}):
            self.sweep(volume, codes, pool, run)

    def sweep(
        self,
        volume: Volume,
        codes: npt.NDArray[Any],
        pool: TilePool,
        layers: tuple[int, int],
        counts: Sequence[npt.NDArray[np.uint32]] = (),
    ) -> Bounds:
        """Look at the voxels of layers of bricks, the first and one past the last. Return their fine cells' bounds.

        Parameters
        ----------
        volume
            For its shape and its invalid code.
        codes
            Its voxels, flat.
        pool
            Whose threads do it.
        counts
            For each thread one, to count a histogram of a whole int16 volume into.
        """
        depth, height, width = volume.geometry.shape
        first, last = layers[0] * BRICK, min(layers[1] * BRICK, depth)
        shape = last - first, height, width
        codes = codes[first * height * width : last * height * width]
        low, high, invalid = (each[layers[0] : layers[1]] for each in (self.low, self.high, self.invalid))
        of_cells = tuple(-(-n // CELL) for n in shape)
        cells = np.empty(of_cells, codes.dtype), np.empty(of_cells, codes.dtype)
        marked = NO_CODE if volume.invalid_code is None else volume.invalid_code
        stride = histogram_stride(codes.size) if counts else 0
        spare = list(counts or [np.empty(0, np.uint32)] * pool.threads)
        look = kernel("sweep", codes.dtype)
        look.compile()

        def look_at(part: tuple[int, int, int, int]) -> None:
            mine = spare.pop()
            look(codes, shape, marked, stride, mine, low, high, invalid, *cells, part[0], part[1])
            spare.append(mine)

        lines = low.shape[0] * low.shape[1]
        size = max(1, min(low.shape[1], lines // (PARTS_A_THREAD * pool.threads)))
        pool.run(look_at, [(at, min(at + size, lines), 0, 0) for at in range(0, lines, size)])
        return cells

    def grid(self) -> BrickGrid:
        """Return the grid of all levels.

        Beyond the last voxel's centre a sample reads that one and the one before it, which has no weight, but makes NaN
        of it if it is invalid. Where a brick holds the last alone, it has to say so.
        """
        invalid = self.invalid.copy()
        for axis, voxels in enumerate(self.shape):
            if voxels > 1 and voxels % BRICK == 1:
                along = np.moveaxis(invalid, axis, 0)
                along[-1] |= along[-2]
        return grid_of(self.low, self.high, invalid)


def _runs(layers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Yield layers in a row, the first and one past the last, at most `MOST_LAYERS` together."""
    first = last = -1
    for layer in sorted(layers):
        if layer != last or last - first == MOST_LAYERS:
            if first >= 0:
                yield first, last
            first = layer
        last = layer + 1
    if first >= 0:
        yield first, last


def survey(
    volume: Volume, codes: npt.NDArray[Any], pool: TilePool, bricks: Bricks | None = None
) -> tuple[BrickGrid, Statistics]:
    """Look at every voxel of a volume: its grid with the fine cells, and its statistics.

    Once, but of a volume of more than `MOST_AT_ONCE` voxels: that once more by runs of layers, when the range is known,
    since its cells' bounds in codes would take twice as much memory as they do in steps.

    Parameters
    ----------
    volume
        For its shape, its invalid code and what the codes mean.
    codes
        Its voxels, flat.
    pool
        Whose threads do it.
    bricks
        Of the volume, if they are known: then it is looked at by runs of layers alone.
    """
    if bricks is not None or codes.size > MOST_AT_ONCE:
        return _survey_in_runs(volume, codes, pool, bricks)
    is_int = codes.dtype == np.int16
    counts = [np.zeros(HISTOGRAM_BINS * WAYS, np.uint32) for _ in range(pool.threads)] if is_int else []
    bricks = Bricks.without_voxels(volume)
    bounds = bricks.sweep(volume, codes, pool, (0, bricks.low.shape[0]), counts)
    grid = bricks.grid()
    if grid.minimum > grid.maximum or not is_int:
        statistics = measure(volume, codes, grid, pool)
    else:
        statistics = statistics_of(_joined(counts, grid), (grid.minimum, grid.maximum), volume)
    if _has_cells(grid, volume):
        grid = replace(grid, cells=_cells(grid, bounds, pool))
    return grid, statistics


def _survey_in_runs(
    volume: Volume, codes: npt.NDArray[Any], pool: TilePool, bricks: Bricks | None
) -> tuple[BrickGrid, Statistics]:
    depth = volume.geometry.shape[0]
    if bricks is None:
        bricks = Bricks.without_voxels(volume)
        bricks.fill(volume, codes, pool, [(0, depth)])
    grid = bricks.grid()
    if _has_cells(grid, volume):
        shape = tuple(-(-n // CELL) for n in volume.geometry.shape)
        cells = FineCells(np.empty(shape, np.uint8), np.empty(shape, np.uint8))
        layers = bricks.low.shape[0]
        for first, last in _runs(range(layers)):
            bounds = bricks.sweep(volume, codes, pool, (first, min(last + 1, layers)))  # with the last ones' neighbours
            seen = _cells(grid, bounds, pool)
            here = slice(first * BRICK // CELL, min(last * BRICK // CELL, shape[0]))
            cells.most[here] = seen.most[: here.stop - here.start]
            cells.least[here] = seen.least[: here.stop - here.start]
        grid = replace(grid, cells=cells)
    return grid, measure(volume, codes, grid, pool)


def _has_cells(grid: BrickGrid, volume: Volume) -> bool:
    """Whether anything asks for cells: through one voxel, or none, every segment is sampled with care."""
    return grid.minimum <= grid.maximum and min(volume.geometry.shape) > 1


def _cells(grid: BrickGrid, bounds: Bounds, pool: TilePool) -> FineCells:
    """Return the fine cells of these bounds, now that the range of codes is known."""
    shape, in_steps = bounds[0].shape, kernel("steps", bounds[0].dtype)
    most, least = np.empty(shape, np.uint8), np.empty(shape, np.uint8)
    size = -(-shape[0] // (PARTS_A_THREAD * pool.threads))
    pool.run(
        lambda part: in_steps(*bounds, 0, grid.minimum, grid.maximum, grid.step, most, least, part[0], part[1]),
        [(layer, min(layer + size, shape[0]), 0, 0) for layer in range(0, shape[0], size)],
    )
    return FineCells(most, least)


def _joined(counts: Sequence[npt.NDArray[np.uint32]], grid: BrickGrid) -> npt.NDArray[np.int64]:
    """Return the sum of int16 histograms of `WAYS` counters a code, between the least code and the greatest."""
    first, last = int(grid.minimum) + 32768, int(grid.maximum) + 32769
    result = np.zeros(HISTOGRAM_BINS, np.int64)
    for each in counts:
        result[first:last] += each.reshape(-1, WAYS)[first:last].sum(axis=1, dtype=np.int64)
    return result


def measure(volume: Volume, codes: npt.NDArray[Any], grid: BrickGrid, pool: TilePool) -> Statistics:
    """Return a volume's statistics; percentiles to within a 65,536th of the range."""
    code_range = grid.minimum, grid.maximum
    if grid.minimum > grid.maximum:
        return statistics_of(np.zeros(HISTOGRAM_BINS), code_range, volume)
    rows, row_voxels = codes.size // volume.geometry.shape[2], volume.geometry.shape[2]
    stride, per_bin = histogram_stride(codes.size), histogram_per_bin(code_range)
    ways = WAYS if codes.dtype == np.int16 else 1
    parts = [np.zeros(HISTOGRAM_BINS * ways, np.uint32) for _ in range(pool.threads)]
    count = kernel("histogram", codes.dtype)
    count.compile()
    block = -(-rows // (stride * len(parts))) * stride
    pool.run(
        lambda part: count(codes, row_voxels, stride, grid.minimum, per_bin, parts[part[2]], part[0], part[1]),
        [(n * block, min((n + 1) * block, rows), n, 0) for n in range(len(parts))],
    )
    total = _joined(parts, grid) if ways > 1 else np.asarray(np.sum(parts, axis=0, dtype=np.int64))
    return statistics_of(total, code_range, volume)

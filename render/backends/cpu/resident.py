"""A volume as the CPU renderer holds it: the voxels shared, bricks and tables beside them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias, TypeVar, cast

import numpy.typing as npt

from render.backends.base import Statistics
from render.backends.cpu.bricks import BrickGrid
from render.backends.cpu.survey import Bricks
from render.backends.held import KEPT_TABLES, HeldVolume, Remembered
from render.backends.tables import TABLE_BYTES
from render.volume import Volume

Held: TypeAlias = tuple[npt.NDArray[Any], BrickGrid]

T = TypeVar("T")


class CpuVolume(HeldVolume[Held]):
    """One resident volume. It remembers transfer functions with their bricks' visibility, and lights.

    Parameters
    ----------
    volume
        What was uploaded. Its voxels are shared, not copied.
    codes
        The same voxels, flat.
    grid, statistics
        Of them.
    bricks
        Of a volume that grows, for the next state of it.
    """

    def __init__(
        self,
        volume: Volume,
        codes: npt.NDArray[Any],
        grid: BrickGrid,
        statistics: Statistics,
        bricks: Bricks | None = None,
    ) -> None:
        self.bricks = bricks
        tables = KEPT_TABLES * (TABLE_BYTES + grid.levels[0].invalid.size)
        super().__init__(volume, (codes, grid), statistics, volume.nbytes + grid.nbytes + tables)
        self._tables: Remembered[object] = Remembered()

    def close(self) -> None:
        """Let everything go, once no frame needs it. Blocks until then."""
        super().close()
        self._tables.clear()

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what was made for a key before, or make it; the least recently used of `KEPT_TABLES` is forgotten."""
        return cast(T, self._tables.made(key, make))

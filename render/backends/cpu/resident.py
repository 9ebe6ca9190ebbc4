"""A volume as the CPU renderer holds it: the voxels shared, bricks and their flags beside them."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from render.backends.base import Statistics
from render.backends.cpu.bricks import BrickGrid
from render.backends.cpu.survey import Bricks
from render.backends.held import KEPT_TABLES, HeldVolume, Remembered
from render.volume import Volume

Held: TypeAlias = tuple[npt.NDArray[Any], BrickGrid]


class CpuVolume(HeldVolume[Held]):
    """One resident volume. It remembers which bricks transfer functions show.

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
        flags = KEPT_TABLES * grid.levels[0].invalid.size
        super().__init__(volume, (codes, grid), statistics, volume.nbytes + grid.nbytes + flags)
        self._flags: Remembered[npt.NDArray[np.uint8]] = Remembered()

    def close(self) -> None:
        """Let everything go, once no frame needs it. Blocks until then."""
        super().close()
        self._flags.clear()

    def flags(self, key: Hashable, make: Callable[[], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """Return the flags made for a key before, or make them; the least recently used of `KEPT_TABLES` go."""
        return self._flags.made(key, make)

"""A volume as the CPU renderer holds it: the voxels shared, bricks and tables beside them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy.typing as npt

from render.backends.base import Statistics
from render.backends.cpu.bricks import BrickGrid
from render.backends.cpu.tables import TABLE_BYTES
from render.errors import VolumeNotFoundError
from render.volume import Volume

KEPT_TABLES = 8
"""Tables that a volume remembers: transfer functions with their bricks' visibility, and lights."""

T = TypeVar("T")


class CpuVolume:
    """One resident volume.

    Parameters
    ----------
    volume
        What was uploaded. Its voxels are shared, not copied.
    codes
        The same voxels, flat.
    grid, statistics
        Of them.
    """

    def __init__(self, volume: Volume, codes: npt.NDArray[Any], grid: BrickGrid, statistics: Statistics) -> None:
        self._volume = volume
        self._statistics = statistics
        self._nbytes = volume.nbytes + grid.nbytes + KEPT_TABLES * (TABLE_BYTES + grid.levels[0].invalid.size)
        self._held: tuple[npt.NDArray[Any], BrickGrid] | None = (codes, grid)
        self._users = 0
        self._changed = threading.Condition()
        self._tables: OrderedDict[object, object] = OrderedDict()

    @property
    def volume(self) -> Volume:
        """What was uploaded."""
        return self._volume

    @property
    def statistics(self) -> Statistics:
        """Of the voxels, modality units."""
        return self._statistics

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels, the grid, and all the tables that may be remembered."""
        return self._nbytes

    @contextmanager
    def in_use(self) -> Iterator[tuple[npt.NDArray[Any], BrickGrid]]:
        """Hold the voxels while a frame is drawn.

        Raises
        ------
        VolumeNotFoundError
            If the volume has been released.
        """
        with self._changed:
            if self._held is None:
                raise VolumeNotFoundError(f"volume {self._volume.id} has been released", volume_id=self._volume.id)
            held = self._held
            self._users += 1
        try:
            yield held
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let the voxels go, once no frame needs them. Blocks until then."""
        with self._changed:
            self._held = None
            self._changed.wait_for(lambda: self._users == 0)
            self._tables.clear()

    def remembered(self, key: object, make: Callable[[], T]) -> T:
        """Return what was made for a key before, or make it; the least recently used of `KEPT_TABLES` is forgotten."""
        with self._changed:
            if key in self._tables:
                self._tables.move_to_end(key)
                return cast(T, self._tables[key])
        made = make()
        with self._changed:
            self._tables[key] = made
            while len(self._tables) > KEPT_TABLES:
                self._tables.popitem(last=False)
        return made

"""A volume as the card holds it: voxels, a texture of them where there is room, bricks, tables."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from render.backends.base import Statistics
from render.backends.cpu.tables import ENTRIES, TransferTables, transfer_tables
from render.backends.cuda import grid
from render.backends.cuda.device import Buffer, Event, Texture
from render.backends.cuda.parameters import TABLE_ENTRY
from render.errors import VolumeNotFoundError
from render.transfer import TransferFunction
from render.volume import Volume

KEPT_TABLES = 8
"""Transfer functions, with their bricks' visibility, that a volume remembers."""
ROUNDING = 512
"""Bytes that CuPy's pool rounds every buffer up to."""
TABLE_BYTES = ENTRIES * TABLE_ENTRY.itemsize + (ENTRIES + 1) * 4
"""Of a transfer function: the table, and how many entries before each have opacity."""


@dataclass(frozen=True)
class Bounds:
    """One level of the brick grid: least and greatest code, and flags, of each brick and its neighbours."""

    low: Buffer
    high: Buffer
    flags: Buffer

    @property
    def nbytes(self) -> int:
        """What the pool takes for it."""
        return sum(rounded(part.nbytes) for part in (self.low, self.high, self.flags))


@dataclass
class Tables:
    """A transfer function on the card, for one step length and one pair of levels.

    Attributes
    ----------
    entries
        The table.
    fine_flags, coarse_flags
        Of the bricks under it.
    ready
        After which they may be read.
    """

    entries: Buffer
    fine_flags: Buffer
    coarse_flags: Buffer
    ready: Event


@dataclass(frozen=True)
class Held:
    """What is given back when a volume is released."""

    codes: Buffer
    levels: tuple[Bounds, ...]
    texture: Texture | None


class CudaVolume:
    """Implements `render.backends.base.ResidentVolume`.

    Parameters
    ----------
    volume
        What was uploaded.
    held
        On the card.
    code_range
        Least and greatest valid code; descending if there is none.
    has_invalid
        Whether any voxel is.
    statistics
        Of the voxels.
    """

    def __init__(
        self, volume: Volume, held: Held, code_range: tuple[float, float], has_invalid: bool, statistics: Statistics
    ) -> None:
        self.code_range = code_range
        self.has_invalid = has_invalid
        self._volume = volume
        self._statistics = statistics
        self._held: Held | None = held
        self._nbytes = (
            rounded(held.codes.nbytes)
            + sum(level.nbytes for level in held.levels)
            + (held.texture.nbytes if held.texture else 0)
            + tables_nbytes(grid.levels(volume.geometry.shape)[0].bricks)
        )
        self._users = 0
        self._changed = threading.Condition()
        self._tables: OrderedDict[object, Tables] = OrderedDict()
        self._host_tables: OrderedDict[object, TransferTables] = OrderedDict()

    @property
    def volume(self) -> Volume:
        """What was uploaded; its voxels stay on the host too, for as long as it is resident."""
        return self._volume

    @property
    def statistics(self) -> Statistics:
        """Of the voxels, modality units."""
        return self._statistics

    @property
    def nbytes(self) -> int:
        """Bytes of the voxels, their texture, the grid, and all the tables that may be remembered."""
        return self._nbytes

    @contextmanager
    def in_use(self) -> Iterator[Held]:
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
            del held  # before whoever waits for it goes on
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let everything go, once no frame needs it. Blocks until then."""
        with self._changed:
            self._held = None
            self._changed.wait_for(lambda: self._users == 0)
            self._tables.clear()
            self._host_tables.clear()

    def host_tables(self, function: TransferFunction, step_mm: float) -> tuple[object, TransferTables]:
        """Return a transfer function's tables for a step, and the key that they, and `tables`, are remembered by.

        The light is no part of it: kernels take it from the parameter block.
        """
        key = function.opacity_points, function.color_points, step_mm
        with self._changed:
            if key in self._host_tables:
                self._host_tables.move_to_end(key)
                return key, self._host_tables[key]
        unlit = TransferFunction(function.opacity_points, function.color_points)
        made = transfer_tables(unlit, step_mm, self._volume.slope, self._volume.intercept, self.code_range)
        with self._changed:
            self._host_tables[key] = made
            while len(self._host_tables) > KEPT_TABLES:
                self._host_tables.popitem(last=False)
        return key, made

    def tables(self, key: object) -> Tables | None:
        """Return what is remembered for a key."""
        with self._changed:
            if key in self._tables:
                self._tables.move_to_end(key)
            return self._tables.get(key)

    def remember(self, key: object, tables: Tables) -> None:
        """Remember tables; the least recently used of `KEPT_TABLES` are forgotten."""
        with self._changed:
            self._tables[key] = tables
            while len(self._tables) > KEPT_TABLES:
                self._tables.popitem(last=False)


def rounded(nbytes: int) -> int:
    """Return what the pool takes for a buffer."""
    return -(-nbytes // ROUNDING) * ROUNDING


def tables_nbytes(bricks: float) -> int:
    """Return what `KEPT_TABLES` transfer functions may take, for so many of the finest bricks."""
    return KEPT_TABLES * (TABLE_BYTES + int(2 * bricks) + 4 * ROUNDING)

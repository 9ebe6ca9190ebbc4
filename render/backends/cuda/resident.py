"""A volume as the card holds it: voxels, a texture of them where there is room, bricks, tables."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TypeAlias

from render.backends.base import Statistics
from render.backends.cuda import grid
from render.backends.cuda.device import Buffer, Event, Texture
from render.backends.cuda.parameters import TABLE_ENTRY
from render.backends.held import KEPT_TABLES, HeldVolume, Remembered
from render.backends.tables import ENTRIES, TransferTables, transfer_tables
from render.transfer import TransferFunction
from render.volume import Volume

KeyedTables: TypeAlias = tuple[Hashable, TransferTables]
"""A transfer function's tables for a step, and what they and their part on the card are remembered by."""

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


@dataclass(eq=False)
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


@dataclass(frozen=True, eq=False)
class Grays:
    """A VOI LUT on the card, a byte of gray for each of its inputs; it may be read after `ready`."""

    buffer: Buffer
    ready: Event


@dataclass(frozen=True)
class Ground:
    """What all states of a volume that grows share, and the next one is made of.

    Attributes
    ----------
    codes, texture
        Of all voxels, those missing marked.
    cells
        The finest bricks, each for itself.
    invalid_code
        By which `cells` were made; the missing voxels have it.
    """

    codes: Buffer
    texture: Texture | None
    cells: Bounds
    invalid_code: int | None


@dataclass(frozen=True)
class Held:
    """What is given back when a volume is released."""

    codes: Buffer
    levels: tuple[Bounds, ...]
    texture: Texture | None


class CudaVolume(HeldVolume[Held]):
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
    ground
        Of a volume that grows, for the next state of it.

    Attributes
    ----------
    code_type
        ``int16`` or ``float32``, as programs are told; NumPy takes microseconds to say it.
    grays
        By VOI LUT, those that pictures have been shown through.
    """

    def __init__(
        self,
        volume: Volume,
        held: Held,
        code_range: tuple[float, float],
        has_invalid: bool,
        statistics: Statistics,
        ground: Ground | None = None,
    ) -> None:
        self.code_type = str(volume.codes.dtype)
        self.code_range = code_range
        self.has_invalid = has_invalid
        self.ground = ground
        nbytes = (
            rounded(held.codes.nbytes)
            + sum(level.nbytes for level in held.levels)
            + (held.texture.nbytes if held.texture else 0)
            + (ground.cells.nbytes if ground else 0)
            + tables_nbytes(grid.levels(volume.geometry.shape)[0].bricks)
            + sum(rounded(len(table.entries)) for table in volume.info.voi_luts)
        )
        super().__init__(volume, held, statistics, nbytes)
        self.grays: Remembered[Grays] = Remembered()
        self._tables: Remembered[Tables] = Remembered()
        self._host_tables: Remembered[TransferTables] = Remembered()

    def close(self) -> None:
        """Let everything go, once no frame needs it. Blocks until then."""
        super().close()
        self.ground = None
        self.grays.clear()
        self._tables.clear()
        self._host_tables.clear()

    def host_tables(self, function: TransferFunction, step_mm: float) -> KeyedTables:
        """Return a transfer function's tables for a step, and the key that they, and `tables`, are remembered by.

        The light is no part of it: kernels take it from the parameter block.
        """
        key = function.opacity_points, function.color_points, step_mm

        def make() -> TransferTables:
            unlit = TransferFunction(function.opacity_points, function.color_points)
            return transfer_tables(unlit, step_mm, self._volume.slope, self._volume.intercept, self.code_range)

        return key, self._host_tables.made(key, make)

    def tables(self, key: Hashable) -> Tables | None:
        """Return what is remembered for a key."""
        return self._tables.get(key)

    def remember(self, key: Hashable, tables: Tables) -> None:
        """Remember tables; the least recently used of `KEPT_TABLES` are forgotten."""
        self._tables.put(key, tables)


def rounded(nbytes: int) -> int:
    """Return what the pool takes for a buffer."""
    return -(-nbytes // ROUNDING) * ROUNDING


def tables_nbytes(bricks: float) -> int:
    """Return what `KEPT_TABLES` transfer functions may take, for so many of the finest bricks."""
    return KEPT_TABLES * (TABLE_BYTES + int(2 * bricks) + 4 * ROUNDING)

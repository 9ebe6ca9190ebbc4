"""Transfer functions and lights as the CPU renderer remembers them, and the bricks that one of them shows.

Tables are of a fixed size, so those of all volumes share one place: beside a small volume, each with its own would be
what takes the memory. What depends on the bricks, their flags, lies with the volume (`resident`).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from render.backends.cpu.bricks import Level
from render.backends.cpu.compiling import kernel
from render.backends.held import Remembered
from render.backends.tables import LIGHT_BYTES, TABLE_BYTES, TransferTables, light_table, transfer_tables
from render.transfer import Shading, TransferFunction
from render.volume import Volume

KEPT_LOOKS = 64
"""Transfer functions, each for one step and the codes of one volume, and as many lights: 4.5 MiB together. A view in
motion needs two or three, so they are for some twenty views; to make one takes a millisecond."""


class Looks:
    """The last `KEPT_LOOKS` transfer functions and lights. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._tables: Remembered[TransferTables] = Remembered(KEPT_LOOKS)
        self._lights: Remembered[npt.NDArray[np.float32]] = Remembered(KEPT_LOOKS)

    @property
    def nbytes(self) -> int:
        """Bytes of all that are remembered."""
        return len(self._tables) * TABLE_BYTES + len(self._lights) * LIGHT_BYTES

    def tables(
        self, function: TransferFunction, step_mm: float, volume: Volume, code_range: tuple[float, float]
    ) -> TransferTables:
        """Return a transfer function's tables for a step, over the codes of a volume between its least and greatest."""
        slope, intercept = volume.slope, volume.intercept
        return self._tables.made(
            (function.opacity_points, function.color_points, step_mm, slope, intercept, code_range),
            lambda: transfer_tables(function, step_mm, slope, intercept, code_range),
        )

    def light(self, shading: Shading | None) -> npt.NDArray[np.float32]:
        """Return `tables.light_table` of a light."""
        return self._lights.made(shading, lambda: light_table(shading))


def visible_flags(tables: TransferTables, level: Level, looks_around: bool) -> npt.NDArray[np.uint8]:
    """Return the flags of a level's bricks under a transfer function, flat; see `kernels_upload.visible_bricks`.

    `looks_around` is for shaded samples, whose neighbours may be invalid ones of the brick beside.
    """
    flags = np.empty(level.low.size, np.uint8)
    kernel("visible", level.low.dtype)(
        level.low.reshape(-1),
        level.high.reshape(-1),
        (level.around if looks_around else level.invalid).reshape(-1),
        level.low.shape,
        tables.cumulated,
        tables.scale,
        tables.offset + 0.5,
        flags,
    )
    return flags

"""A transfer function as the kernels take it: tables over codes, for one step length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.transfer import Shading, TransferFunction, corrected_opacity

ENTRIES = 8192
"""Of the opacity and colour tables: half a HU apart over the codes of a CT, and small enough to stay in the cache."""
LIGHT_ENTRIES = 2048
TABLE_BYTES, LIGHT_BYTES = ENTRIES * (4 + 4), LIGHT_ENTRIES * 4
"""Of one transfer function's tables, and of a light's."""


@dataclass(frozen=True, eq=False)
class TransferTables:
    """Tables, looked up with the nearest entry.

    Attributes
    ----------
    scale, offset
        Entry = code * scale + offset, clamped; without rounding.
    opacity
        For one step, float32, shape (ENTRIES,).
    color
        Of each entry, int32: 11 bits of red, 11 of green, 10 of blue. Four times finer than what is shown.
    shown
        Entries from the first up to the second have opacity; infinite where the table's ends have.
    """

    scale: float
    offset: float
    opacity: npt.NDArray[np.float32]
    color: npt.NDArray[np.int32]
    shown: tuple[float, float]

    @property
    def cumulated(self) -> npt.NDArray[np.int64]:
        """How many entries before each have opacity, shape (ENTRIES + 1,). Made each time: only new flags need it."""
        counts = np.zeros(self.opacity.size + 1, np.int64)
        np.cumsum(self.opacity > 0, out=counts[1:])
        return counts


def transfer_tables(
    function: TransferFunction, step_mm: float, slope: float, intercept: float, code_range: tuple[float, float]
) -> TransferTables:
    """Tabulate a transfer function where it varies within a volume's codes; beyond, it is constant.

    Parameters
    ----------
    function
        Over modality values.
    step_mm
        Opacities are corrected for it.
    slope, intercept
        Codes to modality values.
    code_range
        Least and greatest valid code of the volume.
    """
    if code_range[0] > code_range[1]:  # not one valid voxel
        code_range = 0.0, 0.0
    points = [function.opacity_points[0][0], function.opacity_points[-1][0]]
    points += [function.color_points[0][0], function.color_points[-1][0]]
    ends = sorted((value - intercept) / slope for value in (min(points), max(points)))
    low, high = max(ends[0], code_range[0]), min(ends[1], code_range[1])
    if not high > low:
        # The function is constant over these codes; take it there, not at its own points.
        low = min(max(ends[0], code_range[0]), code_range[1])
        high = low + 1.0
    codes = np.linspace(low, high, ENTRIES)
    values = codes * slope + intercept
    opacity = corrected_opacity(function.opacity(values), step_mm).astype(np.float32)
    red, green, blue = np.rint(function.color(values).T * [[2047], [2047], [1023]]).astype(np.uint32)
    color = (red << 21 | green << 10 | blue).view(np.int32)
    scale = (ENTRIES - 1) / (high - low)
    return TransferTables(scale, -low * scale, opacity, color, shown_entries(opacity))


def light_table(shading: Shading | None) -> npt.NDArray[np.float32]:
    """Return the specular part over the squared cosine from 0 to 1, float32, (LIGHT_ENTRIES,); 0 if there is none.

    ``specular * cos(2 a) ** shininess``: with the light at the eye, the reflection leaves the viewing direction by
    twice the angle a of the normal, and ``cos(2 a) = 2 cos(a)**2 - 1``.
    """
    light = np.zeros(LIGHT_ENTRIES, np.float32)
    if shading is not None:
        facing = np.linspace(0, 1, LIGHT_ENTRIES)
        light[:] = shading.specular * np.maximum(0, 2 * facing - 1) ** shading.shininess
    return light


def shown_entries(opacity: npt.NDArray[np.float32]) -> tuple[float, float]:
    """Return `TransferTables.shown`; an empty range if nothing is."""
    entries = np.flatnonzero(opacity)
    if not entries.size:
        return np.inf, -np.inf
    first, last = int(entries[0]), int(entries[-1])
    return (first if first else -np.inf), (last + 1 if last < opacity.size - 1 else np.inf)

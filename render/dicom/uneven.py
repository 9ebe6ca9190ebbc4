"""Slices that are not evenly spaced: an even grid along their normal, and what of it is a slice, a mix or a gap."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from render.dicom.tolerances import FINEST_STEP, GAP_FACTOR, LARGEST_GROWTH
from render.errors import NotAVolumeError

Float64Array: TypeAlias = npt.NDArray[np.float64]

POSITIONS_SAID = 24
"""Positions that a warning lists."""


@dataclass(frozen=True, slots=True)
class Place:
    """What lies at one slice of the grid.

    Attributes
    ----------
    lower
        Index of the slice that lies there, or of the one before; None within a gap.
    upper, fraction
        Index of the one after and the weight it has; None and 0 where a slice lies there.
    """

    lower: int | None
    upper: int | None = None
    fraction: float = 0.0


@dataclass(frozen=True, slots=True)
class EvenGrid:
    """An even grid over uneven slices, from the first to the last of them.

    Attributes
    ----------
    places
        One a slice of the grid.
    warnings
        What is resampled, and which gaps there are, with the positions.
    """

    step_mm: float
    places: tuple[Place, ...]
    warnings: tuple[str, ...]


def even_grid(depth: Float64Array, tolerance_mm: float) -> EvenGrid:
    """Lay an even grid over slices at ascending depths along the normal, mm.

    Where single slices are missing from an even stack, all others keep their values. Else the grid has the smallest
    of the steps, and what lies between two slices is mixed of them linearly.

    Raises
    ------
    NotAVolumeError
        If the slices are too unevenly spaced to be resampled; the message has the measured values.
    """
    steps = np.diff(depth)
    median = float(np.median(steps))
    whole = np.maximum(np.rint(steps / median), 1)
    step = float((depth[-1] - depth[0]) / whole.sum())
    places_of_slices = np.concatenate([[0.0], np.cumsum(whole)]) * step
    if np.abs(depth - depth[0] - places_of_slices).max() > tolerance_mm:
        step = _finest_step(depth, steps, median)
    count = round((depth[-1] - depth[0]) / step) + 1
    if count > LARGEST_GROWTH * len(depth):
        raise NotAVolumeError(
            f"{_spread(steps)}: {count} slices would be needed for {len(depth)}, over {LARGEST_GROWTH} times as many"
        )
    at = depth[0] + np.arange(count) * step
    places = tuple(_place(float(z), depth, median, tolerance_mm) for z in at)
    warnings = []
    if any(place.upper is not None for place in places):
        warnings.append(
            f"{_spread(steps)}: resampled to {step:.3f} mm along the normal; "
            f"the slices lie at {_listed([f'{z:.2f}' for z in depth])} mm"
        )
    if gaps := [f"{depth[n]:.2f} to {depth[n + 1]:.2f}" for n in np.flatnonzero(steps > GAP_FACTOR * median)]:
        what = "a gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
        warnings.append(
            f"{what} of over {GAP_FACTOR:g} times the median spacing of {median:.2f} mm, left empty: "
            f"{_listed(gaps)} mm along the normal"
        )
    return EvenGrid(step, places, tuple(warnings))


def _finest_step(depth: Float64Array, steps: Float64Array, median: float) -> float:
    finest = float(steps.min())
    if finest < FINEST_STEP * median:
        n = int(steps.argmin())
        raise NotAVolumeError(
            f"{_spread(steps)}: slices {n + 1} and {n + 2} are {finest:.3f} mm apart, "
            f"under {FINEST_STEP:g} of the median {median:.3f} mm: too uneven to be resampled",
            smallest_mm=finest,
            largest_mm=float(steps.max()),
            slice=n + 1,
        )
    length = float(depth[-1] - depth[0])
    return length / math.ceil(length / finest - 1e-6)


def _place(z: float, depth: Float64Array, median: float, tolerance_mm: float) -> Place:
    after = int(np.clip(np.searchsorted(depth, z), 1, len(depth) - 1))
    before = after - 1
    below, above = z - float(depth[before]), float(depth[after]) - z
    if below <= tolerance_mm or above <= tolerance_mm:
        return Place(before if below <= above else after)
    if below + above > GAP_FACTOR * median:
        # A slice stands for what is within half a spacing of it.
        if min(below, above) > median / 2:
            return Place(None)
        return Place(before if below <= above else after)
    return Place(before, after, below / (below + above))


def _spread(steps: Float64Array) -> str:
    low, high = float(steps.min()), float(steps.max())
    digits = next((n for n in (1, 2, 3) if f"{low:.{n}f}" != f"{high:.{n}f}"), 4)
    odd = int(np.abs(steps - np.median(steps)).argmax())
    return f"spacing varies {low:.{digits}f} to {high:.{digits}f} mm, most between slices {odd + 1} and {odd + 2}"


def _listed(items: Sequence[str]) -> str:
    half = POSITIONS_SAID // 2
    if len(items) > POSITIONS_SAID:
        items = [*items[:half], f"({len(items) - 2 * half} more)", *items[-half:]]
    return ", ".join(items)

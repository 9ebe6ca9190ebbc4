"""Every tolerance of geometry and grouping: its name, value and reason, in one place."""

from __future__ import annotations

from collections.abc import Sequence

SLICE_TOLERANCE_MM = 0.1
SLICE_TOLERANCE_FRACTION = 0.02
"""A slice may lie this far off the fitted affine: 0.1 mm, or 2% of the slice spacing where that is less.

A tenth of a millimetre is below what a CT or MR resolves; 2% is below what a reader of thin slices could see.
Positions written with two decimals, or to the nearest table encoder step, stay well within.
"""

UNIT_TOLERANCE = 0.01
"""Row and column direction may leave unit length by this much: cosines are written with as few as three digits."""

PERPENDICULAR_TOLERANCE = 1e-3
"""Cosine between row and column direction: 0.06 degrees, half a pixel over 512 (highdicom has the same)."""

ORIENTATION_TOLERANCE = 1e-3
"""Direction cosines within this of each other are one orientation when a series is split. Whether they are alike
enough to be one volume is then measured in mm, at the corners."""

SPACING_TOLERANCE_FRACTION = 1e-3
"""Pixel spacings within this of each other are one grid when a series is split: half a pixel over 512."""

SAME_POSITION_MM = 0.01
SAME_POSITION_FRACTION = 0.01
"""Two slices closer than 0.01 mm, or 1% of a pixel where that is less (micro-CT), lie at one position."""

GAP_FACTOR = 1.5
"""A step over this many times the median one is a gap: half a slice more than is there would be invented."""

FINEST_STEP = 0.25
"""An uneven stack is resampled to its smallest step, which must be this much of the median one: a slice that nearly
repeats its neighbour would else blow the volume up."""

LARGEST_GROWTH = 4
"""A resampled stack may have this many times the slices of its files: beyond, most of it would be a gap."""

MOSAIC_SPACING_FRACTION = 0.01
"""The two spacings that a mosaic states, in public and in private attributes, may differ by this much."""


def slice_tolerance_mm(spacing_mm: float) -> float:
    """Return how far a slice may lie off the fitted affine, by the spacing of slices."""
    return min(SLICE_TOLERANCE_MM, SLICE_TOLERANCE_FRACTION * spacing_mm)


def same_position_mm(spacing_mm: Sequence[float]) -> float:
    """Return the distance below which two slices of this pixel spacing lie at one position."""
    return min(SAME_POSITION_MM, SAME_POSITION_FRACTION * min(spacing_mm))

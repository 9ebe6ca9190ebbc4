"""Whether a picture is what the reference says it has to be: tolerances, named and derived, and the verdict.

A pixel agrees if it lies in the reference's range (see `tests.reference.Reference`), widened by the tolerance.
A picture agrees if enough pixels do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.frame import Frame
from render.transfer import Window
from render.volume import Volume
from tests.reference import BoolArray, Reference

VALUE_FRACTION = 0.999
"""Of the pixels of a value picture that have to agree. The rest is for what float32 does at a jump, where a
sample's displacement by a rounding is multiplied by the difference of two voxels."""

COLOR_FRACTION = 0.99
"""Of the pixels of a colour picture. A transfer function is steep, and a renderer may tabulate it."""

CT_STEPS = 4096
"""Codes of a CT: 12 bits. One of them is 1 HU, which is the tolerance; float32 volumes get the same share of
their range."""

COLOR_TOLERANCE = 2.5 / 255
"""Two levels of 8 bits, and half a level that rounding to them costs."""


@dataclass(frozen=True)
class Verdict:
    """How a picture compares.

    Attributes
    ----------
    agrees
        Whether enough pixels do.
    fraction
        Of the pixels that agree.
    worst
        The largest excess over the range, in the picture's units; infinite where only one is outside.
    where
        (row, column) of the worst pixel, or its number among those chosen.
    seen
        Fraction of the pixels at which the reference has something: a comparison of nothing proves nothing.
    """

    agrees: bool
    fraction: float
    worst: float
    where: tuple[int, ...]
    seen: float

    def __str__(self) -> str:
        return (
            f"{self.fraction:.4%} of pixels agree, worst off by {self.worst:g} at {self.where}, "
            f"{self.seen:.1%} not empty"
        )


def value_tolerance(volume: Volume) -> float:
    """Modality units that a value may be off: one code of int16, or a 4096th of a float32 volume's range."""
    if volume.codes.dtype == np.int16:
        return abs(volume.slope)
    span = float(np.nanmax(volume.codes) - np.nanmin(volume.codes)) if np.isfinite(volume.codes).any() else 0.0
    return max(span, 1e-6) / CT_STEPS


def agreement(
    reference: Reference, picture: npt.NDArray[np.float32] | npt.NDArray[np.uint8], tolerance: float
) -> tuple[BoolArray, npt.NDArray[np.float64]]:
    """Whether each pixel agrees, and by how much it lies outside the range; shape of the reference's pixels.

    Parameters
    ----------
    reference
        What is expected.
    picture
        Values (..., float32), or colours (..., 4, uint8).
    tolerance
        In modality units, or of 1 for colours.
    """
    if reference.color is not None:
        actual = np.asarray(picture, np.float64) / 255
        excess = np.maximum(reference.low - actual, actual - reference.high).max(axis=-1)
        return excess <= tolerance, np.maximum(excess, 0)
    actual = np.asarray(picture, np.float64)
    excess = np.maximum(reference.low - actual, actual - reference.high)
    is_outside = np.isnan(actual)
    excess = np.where(is_outside, np.where(reference.may_be_outside, 0.0, np.inf), excess)
    excess = np.where(~is_outside & reference.must_be_outside, np.inf, excess)
    return excess <= tolerance, np.maximum(excess, 0)


def compare(reference: Reference, frame: Frame, volume: Volume, *, pixels: npt.ArrayLike | None = None) -> Verdict:
    """Judge a frame, or the pixels (N, 2) of it that the reference drew."""
    if reference.color is not None:
        assert frame.color is not None, "a colour picture was due"
        picture, tolerance, needed = frame.color, COLOR_TOLERANCE, COLOR_FRACTION
    else:
        assert frame.values is not None, "a picture of values was due"
        picture, tolerance, needed = frame.values, value_tolerance(volume), VALUE_FRACTION
    if pixels is not None:
        row, column = np.asarray(pixels, np.int64).T
        picture = picture[row, column]
    return judge(reference, picture, tolerance, needed)


def judge(
    reference: Reference,
    picture: npt.NDArray[np.float32] | npt.NDArray[np.uint8],
    tolerance: float,
    needed_fraction: float,
) -> Verdict:
    """Judge pixels against the reference's."""
    agrees, excess = agreement(reference, picture, tolerance)
    where = np.unravel_index(int(np.argmax(excess)), excess.shape)
    fraction = float(agrees.mean())
    return Verdict(
        agrees=fraction >= needed_fraction,
        fraction=fraction,
        worst=float(excess[where]),
        where=tuple(int(n) for n in where),
        seen=float((~reference.must_be_outside).mean()),
    )


def judge_gray(reference: Reference, window: Window, gray: npt.NDArray[np.uint8], tolerance: float) -> Verdict:
    """Judge 8-bit gray: what the window makes of the reference's range, one level of rounding either way."""
    assert reference.values is not None
    low = window.to_gray8(reference.low - tolerance).astype(np.int64) - 1
    high = window.to_gray8(reference.high + tolerance).astype(np.int64) + 1
    low = np.where(reference.may_be_outside, 0, low)
    high = np.where(reference.must_be_outside, 0, high)
    excess = np.maximum(np.maximum(low - gray, gray - high), 0)
    where = np.unravel_index(int(np.argmax(excess)), excess.shape)
    fraction = float((excess == 0).mean())
    return Verdict(
        agrees=fraction >= VALUE_FRACTION,
        fraction=fraction,
        worst=float(excess[where]),
        where=tuple(int(n) for n in where),
        seen=float((~reference.must_be_outside).mean()),
    )

"""The proof that slices make a volume: order, one affine, and every slice on it, or the measured reason why not.

The affine goes through the first and the last slice, as ITK and dcm2niix have it; all slices in between, at all four
corners, must lie on it. A stack that is sheared (gantry tilt) keeps its true affine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from render.dicom.frames import FrameHeader, PixelFormat
from render.errors import NotAVolumeError
from render.geometry import VolumeGeometry

Float64Array: TypeAlias = npt.NDArray[np.float64]

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


@dataclass(frozen=True)
class Stack:
    """Slices in order, and their grid.

    Attributes
    ----------
    order
        Indices into the frames given, ascending along the normal (row direction x column direction).
    """

    order: tuple[int, ...]
    geometry: VolumeGeometry


def directions(frame: FrameHeader) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Return unit vectors along a row, down a column and along the normal, LPS.

    Raises
    ------
    NotAVolumeError
        If the frame's cosines are no unit vectors, or not perpendicular.
    """
    cosines = np.array(frame.orientation, np.float64).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1)
    if abs(lengths - 1).max() > UNIT_TOLERANCE:
        raise NotAVolumeError(
            f"direction cosines have lengths {lengths[0]:.4f} and {lengths[1]:.4f}: not 1 within {UNIT_TOLERANCE}"
        )
    row, column = cosines / lengths[:, None]
    if abs(row @ column) > PERPENDICULAR_TOLERANCE:
        raise NotAVolumeError(
            f"row and column direction have a cosine of {row @ column:.4f}: not 0 within {PERPENDICULAR_TOLERANCE}"
        )
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def same_position_mm(spacing_mm: Sequence[float]) -> float:
    """Return the distance below which two slices of this pixel spacing lie at one position."""
    return min(SAME_POSITION_MM, SAME_POSITION_FRACTION * min(spacing_mm))


def fit(frames: Sequence[FrameHeader], pixels: PixelFormat) -> Stack:
    """Sort frames along their normal and prove that they are one volume.

    Parameters
    ----------
    frames
        With position, orientation and spacing, no two at one position.

    Raises
    ------
    NotAVolumeError
        If no affine holds all slices within the tolerances; the message has the measured values.
    """
    row, column, normal = directions(frames[0])
    positions = np.array([frame.position_mm for frame in frames], np.float64)
    order = np.argsort(positions @ normal, kind="stable")
    frames = [frames[n] for n in order]
    positions = positions[order]
    row, column, normal = directions(frames[0])
    down_mm, right_mm = frames[0].spacing_mm or (1.0, 1.0)
    depth = positions @ normal
    if len(frames) == 1:
        step = normal * (frames[0].thickness_mm or 1.0)
    else:
        step = (positions[-1] - positions[0]) / (len(frames) - 1)
        _check(frames, positions, depth, step, pixels)
    geometry = VolumeGeometry.from_axes(
        (len(frames), pixels.rows, pixels.columns), positions[0], row * right_mm, column * down_mm, step
    )
    return Stack(tuple(int(n) for n in order), geometry)


def _check(
    frames: Sequence[FrameHeader],
    positions: Float64Array,
    depth: Float64Array,
    step: Float64Array,
    pixels: PixelFormat,
) -> None:
    """Raise where a slice's corners leave the affine through the first slice along `step`."""
    _, _, normal = directions(frames[0])
    spacing = float(step @ normal)
    if spacing <= same_position_mm(frames[0].spacing_mm or (1.0, 1.0)):
        raise NotAVolumeError(
            f"{len(frames)} slices lie side by side: {spacing:.4f} mm apart along the normal, "
            f"{np.linalg.norm(step):.4f} mm within the plane"
        )
    tolerance = min(SLICE_TOLERANCE_MM, SLICE_TOLERANCE_FRACTION * spacing)
    _check_spacing(depth, spacing, tolerance)
    fitted = positions[0] + np.arange(len(frames))[:, None] * step
    off = np.linalg.norm(positions - fitted, axis=1)
    worst = int(off.argmax())
    if off[worst] > tolerance:
        raise NotAVolumeError(
            f"slice {worst + 1} of {len(frames)} lies {off[worst]:.3f} mm off the stack's line, "
            f"{tolerance:.3f} mm allowed",
            slice=worst + 1,
            deviation_mm=float(off[worst]),
        )
    corners = np.array([_corner_offsets(frame, pixels) for frame in frames])
    turned = np.linalg.norm((positions - fitted)[:, None] + corners - corners[0], axis=2).max(axis=1)
    worst = int(turned.argmax())
    if turned[worst] > tolerance:
        raise NotAVolumeError(
            f"slice {worst + 1} of {len(frames)} is turned or scaled against the first: a corner lies "
            f"{turned[worst]:.3f} mm off, {tolerance:.3f} mm allowed",
            slice=worst + 1,
            deviation_mm=float(turned[worst]),
        )


def _check_spacing(depth: Float64Array, spacing: float, tolerance: float) -> None:
    off = np.abs(depth - depth[0] - np.arange(len(depth)) * spacing)
    if off.max() <= tolerance:
        return
    gaps = np.diff(depth)
    odd = int(np.abs(gaps - np.median(gaps)).argmax())
    low, high = float(gaps.min()), float(gaps.max())
    digits = next((n for n in (1, 2, 3) if f"{low:.{n}f}" != f"{high:.{n}f}"), 4)
    raise NotAVolumeError(
        f"spacing varies {low:.{digits}f} to {high:.{digits}f} mm between slices {odd + 1} and {odd + 2}: "
        f"a slice lies {off.max():.3f} mm off an even stack, {tolerance:.3f} mm allowed",
        smallest_mm=low,
        largest_mm=high,
        slice=odd + 1,
        deviation_mm=float(off.max()),
    )


def _corner_offsets(frame: FrameHeader, pixels: PixelFormat) -> Float64Array:
    """Vectors from the first pixel's centre to the four corner pixels' centres, mm, shape (4, 3)."""
    row, column, _ = directions(frame)
    down_mm, right_mm = frame.spacing_mm or (1.0, 1.0)
    right = row * right_mm * (pixels.columns - 1)
    down = column * down_mm * (pixels.rows - 1)
    return np.array([np.zeros(3), right, down, right + down])

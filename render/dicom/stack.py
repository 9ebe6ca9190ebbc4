"""The proof that slices make a volume: order, one affine, and every slice on it, or the measured reason why not.

The affine goes through the first and the last slice, as ITK and dcm2niix have it; all slices in between, at all four
corners, must lie on it. A stack that is sheared (gantry tilt) keeps its true affine; one that is unevenly spaced is
resampled along its normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from render.dicom.frames import FrameHeader
from render.dicom.tolerances import (
    PERPENDICULAR_TOLERANCE,
    UNIT_TOLERANCE,
    same_position_mm,
    slice_tolerance_mm,
)
from render.dicom.uneven import Place, even_grid
from render.errors import NotAVolumeError
from render.geometry import VolumeGeometry

Float64Array: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Stack:
    """Slices in order, and their grid.

    Attributes
    ----------
    order
        Indices into the frames given, ascending along the normal (row direction x column direction).
    places
        Where the slices are unevenly spaced: what lies at each slice of the grid, by indices into `order`.
    warnings
        What is not as the files have it.
    """

    order: tuple[int, ...]
    geometry: VolumeGeometry
    places: tuple[Place, ...] = ()
    warnings: tuple[str, ...] = ()


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


def fit(frames: Sequence[FrameHeader], rows: int, columns: int) -> Stack:
    """Sort frames along their normal and prove that they are one volume.

    Parameters
    ----------
    frames
        With position, orientation and spacing, no two at one position.
    rows, columns
        Size of a slice, pixels.

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
    places: tuple[Place, ...] = ()
    warnings: tuple[str, ...] = ()
    if len(frames) == 1:
        step = normal * (frames[0].thickness_mm or 1.0)
        warnings = (_depth_of_one(frames[0]),)
    else:
        depth = positions @ normal
        step = (positions[-1] - positions[0]) / (len(frames) - 1)
        tolerance = _check(frames, positions, depth, rows, columns)
        if np.abs(depth - depth[0] - np.arange(len(depth)) * (step @ normal)).max() > tolerance:
            grid = even_grid(depth, tolerance)
            step = (positions[-1] - positions[0]) / (len(grid.places) - 1)
            places, warnings = grid.places, grid.warnings
    geometry = VolumeGeometry.from_axes(
        (len(places) or len(frames), rows, columns), positions[0], row * right_mm, column * down_mm, step
    )
    return Stack(tuple(int(n) for n in order), geometry, places, warnings)


def _depth_of_one(frame: FrameHeader) -> str:
    if frame.thickness_mm:
        return f"a single slice has no depth: it is shown {frame.thickness_mm:g} mm deep, its Slice Thickness"
    return "a single slice has no depth: it is shown 1 mm deep"


def _check(
    frames: Sequence[FrameHeader], positions: Float64Array, depth: Float64Array, rows: int, columns: int
) -> float:
    """Raise where a slice leaves the line through the first and the last, or is turned; return the tolerance, mm."""
    across = positions[-1] - positions[0]
    spacing = float(np.median(np.diff(depth)))
    if spacing <= same_position_mm(frames[0].spacing_mm or (1.0, 1.0)) or depth[-1] - depth[0] <= 0:
        raise NotAVolumeError(
            f"{len(frames)} slices lie side by side: {spacing:.4f} mm apart along the normal, "
            f"{np.linalg.norm(across) / (len(frames) - 1):.4f} mm within the plane"
        )
    tolerance = slice_tolerance_mm(spacing)
    fitted = positions[0] + ((depth - depth[0]) / (depth[-1] - depth[0]))[:, None] * across
    off = np.linalg.norm(positions - fitted, axis=1)
    worst = int(off.argmax())
    if off[worst] > tolerance:
        raise NotAVolumeError(
            f"slice {worst + 1} of {len(frames)} lies {off[worst]:.3f} mm off the stack's line, "
            f"{tolerance:.3f} mm allowed",
            slice=worst + 1,
            deviation_mm=float(off[worst]),
        )
    # Most stacks have one orientation, written alike in all of them.
    distinct = {(frame.orientation, frame.spacing_mm): frame for frame in frames}
    offsets = {key: _corner_offsets(frame, rows, columns) for key, frame in distinct.items()}
    corners = np.array([offsets[frame.orientation, frame.spacing_mm] for frame in frames])
    turned = np.linalg.norm((positions - fitted)[:, None] + corners - corners[0], axis=2).max(axis=1)
    worst = int(turned.argmax())
    if turned[worst] > tolerance:
        raise NotAVolumeError(
            f"slice {worst + 1} of {len(frames)} is turned or scaled against the first: a corner lies "
            f"{turned[worst]:.3f} mm off, {tolerance:.3f} mm allowed",
            slice=worst + 1,
            deviation_mm=float(turned[worst]),
        )
    return tolerance


def _corner_offsets(frame: FrameHeader, rows: int, columns: int) -> Float64Array:
    """Vectors from the first pixel's centre to the four corner pixels' centres, mm, shape (4, 3)."""
    row, column, _ = directions(frame)
    down_mm, right_mm = frame.spacing_mm or (1.0, 1.0)
    right = row * right_mm * (columns - 1)
    down = column * down_mm * (rows - 1)
    return np.array([np.zeros(3), right, down, right + down])

"""The grid that the frames of a segmentation lie on. Frames without a voxel set are often left out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.dicom.frames import FrameHeader, PixelFormat
from render.dicom.stack import directions
from render.dicom.tolerances import SLICE_TOLERANCE_MM, same_position_mm, slice_tolerance_mm
from render.errors import NotAVolumeError
from render.geometry import VolumeGeometry

MAXIMUM_VOXELS = 1 << 29
"""1 GiB of labels: a whole body at full resolution."""


@dataclass(frozen=True)
class LabelGrid:
    """A grid, and where the frames are on it.

    Attributes
    ----------
    slices
        The slice index of each frame, in the frames' order.
    """

    geometry: VolumeGeometry
    slices: tuple[int, ...]
    warnings: tuple[str, ...] = ()


def span(frames: Sequence[FrameHeader], pixels: PixelFormat, hint_mm: float | None) -> LabelGrid:
    """Return the grid that placed frames lie on, slices ascending along the normal.

    Parameters
    ----------
    hint_mm
        A slice spacing that is stated: taken where all positions are whole multiples of it apart.

    Raises
    ------
    NotAVolumeError
        If frames differ in orientation or spacing, or no evenly spaced grid holds them; with the measured values.
    """
    row, column, normal = directions(frames[0])
    down_mm, right_mm = frames[0].spacing_mm or (1.0, 1.0)
    reach_mm = max(pixels.columns * right_mm, pixels.rows * down_mm)
    for frame in frames[1:]:
        orientation, spacing = np.array(frame.orientation), np.array(frame.spacing_mm)
        turned = np.abs(orientation - np.array(frames[0].orientation)).max() * reach_mm
        scaled = np.abs(spacing - np.array((down_mm, right_mm))).max() * max(pixels.rows, pixels.columns)
        if max(turned, scaled) > SLICE_TOLERANCE_MM:
            raise NotAVolumeError(
                f"frame {frame.number} is turned or scaled against the first: a corner lies "
                f"{max(turned, scaled):.3f} mm off"
            )
    positions = np.array([frame.position_mm for frame in frames], np.float64)
    depth = positions @ normal
    ordered = np.sort(depth)
    gaps = np.diff(ordered)
    gaps = gaps[gaps > same_position_mm((down_mm, right_mm))]
    if not gaps.size:
        step_mm, count = hint_mm or frames[0].thickness_mm or 1.0, 1
    else:
        step_mm, count = _lattice(float(ordered[-1] - ordered[0]), gaps, hint_mm)
    index = np.rint((depth - ordered[0]) / step_mm).astype(np.int64)
    first, last = positions[depth.argmin()], positions[depth.argmax()]
    step = (last - first) / (count - 1) if count > 1 else normal * step_mm
    off = np.linalg.norm(positions - (first + index[:, None] * step), axis=1)
    allowed = slice_tolerance_mm(step_mm)
    worst = int(off.argmax())
    if off[worst] > allowed:
        raise NotAVolumeError(
            f"frame {frames[worst].number} lies {off[worst]:.3f} mm off an even grid with {step_mm:.3f} mm between "
            f"slices, {allowed:.3f} mm allowed",
            frame=frames[worst].number,
            deviation_mm=float(off[worst]),
        )
    shape = _checked((count, pixels.rows, pixels.columns))
    geometry = VolumeGeometry.from_axes(shape, first, row * right_mm, column * down_mm, step)
    empty = count - len(np.unique(index))
    warnings = (f"{empty} of {count} slices have no frame: nothing is segmented there",) if empty else ()
    return LabelGrid(geometry, tuple(index.tolist()), warnings)


def _lattice(extent_mm: float, gaps: npt.NDArray[np.float64], hint_mm: float | None) -> tuple[float, int]:
    """Return the slice spacing and the number of slices."""
    for step_mm in filter(None, (hint_mm, float(gaps.min()))):
        off = np.abs(gaps / step_mm - np.rint(gaps / step_mm)) * step_mm
        if (gaps > step_mm / 2).all() and off.max() <= slice_tolerance_mm(step_mm):
            break
    steps = max(round(extent_mm / step_mm), 1)
    return extent_mm / steps, steps + 1


def pixel_grid(frames: Sequence[FrameHeader], pixels: PixelFormat, repeated: int) -> LabelGrid:
    """Return a grid of one slice in pixel coordinates, for a segmentation of an image without a place.

    Parameters
    ----------
    repeated
        Frames that belong to a segment that has another frame: one slice can't hold both.

    Raises
    ------
    NotAVolumeError
        If there are any.
    """
    if repeated:
        raise NotAVolumeError(f"no positions, and {repeated} segments' frames beside others of theirs")
    shape = _checked((1, pixels.rows, pixels.columns))
    down_mm, right_mm = frames[0].spacing_mm if frames and frames[0].spacing_mm else (1.0, 1.0)
    geometry = VolumeGeometry.from_axes(shape, (0, 0, 0), (right_mm, 0, 0), (0, down_mm, 0), (0, 0, 1))
    return LabelGrid(geometry, (0,) * max(len(frames), 1), ("no positions: in pixel coordinates",))


def _checked(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Refuse a grid that a position that lies has stretched beyond all memory."""
    if math.prod(shape) > MAXIMUM_VOXELS:
        raise NotAVolumeError(f"{shape[0]:,} slices of {shape[1]} x {shape[2]}: over {MAXIMUM_VOXELS:,} voxels")
    return shape

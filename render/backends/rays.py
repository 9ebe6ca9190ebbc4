"""From a View to the numbers that kernels take: rays in voxel space, the sample lattice, the clip.

The CPU's kernels read one float64 array, whose layout the names below are; the CUDA renderer takes what it needs of it.
 Voxel coordinates are in order (i, j, k).
A sample of pixel ``(row, column)`` lies at ``base + step * k``, ``k`` a whole number; ``base`` is shifted along the ray
by a whole number of steps from the lattice's own zero, so that ``k`` stays small near the volume, where float32 has
to be exact.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from render.geometry import VolumeGeometry
from render.view import Camera, ImagePlane, Vector

ORIGIN, COLUMN, ROW, STEP = 0, 3, 6, 9
"""Voxel coordinates of the first pixel's base point; steps to the next column, row and (orthographic) sample."""
EYE = 12
"""Perspective: the first pixel's point on the plane relative to the eye, voxel coordinates."""
EYE_RIGHT, EYE_DOWN, SPACING_RIGHT, SPACING_DOWN, EYE_DISTANCE2 = 15, 16, 17, 18, 19
"""The same in mm along the rows and the columns, with the pixel spacing; the squared distance of the plane."""
PERSPECTIVE, STEP_MM, LATTICE = 20, 21, 22
"""Whether the rays meet in the eye; the step; the lattice position of ``k = 0`` in steps from the plane."""
FIRST, LAST = 23, 24
"""Bounds of ``k`` from the slab; infinite for the whole volume."""
SIZE = 25
"""Voxels along i, j and k."""
INNER = 28
"""How far from the outermost voxel centres the plain sampling, which reads without checks, must stay; along i, j, k."""
SCALE, OFFSET, SIGN, UNIT, INVALID = 31, 32, 33, 34, 35
"""Modality value = sample * SCALE + OFFSET; 1 for maximum, -1 for minimum; see `weight_unit`; invalid code."""
GRID = 36
"""Bricks along i, j and k of the level of the grid that is in use."""
BRICKS_PER_VOXEL, SEGMENT, CHECK_INVALID = 39, 40, 41
"""1 / brick size; samples to a segment; whether any voxel is invalid."""
TABLE_SCALE, TABLE_OFFSET, TABLE_LAST = 42, 43, 44
"""Index into the transfer tables = sample * TABLE_SCALE + TABLE_OFFSET, truncated, at most TABLE_LAST."""
SHOWN_FROM, SHOWN_BELOW = 45, 50
"""Before it is truncated, such an index has opacity only if it is at least the one and less than the other."""
AMBIENT, DIFFUSE, LIGHT_LAST, FLOOR2 = 46, 47, 48, 49
"""Shading; the last index of the specular table; the squared gradient floor."""
PROBE = 51
"""Displacement of the gradient's neighbours along i, j and k, voxels."""
GRADIENT = 54
"""3 x 3, row by row: patient gradient = matrix @ (differences of the neighbours), modality units per mm."""
LAYER_OPACITY = 63
AHEAD = 64
"""3 x 3, row by row: unit direction in patient space = matrix @ (step of a ray in voxels)."""
AXIS = 73
"""Along which of the volume's axes all rays run: 0, 1, 2, or `NO_AXIS`."""
BOUND_BASE, BOUND_STEP = 74, 75
"""Bound of a sample, times its unit and sign = BOUND_BASE + BOUND_STEP * (what is kept for it in a byte)."""
CELLS, CELL_SEGMENT = 76, 79
"""Fine cells along i, j and k; samples to a ray's segment that one of them bounds, 0 if none is to be asked."""
PARAMETERS = 80

NO_AXIS = -1.0

INNER_MARGIN = 0.01
"""Voxels. Many times what float32 loses in a ray's coordinates, so that plain sampling never reads out of bounds."""
FACE_TOLERANCE = 1e-4
"""Voxels. A sample this little beyond a face is inside: float32 can't tell it from one on the face."""
WHOLE_TOLERANCE = 2.0**-14
"""Voxels. A sample this near a voxel's centre needs no neighbour along it. One unit of int16's weights."""
SLAB_TOLERANCE = 1e-6
"""Steps. A slab of exactly a whole number of steps keeps its outermost samples whatever the rounding."""
FAR = 1e9
"""Stands for no bound on ``k``; exact arithmetic is not needed of it."""
COUNTABLE = 2.0**23
"""Up to twice as far float32 counts every whole number; beyond, a loop over ``k`` would not end."""


@dataclass(frozen=True)
class Lattice:
    """Where the samples of a ray lie: at ``(n + 1/2) * step_mm``, or only at 0 for a thin view.

    Attributes
    ----------
    step_mm
        0 for a thin view.
    first, last
        Bounds of n; infinite for the whole volume.
    """

    step_mm: float
    first: float
    last: float


IN_PLANE = Lattice(0.0, 0, 0)
"""Of a thin view."""


def lattice_of(geometry: VolumeGeometry, slab_mm: float | None, step_factor: float) -> Lattice:
    """Return the samples of a view: the final step is half the smallest spacing, `step_factor` times as long here."""
    if slab_mm == 0:
        return IN_PLANE
    step_mm = geometry.smallest_spacing_mm / 2 * step_factor
    if slab_mm is None:
        return Lattice(step_mm, -math.inf, math.inf)
    half = max(math.floor(slab_mm / (2 * step_mm) - 0.5 + SLAB_TOLERANCE), 0)
    return Lattice(step_mm, -half - 1, half)


def coarser(plane: ImagePlane, stride: int) -> ImagePlane:
    """Return the plane of the rays where one ray stands for `stride` pixels each way, cast through their middle."""
    if stride == 1:
        return plane
    down, right = plane.pixel_spacing_mm
    shift = (stride - 1) / 2
    first = np.array(plane.top_left_mm)
    first += shift * (right * np.array(plane.row_direction) + down * np.array(plane.column_direction))
    x, y, z = (float(component) for component in first)
    return dataclasses.replace(plane, top_left_mm=(x, y, z), pixel_spacing_mm=(down * stride, right * stride))


def ray_parameters(
    geometry: VolumeGeometry, camera: Camera, plane: ImagePlane, shape_px: tuple[int, int], lattice: Lattice
) -> npt.NDArray[np.float64]:
    """Return the kernels' array with everything set that concerns rays; the rest is 0.

    Parameters
    ----------
    geometry
        Of the volume.
    camera
        For the projection, the eye and the direction.
    plane
        Where the rays' pixels lie.
    shape_px
        Rows and columns of rays.
    lattice
        Where the samples lie.
    """
    p = np.zeros(PARAMETERS)
    corner, row, column, forward = plane.top_left_mm, plane.row_direction, plane.column_direction, camera.axes[2]
    down_mm, right_mm = plane.pixel_spacing_mm
    step_mm = p[STEP_MM] = lattice.step_mm or 1.0
    if lattice.step_mm:
        middle = np.array(corner) + np.array(row) * (right_mm * (shape_px[1] - 1) / 2)
        middle += np.array(column) * (down_mm * (shape_px[0] - 1) / 2)
        ahead = np.array(forward)
        if camera.fov_deg is not None:
            ahead = middle - np.array(camera.position)
            ahead /= np.linalg.norm(ahead)
        nearest = float(((geometry.corners_mm - middle) @ ahead).min())
        shift = min(max(math.floor(nearest / step_mm), lattice.first), lattice.last)
        p[LATTICE] = shift + 0.5
        p[FIRST], p[LAST] = max(lattice.first - shift, -FAR), min(lattice.last - shift, FAR)
        p[AHEAD : AHEAD + 9] = (geometry.patient_from_voxel[:3, :3] / step_mm).ravel()
    # Points are moved by the affine's last column, vectors are not.
    away_mm = 0.0 if camera.fov_deg is not None else float(p[LATTICE]) * step_mm
    base = [c + f * away_mm for c, f in zip(corner, forward, strict=True)]
    vectors = [_long(row, right_mm), _long(column, down_mm), _long(forward, step_mm)]
    if camera.fov_deg is not None:
        from_eye = [c - e for c, e in zip(corner, camera.position, strict=True)]
        vectors.append(from_eye)
        p[EYE_RIGHT], p[EYE_DOWN] = _dot(from_eye, row), _dot(from_eye, column)
        p[SPACING_RIGHT], p[SPACING_DOWN] = right_mm, down_mm
        p[EYE_DISTANCE2] = _dot(from_eye, forward) ** 2
        p[PERSPECTIVE] = 1
    patient = np.array([(*base, 1.0), *((x, y, z, 0.0) for x, y, z in vectors)])
    p[: 3 * len(patient)] = (patient @ geometry.voxel_from_patient[:3].T).ravel()
    p[SIZE : INNER + 3] = *geometry.shape[::-1], INNER_MARGIN, INNER_MARGIN, INNER_MARGIN
    p[AXIS] = axis_of(p, shape_px) if lattice.step_mm else NO_AXIS
    return p


def _long(direction: Vector, length: float) -> list[float]:
    return [component * length for component in direction]


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def axis_of(p: npt.NDArray[np.float64], shape_px: tuple[int, int]) -> float:
    """Return the axis of the volume that all rays run along: 0, 1, 2, or `NO_AXIS`.

    Through the whole volume and across the picture they must not stray from it by `WHOLE_TOLERANCE`, which is as much
    as the weights of int16 voxels resolve. Rotations computed in float64 stray by 1e-10.
    """
    step = [abs(each) for each in p[STEP : STEP + 3].tolist()]
    longest = max(step)
    axis = step.index(longest)
    if p[PERSPECTIVE] or not longest:
        return NO_AXIS
    aside = (sum(step) - longest) / longest * p[SIZE + axis]
    across = abs(p[COLUMN + axis]) * shape_px[1] + abs(p[ROW + axis]) * shape_px[0]
    return axis if aside + across < WHOLE_TOLERANCE else NO_AXIS


def bound_steps(p: npt.NDArray[np.float64]) -> None:
    """Leave out the samples that are so far from ``k = 0`` that float32 can't count them."""
    p[FIRST], p[LAST] = max(p[FIRST], -COUNTABLE), min(p[LAST], COUNTABLE)


def packet_extent(
    p: npt.NDArray[np.float64], geometry: VolumeGeometry, camera: Camera, packet_px: tuple[int, int]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return a packet's size across and its step along, voxels on each axis, both shape (3,).

    Exact where rays are parallel, and of a single ray the step is never longer. In perspective the size is that of the
    packet on the plane, moved to the farthest corner of the volume: near enough to choose bricks by, but off the middle
    rays lie apart along the line of sight as well, so that each packet has to see for itself whether it fits.
    """
    height, width = packet_px
    across = (width - 1) * np.abs(p[COLUMN : COLUMN + 3]) + (height - 1) * np.abs(p[ROW : ROW + 3])
    if not p[PERSPECTIVE]:
        return across, np.abs(p[STEP : STEP + 3])
    farthest = float(np.linalg.norm(geometry.corners_mm - np.array(camera.position), axis=1).max())
    along = p[STEP_MM] * np.linalg.norm(geometry.voxel_from_patient[:3, :3], axis=1)
    return across * max(farthest / math.sqrt(p[EYE_DISTANCE2]), 1.0), along

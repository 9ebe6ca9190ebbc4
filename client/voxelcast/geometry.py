"""Where voxels and pixels lie in the patient: LPS, mm (+x left, +y back, +z head)."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from voxelcast.errors import InvalidArgumentError

Vector: TypeAlias = tuple[float, float, float]
Float64Array: TypeAlias = npt.NDArray[np.float64]


def vector(values: npt.ArrayLike) -> Vector:
    """Return three numbers as a tuple of floats.

    Raises
    ------
    InvalidArgumentError
        If they are not three finite numbers.
    """
    array = np.asarray(values, np.float64)
    if array.shape != (3,) or not np.isfinite(array).all():
        raise InvalidArgumentError(f"{array.tolist()}: three finite numbers needed")
    return float(array[0]), float(array[1]), float(array[2])


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """A volume's grid in patient space.

    Attributes
    ----------
    shape
        ``(K, J, I)``: slices, rows, columns; the shape of an array of its voxels.
    patient_from_voxel
        float64, shape (4, 4): ``(i, j, k, 1)``, that is column, row, slice, to LPS mm. A voxel's centre is at its
        integer index; the volume reaches half a voxel beyond.

    Examples
    --------
    >>> geometry = VolumeGeometry.from_spacing((3, 256, 256), (0.5, 0.5, 2.0))
    >>> geometry.spacing_mm
    (0.5, 0.5, 2.0)
    >>> geometry.center_mm
    (63.75, 63.75, 2.0)
    """

    shape: tuple[int, int, int]
    patient_from_voxel: Float64Array

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InvalidArgumentError(f"volume shape {self.shape}: three sizes of at least 1 needed")
        affine = np.array(self.patient_from_voxel, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InvalidArgumentError(f"affine of shape {affine.shape}: a finite 4 x 4 matrix needed")
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "patient_from_voxel", affine)

    @classmethod
    def from_spacing(
        cls, shape: tuple[int, int, int], spacing_mm: Vector, origin_mm: Vector = (0.0, 0.0, 0.0)
    ) -> VolumeGeometry:
        """Build an axial grid: columns to the patient's left, rows to the back, slices to the head.

        Parameters
        ----------
        shape
            ``(K, J, I)``.
        spacing_mm
            Of columns, rows and slices (the reverse of `shape`'s order, as in ITK).
        origin_mm
            The centre of voxel (0, 0, 0), LPS mm.
        """
        affine = np.diag([*vector(spacing_mm), 1.0])
        affine[:3, 3] = vector(origin_mm)
        return cls(shape, affine)

    @functools.cached_property
    def spacing_mm(self) -> Vector:
        """Distance of neighbouring columns, rows and slices (along the slices' normal), mm."""
        i_step, j_step, k_step = self.patient_from_voxel[:3, :3].T
        normal = np.cross(i_step, j_step)
        normal /= np.linalg.norm(normal)
        return float(np.linalg.norm(i_step)), float(np.linalg.norm(j_step)), abs(float(k_step @ normal))

    @functools.cached_property
    def center_mm(self) -> Vector:
        """The middle of the volume, LPS mm."""
        return vector(self.to_patient((np.array(self.shape[::-1]) - 1) / 2))

    @functools.cached_property
    def corners_mm(self) -> Float64Array:
        """The eight corners of the box around the voxels' faces, LPS mm, shape (8, 3)."""
        n = self.shape[::-1]
        index = [[(-0.5, n[axis] - 0.5)[(corner >> axis) & 1] for axis in range(3)] for corner in range(8)]
        return self.to_patient(index)

    @functools.cached_property
    def diagonal_mm(self) -> float:
        """The longest distance between two corners, mm."""
        corners = self.corners_mm
        return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())

    def to_patient(self, voxel: npt.ArrayLike) -> Float64Array:
        """Voxel indices ``(..., 3)`` in order (i, j, k) to LPS mm, the same shape."""
        affine = self.patient_from_voxel
        result: Float64Array = np.asarray(voxel, np.float64) @ affine[:3, :3].T + affine[:3, 3]
        return result

    def to_voxel(self, patient_mm: npt.ArrayLike) -> Float64Array:
        """LPS mm ``(..., 3)`` to voxel indices in order (i, j, k), the same shape."""
        inverse = np.linalg.inv(self.patient_from_voxel)
        result: Float64Array = np.asarray(patient_mm, np.float64) @ inverse[:3, :3].T + inverse[:3, 3]
        return result


@dataclass(frozen=True)
class ImagePlane:
    """Where a picture's pixels lie in patient space; on the plane through ``look_at`` if in perspective.

    Attributes
    ----------
    top_left_mm
        The centre of the first pixel, LPS mm.
    row_direction
        Along a row, to the right; unit vector.
    column_direction
        Down a column; unit vector.
    pixel_spacing_mm
        (down, right), as DICOM's Pixel Spacing has it.

    Examples
    --------
    >>> plane = ImagePlane((-10.0, -20.0, 5.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.5))
    >>> plane.to_patient(row=4, column=2)
    (-9.0, -18.0, 5.0)
    """

    top_left_mm: Vector
    row_direction: Vector
    column_direction: Vector
    pixel_spacing_mm: tuple[float, float]

    def to_patient(self, row: float, column: float) -> Vector:
        """Return a pixel's centre, LPS mm."""
        down, right = self.pixel_spacing_mm
        return vector(
            np.array(self.top_left_mm)
            + np.multiply(self.column_direction, row * down)
            + np.multiply(self.row_direction, column * right)
        )

"""Where a volume lies in the patient: an affine from voxel to patient space, pure NumPy float64.

Patient space is DICOM's LPS in mm: +x to the patient's left, +y to the back, +z to the head. Voxel space is
``(i, j, k)``: column, row, slice, a voxel's centre at its integer index. Arrays are in order ``(k, j, i)``.
A volume reaches to its voxel faces: ``-0.5 <= index <= n - 0.5`` on each axis.

Transforms are named ``target_from_source`` and chain visibly.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from render.errors import InvalidArgumentError

Float64Array: TypeAlias = npt.NDArray[np.float64]
Vector: TypeAlias = tuple[float, float, float]

MINIMUM_SPACING_MM = 1e-4
"""Below this two slices or columns count as one: no scanner samples at a tenth of a micrometre."""


@dataclass(frozen=True, eq=False)
class VolumeGeometry:
    """A volume's grid in patient space.

    Parameters
    ----------
    shape
        ``(K, J, I)``: slices, rows, columns; each at least 1.
    patient_from_voxel
        float64, shape (4, 4): ``(i, j, k, 1)`` to LPS mm. Any invertible affine, sheared ones included.

    Raises
    ------
    InvalidArgumentError
        If the shape has a zero, or the affine is not finite or not invertible.
    """

    shape: tuple[int, int, int]
    patient_from_voxel: Float64Array

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise InvalidArgumentError(f"volume shape {self.shape}: three sizes of at least 1 needed", field="shape")
        affine = np.array(self.patient_from_voxel, np.float64)
        if affine.shape != (4, 4) or not np.isfinite(affine).all():
            raise InvalidArgumentError("patient_from_voxel: a finite 4 x 4 matrix needed", field="patient_from_voxel")
        if not np.array_equal(affine[3], [0, 0, 0, 1]):
            raise InvalidArgumentError("patient_from_voxel: last row is not 0 0 0 1", field="patient_from_voxel")
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        volume = abs(float(np.linalg.det(affine[:3, :3])))
        if lengths.min() < MINIMUM_SPACING_MM or volume < MINIMUM_SPACING_MM * float(np.prod(np.sort(lengths)[1:])):
            raise InvalidArgumentError(
                f"patient_from_voxel: degenerate axes, lengths {lengths[0]:g}, {lengths[1]:g}, {lengths[2]:g} mm, "
                f"voxel volume {volume:g} mm3",
                field="patient_from_voxel",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        object.__setattr__(self, "patient_from_voxel", affine)

    @classmethod
    def from_axes(
        cls,
        shape: tuple[int, int, int],
        origin_mm: npt.ArrayLike,
        i_step_mm: npt.ArrayLike,
        j_step_mm: npt.ArrayLike,
        k_step_mm: npt.ArrayLike,
    ) -> VolumeGeometry:
        """Build from the centre of voxel (0, 0, 0) and the steps to the next column, row and slice, LPS mm."""
        affine = np.eye(4)
        for column, step in enumerate((i_step_mm, j_step_mm, k_step_mm, origin_mm)):
            affine[:3, column] = np.asarray(step, np.float64)
        return cls(shape, affine)

    @functools.cached_property
    def voxel_from_patient(self) -> Float64Array:
        """float64, shape (4, 4): LPS mm to ``(i, j, k, 1)``."""
        inverse = np.linalg.inv(self.patient_from_voxel).astype(np.float64, copy=False)
        inverse.setflags(write=False)
        return inverse

    @functools.cached_property
    def spacing_mm(self) -> Vector:
        """Distance of neighbouring columns, rows and slices, mm.

        The first two are the pixel spacing within a slice. The third is measured along the slices' normal, so a
        sheared stack (gantry tilt) has its true slice distance, not the longer table step.
        """
        i_step, j_step, k_step = self.patient_from_voxel[:3, :3].T
        normal = np.cross(i_step, j_step)
        normal /= np.linalg.norm(normal)
        return float(np.linalg.norm(i_step)), float(np.linalg.norm(j_step)), abs(float(k_step @ normal))

    @functools.cached_property
    def axis_lengths_mm(self) -> Float64Array:
        """From a voxel's centre to the next along i, j and k, mm, shape (3,); oblique to the slices where sheared."""
        lengths: Float64Array = np.linalg.norm(self.patient_from_voxel[:3, :3], axis=0)
        lengths.setflags(write=False)
        return lengths

    @functools.cached_property
    def smallest_spacing_mm(self) -> float:
        """The smallest of `spacing_mm` among the axes that have more than one voxel (else of all), mm."""
        sizes = self.shape[::-1]
        several = [s for s, n in zip(self.spacing_mm, sizes, strict=True) if n > 1]
        return min(several or self.spacing_mm)

    @functools.cached_property
    def center_mm(self) -> Float64Array:
        """The middle of the volume, LPS mm, shape (3,)."""
        middle = (np.array(self.shape[::-1], np.float64) - 1) / 2
        return self.to_patient(middle)

    @functools.cached_property
    def corners_mm(self) -> Float64Array:
        """The eight corners of the voxel-face box, LPS mm, shape (8, 3)."""
        n = self.shape[::-1]
        index = np.array([[(-0.5, n[axis] - 0.5)[(corner >> axis) & 1] for axis in range(3)] for corner in range(8)])
        return self.to_patient(index)

    @functools.cached_property
    def diagonal_mm(self) -> float:
        """The longest distance between two corners, mm."""
        corners = self.corners_mm
        return float(np.linalg.norm(corners[:, None] - corners[None], axis=2).max())

    @property
    def is_sheared(self) -> bool:
        """Whether the slices' stacking direction leaves their normal by more than 1e-3 (as gantry tilt does)."""
        i_step, j_step, k_step = self.patient_from_voxel[:3, :3].T
        normal = np.cross(i_step, j_step)
        along = abs(float(k_step @ normal)) / (float(np.linalg.norm(k_step)) * float(np.linalg.norm(normal)))
        return math.acos(min(1.0, along)) > 1e-3

    def to_patient(self, voxel: npt.ArrayLike) -> Float64Array:
        """Voxel indices ``(..., 3)`` in order (i, j, k) to LPS mm, the same shape."""
        points = np.asarray(voxel, np.float64)
        result: Float64Array = points @ self.patient_from_voxel[:3, :3].T + self.patient_from_voxel[:3, 3]
        return result

    def to_voxel(self, patient_mm: npt.ArrayLike) -> Float64Array:
        """LPS mm ``(..., 3)`` to voxel indices in order (i, j, k), the same shape."""
        points = np.asarray(patient_mm, np.float64)
        result: Float64Array = points @ self.voxel_from_patient[:3, :3].T + self.voxel_from_patient[:3, 3]
        return result

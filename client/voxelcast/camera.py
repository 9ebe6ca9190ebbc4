"""From where a picture is seen, and its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.errors import InvalidArgumentError
from voxelcast.geometry import Float64Array, Vector, vector

DEFAULT_SIZE_PX = (512, 512)
"""Width and height of a picture for which none is given."""


@dataclass(frozen=True)
class Camera:
    """An orthographic or perspective camera in patient space.

    Parameters
    ----------
    position, look_at, up
        LPS mm. `position` gives the viewing direction, and the eye of a perspective camera; the plane of an MPR
        contains `look_at`, which is the picture's centre.
    parallel_scale_mm
        Orthographic: half the viewport's height, mm.
    fov_deg
        Perspective: the vertical angle of view, degrees. Exactly one of the two is given.
    """

    position: Vector
    look_at: Vector
    up: Vector
    parallel_scale_mm: float | None = None
    fov_deg: float | None = None

    def __post_init__(self) -> None:
        for name in ("position", "look_at", "up"):
            object.__setattr__(self, name, vector(getattr(self, name)))
        if (self.parallel_scale_mm is None) == (self.fov_deg is None):
            raise InvalidArgumentError("camera: exactly one of parallel_scale_mm and fov_deg is needed")

    @property
    def basis(self) -> tuple[Float64Array, Float64Array, Float64Array]:
        """Unit vectors ``(right, down, forward)`` of the picture, LPS.

        Raises
        ------
        InvalidArgumentError
            If `position` equals `look_at`, or `up` has no length or is parallel to the viewing direction.
        """
        forward = np.subtract(self.look_at, self.position, dtype=np.float64)
        right = np.cross(forward, self.up)
        if np.linalg.norm(right) <= 1e-9 * np.linalg.norm(forward) * np.linalg.norm(self.up):
            raise InvalidArgumentError("camera: position, look_at and up give no picture plane")
        forward /= np.linalg.norm(forward)
        right /= np.linalg.norm(right)
        return right, np.cross(forward, right), forward

    @property
    def half_height_mm(self) -> float:
        """Half the viewport's height on the plane through `look_at`, mm, for either projection."""
        if self.parallel_scale_mm is not None:
            return self.parallel_scale_mm
        assert self.fov_deg is not None
        return math.dist(self.look_at, self.position) * math.tan(math.radians(self.fov_deg) / 2)

    def moved(self, offset_mm: Float64Array) -> Camera:
        """Return the camera displaced by a vector, LPS mm."""
        return replace(self, position=vector(self.position + offset_mm), look_at=vector(self.look_at + offset_mm))


@dataclass(frozen=True)
class Viewport:
    """The pixels of a picture: 1 to 4096 in each direction. A flip mirrors it after the camera."""

    width_px: int = DEFAULT_SIZE_PX[0]
    height_px: int = DEFAULT_SIZE_PX[1]
    flip_horizontal: bool = False
    flip_vertical: bool = False

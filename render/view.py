"""What is to be seen: one View for every picture. Frozen, absolute, validated, free of any volume.

A picture is a pixel grid on the plane through ``look_at``, one ray a pixel through it, and a way to reduce the
samples along the ray. Everything is LPS mm. Samples of a slab or a whole volume lie at ``(n + 1/2) * step`` from
that plane, measured along the ray, n any integer: never dependent on where the ray enters, is clipped or skips.
A thin view (``slab_mm == 0``) takes one sample, on the plane.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import numpy.typing as npt

from render.errors import InvalidViewError, UnsupportedError
from render.transfer import TransferFunction, Window

if TYPE_CHECKING:
    from render.geometry import VolumeGeometry

Vector: TypeAlias = tuple[float, float, float]

MAX_VIEWPORT_PX = 4096
"""The longest side of a viewport: what an 8-megapixel diagnostic display needs, and 64 MiB of float32."""
MAX_COORDINATE_MM = 1e6
"""Camera coordinates beyond a kilometre are a mistake, and would lose float32 precision."""
MIN_PARALLEL_SCALE_MM = 1e-3
MAX_FOV_DEG = 170.0


class RenderingMethod(enum.Enum):
    """How the samples along a ray become one pixel; the words of PS3.18."""

    VOLUME_RENDERED = "volume_rendered"
    MAXIMUM_IP = "maximum_ip"
    MINIMUM_IP = "minimum_ip"
    AVERAGE_IP = "average_ip"


class Orientation(enum.Enum):
    """The side of the patient that is viewed; the letters of PS3.18."""

    ANTERIOR = "a"
    POSTERIOR = "p"
    RIGHT = "r"
    LEFT = "l"
    HEAD = "h"
    FEET = "f"


# Where the camera stands relative to what it looks at, and its up, LPS.
_ORIENTATIONS: dict[Orientation, tuple[Vector, Vector]] = {
    Orientation.ANTERIOR: ((0, -1, 0), (0, 0, 1)),
    Orientation.POSTERIOR: ((0, 1, 0), (0, 0, 1)),
    Orientation.RIGHT: ((-1, 0, 0), (0, 0, 1)),
    Orientation.LEFT: ((1, 0, 0), (0, 0, 1)),
    Orientation.HEAD: ((0, 0, 1), (0, -1, 0)),
    Orientation.FEET: ((0, 0, -1), (0, -1, 0)),
}


@dataclass(frozen=True)
class Camera:
    """An orthographic or perspective camera in patient space.

    Parameters
    ----------
    position, look_at, up
        LPS mm. `position` gives the viewing direction, and the eye of a perspective camera.
    parallel_scale_mm
        Orthographic: half the viewport's height on the plane through `look_at`, mm (VTK's word).
    fov_deg
        Perspective: the vertical angle of view, degrees. Exactly one of the two is given.

    Raises
    ------
    InvalidViewError
        If a number is not finite or out of range, or the directions are degenerate.
    """

    position: Vector
    look_at: Vector
    up: Vector
    parallel_scale_mm: float | None = None
    fov_deg: float | None = None

    def __post_init__(self) -> None:
        for name in ("position", "look_at", "up"):
            vector = tuple(float(x) for x in getattr(self, name))
            if len(vector) != 3 or not all(map(math.isfinite, vector)):
                raise InvalidViewError(f"camera.{name} {vector}: three finite numbers needed", field=f"camera.{name}")
            if max(map(abs, vector)) > MAX_COORDINATE_MM:
                raise InvalidViewError(
                    f"camera.{name} {vector}: beyond {MAX_COORDINATE_MM:g} mm", field=f"camera.{name}"
                )
            object.__setattr__(self, name, vector)
        if (self.parallel_scale_mm is None) == (self.fov_deg is None):
            raise InvalidViewError(
                "camera: exactly one of parallel_scale_mm and fov_deg is needed", field="camera.projection"
            )
        if self.parallel_scale_mm is not None and not (
            MIN_PARALLEL_SCALE_MM <= self.parallel_scale_mm <= MAX_COORDINATE_MM
        ):
            raise InvalidViewError(
                f"camera.parallel_scale_mm {self.parallel_scale_mm:g}: "
                f"{MIN_PARALLEL_SCALE_MM:g} to {MAX_COORDINATE_MM:g} needed",
                field="camera.parallel_scale_mm",
            )
        if self.fov_deg is not None and not 0.1 <= self.fov_deg <= MAX_FOV_DEG:
            raise InvalidViewError(
                f"camera.fov_deg {self.fov_deg:g}: 0.1 to {MAX_FOV_DEG:g} needed", field="camera.fov_deg"
            )
        # Not numpy's norm: it lets go of the interpreter for three numbers, and waits for it behind all other threads.
        ahead = [to - at for to, at in zip(self.look_at, self.position, strict=True)]
        if (distance := math.hypot(*ahead)) < 1e-6:
            raise InvalidViewError("camera.position equals camera.look_at", field="camera.position")
        if (length := math.hypot(*self.up)) < 1e-6:
            raise InvalidViewError("camera.up has no length", field="camera.up")
        if math.hypot(*_cross(ahead, self.up)) / (distance * length) < 1e-4:
            raise InvalidViewError("camera.up is parallel to the viewing direction", field="camera.up")

    @functools.cached_property
    def axes(self) -> tuple[Vector, Vector, Vector]:
        """Unit vectors ``(right, down, forward)`` of the picture, LPS, as plain numbers."""
        forward = _unit([to - at for to, at in zip(self.look_at, self.position, strict=True)])
        right = _unit(_cross(forward, self.up))
        return right, _cross(forward, right), forward

    @functools.cached_property
    def basis(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """`axes` as arrays."""
        right, down, forward = self.axes
        return np.array(right), np.array(down), np.array(forward)

    @property
    def half_height_mm(self) -> float:
        """Half the viewport's height on the plane through `look_at`, mm, for either projection."""
        if self.parallel_scale_mm is not None:
            return self.parallel_scale_mm
        assert self.fov_deg is not None
        return math.dist(self.look_at, self.position) * math.tan(math.radians(self.fov_deg) / 2)


@dataclass(frozen=True)
class Viewport:
    """The pixels of a picture. A flip mirrors it after the camera; reported directions are after the flip."""

    width_px: int
    height_px: int
    flip_horizontal: bool = False
    flip_vertical: bool = False

    def __post_init__(self) -> None:
        for name in ("width_px", "height_px"):
            if not 1 <= getattr(self, name) <= MAX_VIEWPORT_PX:
                raise InvalidViewError(
                    f"viewport.{name} {getattr(self, name)}: 1 to {MAX_VIEWPORT_PX} needed",
                    field=f"viewport.{name}",
                )


@dataclass(frozen=True)
class Layer:
    """One volume in a picture.

    Parameters
    ----------
    volume_id
        Which.
    window
        Values to gray; None takes the volume's default.
    transfer_function
        For `volume_rendered`; None takes the default for the volume's modality.
    opacity
        Of the layer, 0 to 1.
    invert
        Show gray inverted (on top of MONOCHROME1, which is inverted already).
    """

    volume_id: str
    window: Window | None = None
    transfer_function: TransferFunction | None = None
    opacity: float = 1.0
    invert: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise InvalidViewError(f"layer opacity {self.opacity}: 0 to 1 needed", field="layers.opacity")


@dataclass(frozen=True)
class Clip:
    """A box in patient space outside of which nothing is drawn: two opposite corners, LPS mm."""

    minimum_mm: Vector
    maximum_mm: Vector


@dataclass(frozen=True)
class View:
    """One picture, completely.

    Parameters
    ----------
    camera, viewport
        From where, and how many pixels.
    layers
        Bottom first. One for now.
    rendering_method
        How samples along a ray reduce.
    slab_mm
        0: one sample, on the plane through ``look_at``. Over 0: a slab of this thickness, symmetric about that
        plane. None: the whole volume.
    clip
        Not built yet.

    Raises
    ------
    InvalidViewError
        If a part is out of range.
    UnsupportedError
        For more than one layer, or a clip.
    """

    camera: Camera
    viewport: Viewport
    layers: tuple[Layer, ...]
    rendering_method: RenderingMethod = RenderingMethod.MAXIMUM_IP
    slab_mm: float | None = 0.0
    clip: Clip | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise InvalidViewError("a view without layers", field="layers")
        if len(self.layers) > 1:
            raise UnsupportedError(f"{len(self.layers)} layers: fusion is not built yet", field="layers")
        if self.clip is not None:
            raise UnsupportedError("a clip box is not built yet", field="clip")
        if self.slab_mm is not None and not 0 <= self.slab_mm <= MAX_COORDINATE_MM:
            raise InvalidViewError(f"slab_mm {self.slab_mm}: 0 to {MAX_COORDINATE_MM:g} needed", field="slab_mm")
        if self.slab_mm == 0 and self.rendering_method is RenderingMethod.VOLUME_RENDERED:
            raise InvalidViewError("volume_rendered needs a slab or the whole volume", field="slab_mm")

    @property
    def is_color(self) -> bool:
        """Whether the picture is RGBA; otherwise it is modality values."""
        return self.rendering_method is RenderingMethod.VOLUME_RENDERED

    @functools.cached_property
    def plane(self) -> ImagePlane:
        """Where the pixels lie: the plane through ``look_at``, after the flips."""
        right, down, _ = self.camera.axes
        spacing = 2 * self.camera.half_height_mm / self.viewport.height_px
        row = _turned(right) if self.viewport.flip_horizontal else right
        column = _turned(down) if self.viewport.flip_vertical else down
        across = spacing * (self.viewport.width_px - 1) / 2
        along = spacing * (self.viewport.height_px - 1) / 2
        x, y, z = (c - r * across - d * along for c, r, d in zip(self.camera.look_at, row, column, strict=True))
        return ImagePlane((x, y, z), row, column, (spacing, spacing))


@dataclass(frozen=True)
class ImagePlane:
    """Where a picture's pixels lie in patient space.

    Attributes
    ----------
    top_left_mm
        The centre of the first pixel, LPS mm.
    row_direction
        Along a row, to the right; unit vector.
    column_direction
        Down a column; unit vector.
    pixel_spacing_mm
        (down, right), as DICOM's Pixel Spacing has it. On the plane through ``look_at`` if in perspective.
    """

    top_left_mm: Vector
    row_direction: Vector
    column_direction: Vector
    pixel_spacing_mm: tuple[float, float]


def _cross(a: Iterable[float], b: Iterable[float]) -> Vector:
    """Return the cross product of two vectors; numpy takes ten times as long for a single pair."""
    (x, y, z), (u, v, w) = a, b
    return y * w - z * v, z * u - x * w, x * v - y * u


def _unit(vector: Iterable[float]) -> Vector:
    x, y, z = vector
    length = math.sqrt(x * x + y * y + z * z)
    return x / length, y / length, z / length


def _turned(vector: Iterable[float]) -> Vector:
    x, y, z = vector
    return -x, -y, -z


def _vector(array: npt.NDArray[np.float64]) -> Vector:
    x, y, z = (float(component) for component in array)
    return x, y, z


def fitted_camera(
    geometry: VolumeGeometry, viewport: Viewport, *, position: Vector, look_at: Vector, up: Vector
) -> Camera:
    """Orthographic camera whose picture is centred on `look_at` and just holds the whole volume.

    Parameters
    ----------
    geometry
        Of the volume.
    viewport
        Its aspect ratio decides the scale.
    position, look_at, up
        As in `Camera`, LPS mm.

    Raises
    ------
    InvalidViewError
        As `Camera` does.
    """
    right, down, _ = Camera(position, look_at, up, parallel_scale_mm=1.0).basis
    offsets = geometry.corners_mm - np.array(look_at)
    half_width, half_height = np.abs(offsets @ right).max(), np.abs(offsets @ down).max()
    scale = float(max(half_height, half_width * viewport.height_px / viewport.width_px))
    return Camera(position, look_at, up, parallel_scale_mm=scale)


def oriented_camera(
    orientation: Orientation, geometry: VolumeGeometry, viewport: Viewport, *, look_at: Vector | None = None
) -> Camera:
    """Orthographic camera on one side of a volume, all of which fits into the viewport.

    Parameters
    ----------
    orientation
        The side viewed.
    geometry
        Of the volume.
    viewport
        Its aspect ratio decides the scale.
    look_at
        LPS mm; the volume's centre if None.

    Returns
    -------
    Camera
        At a distance of the volume's diagonal from `look_at`.
    """
    side, up = _ORIENTATIONS[orientation]
    target = np.array(geometry.center_mm if look_at is None else look_at)
    position = target + np.array(side) * geometry.diagonal_mm
    return fitted_camera(geometry, viewport, position=_vector(position), look_at=_vector(target), up=up)

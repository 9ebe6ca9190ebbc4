"""What is to be seen: one `View` for every picture. Frozen and absolute; changes make a new one."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import numpy as np

from voxelcast.appearance import TransferFunction, Window, WindowFunction
from voxelcast.camera import DEFAULT_SIZE_PX, Camera, Viewport
from voxelcast.errors import InvalidArgumentError
from voxelcast.geometry import Float64Array, Vector, VolumeGeometry, vector

if TYPE_CHECKING:
    from voxelcast.descriptions import Phase

RenderingMethod: TypeAlias = Literal["volume_rendered", "maximum_ip", "minimum_ip", "average_ip"]
"""How the samples along a ray become one pixel, in the words of DICOM PS3.18."""
Orientation: TypeAlias = Literal["a", "p", "r", "l", "h", "f", "axial", "coronal", "sagittal"]
"""The side of the patient that is viewed: anterior, posterior, right, left, head, feet (PS3.18); or the plane's name:
axial is ``f``, coronal ``a`` and sagittal ``l``."""

FIT_MARGIN = 1.05
"""A 3D view leaves 5% around the volume's bounding sphere, so that nothing is cut off as it turns."""

# Where the camera stands relative to what it looks at, and its up, LPS.
_ORIENTATIONS: dict[Orientation, tuple[Vector, Vector]] = {
    "a": ((0, -1, 0), (0, 0, 1)),
    "p": ((0, 1, 0), (0, 0, 1)),
    "r": ((-1, 0, 0), (0, 0, 1)),
    "l": ((1, 0, 0), (0, 0, 1)),
    "h": ((0, 0, 1), (0, -1, 0)),
    "f": ((0, 0, -1), (0, -1, 0)),
}
_ORIENTATIONS |= {"axial": _ORIENTATIONS["f"], "coronal": _ORIENTATIONS["a"], "sagittal": _ORIENTATIONS["l"]}


class HasGeometry(Protocol):
    """What a view is made for: a `Volume`, an `AsyncVolume`, or a description."""

    @property
    def id(self) -> str:
        """The volume's id."""

    @property
    def geometry(self) -> VolumeGeometry:
        """Where it lies."""


@dataclass(frozen=True)
class Layer:
    """One volume in a picture.

    Parameters
    ----------
    volume_id
        Which.
    window
        None takes the volume's default.
    transfer_function
        For ``volume_rendered``; None takes the default for the volume's modality.
    opacity
        Of the layer, 0 to 1.
    invert
        Show gray inverted.
    """

    volume_id: str
    window: Window | None = None
    transfer_function: TransferFunction | None = None
    opacity: float = 1.0
    invert: bool = False


@dataclass(frozen=True)
class View:
    """One picture, completely. Make one with a class method or a volume's, change it with the methods.

    Every change returns a new View; `dataclasses.replace` works on it and all its parts. Ranges are checked by the
    server, which names the field that is wrong.

    Parameters
    ----------
    camera, viewport
        From where, and how many pixels.
    layers
        Bottom first. Servers of this version draw one.
    rendering_method
        How samples along a ray reduce.
    slab_mm
        0: one sample, on the plane through ``look_at``. Over 0: a slab of this thickness around that plane.
        None: the whole volume.

    Examples
    --------
    >>> from voxelcast import VolumeDescription
    >>> volume = VolumeDescription(id="head", geometry=VolumeGeometry.from_spacing((20, 64, 64), (1, 1, 2)))
    >>> view = View.axial(volume).with_window(40, 80).with_slice(12.0)
    >>> view.slice_mm
    12.0
    >>> view.with_slab(10, "maximum_ip").slab_mm
    10.0
    """

    camera: Camera
    viewport: Viewport
    layers: tuple[Layer, ...]
    rendering_method: RenderingMethod = "maximum_ip"
    slab_mm: float | None = 0.0

    @classmethod
    def oriented(
        cls, volume: HasGeometry, orientation: Orientation, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX
    ) -> View:
        """Return the plane through the volume's centre, seen from one side, all of it in the picture.

        Parameters
        ----------
        volume
            What is shown.
        orientation
            The side that is viewed, or the plane's name: ``f`` is axial, ``a`` coronal, ``l`` sagittal.
        size_px
            Width and height.

        Raises
        ------
        InvalidArgumentError
            If `orientation` is not one of ``a p r l h f axial coronal sagittal``.
        """
        camera = _oriented_camera(volume.geometry, orientation)
        right, down, _ = camera.basis
        offsets = volume.geometry.corners_mm - np.array(camera.look_at)
        half_width, half_height = np.abs(offsets @ right).max(), np.abs(offsets @ down).max()
        width_px, height_px = size_px
        scale_mm = float(max(half_height, half_width * height_px / width_px))
        return cls(replace(camera, parallel_scale_mm=scale_mm), Viewport(width_px, height_px), (Layer(volume.id),))

    @classmethod
    def axial(
        cls, volume: HasGeometry, slice_mm: float | None = None, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX
    ) -> View:
        """Return an axial plane in radiological convention (from the feet, anterior up).

        Parameters
        ----------
        volume
            What is shown.
        slice_mm
            Its z in patient space; None for the volume's centre.
        size_px
            Width and height.
        """
        return _at_slice(cls.oriented(volume, "f", size_px=size_px), slice_mm)

    @classmethod
    def coronal(
        cls, volume: HasGeometry, slice_mm: float | None = None, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX
    ) -> View:
        """Return a coronal plane (from the front, head up) at y = `slice_mm`; None for the volume's centre."""
        return _at_slice(cls.oriented(volume, "a", size_px=size_px), slice_mm)

    @classmethod
    def sagittal(
        cls, volume: HasGeometry, slice_mm: float | None = None, *, size_px: tuple[int, int] = DEFAULT_SIZE_PX
    ) -> View:
        """Return a sagittal plane (from the left, head up) at x = `slice_mm`; None for the volume's centre."""
        return _at_slice(cls.oriented(volume, "l", size_px=size_px), slice_mm)

    @classmethod
    def mip(
        cls,
        volume: HasGeometry,
        orientation: Orientation = "a",
        *,
        method: RenderingMethod = "maximum_ip",
        size_px: tuple[int, int] = DEFAULT_SIZE_PX,
    ) -> View:
        """Return the maximum (or minimum, or mean) intensity projection of the whole volume."""
        return replace(_around(cls, volume, orientation, size_px), rendering_method=method, slab_mm=None)

    @classmethod
    def volume_rendering(
        cls,
        volume: HasGeometry,
        preset: str | None = None,
        orientation: Orientation = "a",
        *,
        transfer_function: TransferFunction | None = None,
        size_px: tuple[int, int] = DEFAULT_SIZE_PX,
    ) -> View:
        """Return a volume rendering of the whole volume; the picture is RGBA.

        Parameters
        ----------
        volume
            What is shown.
        preset
            ``CT-Bone``, ``MR-Default``, ...; None takes the default for the volume's modality.
        orientation
            The side that is viewed.
        transfer_function
            One of your own, instead of `preset`.
        size_px
            Width and height.
        """
        if preset is not None and transfer_function is not None:
            raise InvalidArgumentError("volume_rendering: either preset or transfer_function")
        view = _around(cls, volume, orientation, size_px)
        view = replace(view, rendering_method="volume_rendered", slab_mm=None)
        if preset is not None:
            transfer_function = TransferFunction(preset)
        return view if transfer_function is None else view.with_transfer_function(transfer_function)

    @property
    def volume_id(self) -> str:
        """Of the bottom layer."""
        return self.layers[0].volume_id

    @property
    def is_color(self) -> bool:
        """Whether the picture is RGBA; otherwise it is modality values."""
        return self.rendering_method == "volume_rendered"

    @property
    def slice_mm(self) -> float:
        """Where the plane is: its position along the axis of `with_slice`, mm."""
        return float(np.dot(self.camera.look_at, self._slice_axis))

    @property
    def _slice_axis(self) -> Float64Array:
        forward = self.camera.basis[2]
        return forward if forward[np.abs(forward).argmax()] > 0 else -forward

    def with_slice(self, slice_mm: float) -> View:
        """Move the plane along its normal to an absolute position.

        Positions are patient coordinates, mm: z of an axial, y of a coronal, x of a sagittal plane. For an oblique
        one they are measured along the normal from the patient's origin, in the direction whose largest component
        is positive (left, back or head).
        """
        if not isinstance(slice_mm, numbers.Real):
            raise TypeError(f"slice_mm: a number needed, not {slice_mm!r:.80}")
        offset_mm = float(slice_mm) - self.slice_mm
        if not math.isfinite(offset_mm):
            raise InvalidArgumentError(f"slice_mm {slice_mm}: not finite")
        return replace(self, camera=self.camera.moved(self._slice_axis * offset_mm))

    def with_slab(self, slab_mm: float | None, method: RenderingMethod | None = None) -> View:
        """Change the thickness (0: thin; None: the whole volume), and the method if one is given."""
        return replace(
            self,
            slab_mm=None if slab_mm is None else float(slab_mm),
            rendering_method=self.rendering_method if method is None else method,
        )

    def with_size(self, width_px: int, height_px: int) -> View:
        """Change the number of pixels; what is seen from top to bottom stays."""
        return replace(self, viewport=replace(self.viewport, width_px=width_px, height_px=height_px))

    def with_window(
        self, window: Window | float | None, width: float | None = None, function: WindowFunction = "linear-exact"
    ) -> View:
        """Change the window: a `Window`, a center and a width, or None for the volume's default."""
        if isinstance(window, numbers.Real):
            if width is None:
                raise InvalidArgumentError("with_window: a center needs a width")
            window = Window(float(window), float(width), function)
        if not (window is None or isinstance(window, Window)):
            raise TypeError(f"with_window: a Window, a center and a width, or None needed, not {window!r:.80}")
        return self._with_layer(replace(self.layers[0], window=window))

    def with_transfer_function(self, transfer_function: TransferFunction | str | None) -> View:
        """Change the transfer function: one, a preset's name, or None for the modality's default."""
        if isinstance(transfer_function, str):
            transfer_function = TransferFunction(transfer_function)
        return self._with_layer(replace(self.layers[0], transfer_function=transfer_function))

    def inverted(self, invert: bool = True) -> View:
        """Show gray inverted, or not."""
        return self._with_layer(replace(self.layers[0], invert=invert))

    def flipped(self, horizontal: bool = False, vertical: bool = False) -> View:
        """Mirror the picture as it is now."""
        viewport = self.viewport
        return replace(
            self,
            viewport=replace(
                viewport,
                flip_horizontal=viewport.flip_horizontal != horizontal,
                flip_vertical=viewport.flip_vertical != vertical,
            ),
        )

    def rotated(self, azimuth_deg: float = 0.0, elevation_deg: float = 0.0) -> View:
        """Turn the camera around `look_at`.

        Parameters
        ----------
        azimuth_deg
            Around the picture's vertical axis: the camera goes to the right, what is seen turns to the left.
        elevation_deg
            Around the picture's horizontal axis after that: the camera goes up. Any angle; `up` turns with it.
        """
        camera = self.camera
        right, down, forward = camera.basis
        turn = _rotation(-down, azimuth_deg)
        turn = _rotation(turn @ right, -elevation_deg) @ turn
        distance_mm = math.dist(camera.look_at, camera.position)
        return replace(
            self,
            camera=replace(
                camera,
                position=vector(camera.look_at - turn @ forward * distance_mm),
                up=vector(turn @ -down),
            ),
        )

    def panned(self, right_mm: float, down_mm: float) -> View:
        """Move the camera within the picture's plane; what is seen goes the other way."""
        right, down, _ = self.camera.basis
        return replace(self, camera=self.camera.moved(right * right_mm + down * down_mm))

    def zoomed(self, factor: float) -> View:
        """Magnify by a factor over 0; a perspective camera steps closer."""
        if not factor > 0:
            raise InvalidArgumentError(f"zoom factor {factor}: over 0 needed")
        camera = self.camera
        if camera.parallel_scale_mm is not None:
            return replace(self, camera=replace(camera, parallel_scale_mm=camera.parallel_scale_mm / factor))
        eye = np.array(camera.look_at) + np.subtract(camera.position, camera.look_at) / factor
        return replace(self, camera=replace(camera, position=vector(eye)))

    def perspective(self, fov_deg: float = 30.0) -> View:
        """Look in perspective instead, from where the plane through `look_at` keeps its size."""
        camera = self.camera
        distance_mm = camera.half_height_mm / math.tan(math.radians(fov_deg) / 2)
        eye = np.array(camera.look_at) - camera.basis[2] * distance_mm
        return replace(
            self, camera=replace(camera, position=vector(eye), parallel_scale_mm=None, fov_deg=float(fov_deg))
        )

    def of(self, volume: HasGeometry) -> View:
        """Show another volume at the same place, with its default window and transfer function."""
        return self._with_layer(Layer(volume.id))

    def of_phase(self, phase: Phase) -> View:
        """Show another phase of the volume at the same place, with the same window and transfer function."""
        return self._with_layer(replace(self.layers[0], volume_id=phase.volume_id))

    def _with_layer(self, layer: Layer) -> View:
        return replace(self, layers=(layer, *self.layers[1:]))


def check_view(view: object) -> None:
    """Raise TypeError, which says what makes a View, unless `view` is one."""
    if not isinstance(view, View):
        raise TypeError(f"a View is needed, not {view!r:.80}: volume.axial() makes one, or View.axial(volume)")


def _oriented_camera(geometry: VolumeGeometry, orientation: Orientation) -> Camera:
    try:
        side, up = _ORIENTATIONS[orientation]
    except (KeyError, TypeError):
        raise InvalidArgumentError(f"orientation {orientation!r}: one of {' '.join(_ORIENTATIONS)} needed") from None
    position = np.array(geometry.center_mm) + np.multiply(side, geometry.diagonal_mm)
    return Camera(vector(position), geometry.center_mm, up, parallel_scale_mm=geometry.diagonal_mm / 2)


def _around(cls: type[View], volume: HasGeometry, orientation: Orientation, size_px: tuple[int, int]) -> View:
    """Return a view that the volume's bounding sphere fits into, however it turns."""
    width_px, height_px = size_px
    scale_mm = volume.geometry.diagonal_mm / 2 * FIT_MARGIN * max(1.0, height_px / width_px)
    camera = replace(_oriented_camera(volume.geometry, orientation), parallel_scale_mm=scale_mm)
    return cls(camera, Viewport(width_px, height_px), (Layer(volume.id),))


def _at_slice(view: View, slice_mm: float | None) -> View:
    return view if slice_mm is None else view.with_slice(slice_mm)


def _rotation(axis: Float64Array, angle_deg: float) -> Float64Array:
    """Rotation about a unit axis, right-handed (Rodrigues), float64 (3, 3)."""
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = math.radians(angle_deg)
    result: Float64Array = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return result

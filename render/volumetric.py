"""One picture of a volume in the words of DICOM PS3.18 (8.3.5.3): what the command line and DICOMweb ask for.

The words become a View here and nowhere else. Lengths are mm, places are LPS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from render.initial_views import whole_volume_method
from render.transfer import TransferFunction, Window, WindowFunction, load_preset
from render.view import (
    Camera,
    Layer,
    Orientation,
    RenderingMethod,
    Vector,
    View,
    Viewport,
    fitted_camera,
    oriented_camera,
)
from render.volume import VolumeInfo

DEFAULT_VIEWPORT = Viewport(512, 512)


@dataclass(frozen=True)
class VolumetricRequest:
    """A plane through a volume, or the whole of it from outside.

    Attributes
    ----------
    is_mpr
        A plane; else the whole volume.
    rendering_method
        None for the default: the mean for a plane, what a reader expects of the modality for the whole.
    orientation
        The side viewed; excludes the viewpoint.
    viewpoint_position, viewpoint_look_at, viewpoint_up
        Of the camera. What is missing of them is that of a view from the front onto the volume's centre.
    default_orientation
        The side viewed where neither is given.
    slab_mm
        Thickness of the plane; None for thin.
    preset, shift
        Transfer function of `volume_rendered` by name, moved along the values by so many units.
    """

    is_mpr: bool
    viewport: Viewport = DEFAULT_VIEWPORT
    rendering_method: RenderingMethod | None = None
    orientation: Orientation | None = None
    viewpoint_position: Vector | None = None
    viewpoint_look_at: Vector | None = None
    viewpoint_up: Vector | None = None
    default_orientation: Orientation = Orientation.ANTERIOR
    slab_mm: float | None = None
    window: Window | None = None
    preset: str | None = None
    shift: float | None = None

    def view(self, volume_id: str, geometry: VolumeGeometry, info: VolumeInfo) -> View:
        """Return the View of a volume that is asked for.

        Raises
        ------
        InvalidArgumentError
            For words that exclude each other, or a number out of range.
        InvalidViewError
            For a camera or viewport that can't be drawn.
        """
        method, invert = self._method(info)
        if self.slab_mm is not None and not self.is_mpr:
            raise InvalidArgumentError("mprslab is for planes (MPR)", field="mprslab")
        if self.slab_mm is not None and not (math.isfinite(self.slab_mm) and self.slab_mm > 0):
            raise InvalidArgumentError(f"mprslab {self.slab_mm:g}: over 0 needed", field="mprslab")
        layer = Layer(volume_id, self.window, self._transfer_function(method), invert=invert)
        slab_mm = (self.slab_mm or 0.0) if self.is_mpr else None
        return View(self._camera(geometry), self.viewport, (layer,), method, slab_mm)

    def _method(self, info: VolumeInfo) -> tuple[RenderingMethod, bool]:
        """Return how samples reduce, and whether gray is inverted, as it is where a PET is shown unasked."""
        if self.rendering_method is not None:
            return self.rendering_method, False
        if self.is_mpr:
            return RenderingMethod.AVERAGE_IP, False
        if self.preset is not None:
            return RenderingMethod.VOLUME_RENDERED, False
        return whole_volume_method(info)

    def _transfer_function(self, method: RenderingMethod) -> TransferFunction | None:
        if self.preset is None:
            if self.shift is not None:
                raise InvalidArgumentError("shift moves a preset, and none is given", field="shift")
            return None
        if method is not RenderingMethod.VOLUME_RENDERED:
            raise InvalidArgumentError("preset is for the rendering method volume_rendered", field="preset")
        found = load_preset(self.preset)
        if self.shift is None:
            return found
        if not math.isfinite(self.shift):
            raise InvalidArgumentError(f"shift {self.shift}: not finite", field="shift")
        return found.shifted(self.shift)

    def _camera(self, geometry: VolumeGeometry) -> Camera:
        position, look_at, up = self.viewpoint_position, self.viewpoint_look_at, self.viewpoint_up
        if position is None and look_at is None and up is None:
            return oriented_camera(self.orientation or self.default_orientation, geometry, self.viewport)
        if self.orientation is not None:
            raise InvalidArgumentError("orientation excludes the viewpoint...", field="orientation")
        front = oriented_camera(Orientation.ANTERIOR, geometry, self.viewport, look_at=look_at)
        return fitted_camera(
            geometry,
            self.viewport,
            position=front.position if position is None else position,
            look_at=front.look_at if look_at is None else look_at,
            up=front.up if up is None else up,
        )


def parse_vector(text: str) -> Vector:
    """Read ``x,y,z``.

    Raises
    ------
    InvalidArgumentError
        Like the other parsers here: what was given, and what is needed.
    """
    try:
        x, y, z = (float(part) for part in text.split(","))
    except ValueError:
        raise InvalidArgumentError(f"{text[:80]!r}: 3 numbers with commas between them needed") from None
    return x, y, z


def parse_viewport(text: str) -> Viewport:
    """Read ``width,height``, pixels."""
    try:
        width, height = (int(part) for part in text.split(","))
    except ValueError:
        raise InvalidArgumentError(f"{text[:80]!r}: width,height in pixels needed") from None
    return Viewport(width, height)


def parse_window(text: str) -> Window:
    """Read ``center,width,function``: all three, as PS3.18 has it."""
    given = text.split(",")
    functions = [member for member in WindowFunction if member is not WindowFunction.VOI_LUT]
    function = next((each for each in functions if each.value == given[-1].strip().lower()), None)
    try:
        if len(given) != 3 or function is None:
            raise ValueError
        center, width = float(given[0]), float(given[1])
    except ValueError:
        raise InvalidArgumentError(
            f"{text[:80]!r}: center,width,{'|'.join(each.value for each in functions)} needed"
        ) from None
    return Window(center, width, function)

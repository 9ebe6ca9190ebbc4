"""What is drawn: the volumes, the works, and from where."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from render.demo import torso_volume
from render.geometry import VolumeGeometry
from render.transfer import TransferFunction, load_preset
from render.view import Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume, VolumeInfo

SLAB_MM = 20.0
TURN_DEG = 3.0
"""From one frame to the next: nothing can be reused."""
SCROLL_VOXELS = 1.37
"""From one axis-aligned plane to the next, of the smallest spacing: neither a voxel's centre nor half-way."""
NOISE = "noise"
"""The volume in which nothing can be skipped: reported, but no part of a median."""
TORSO = "demo_torso"


@dataclass(frozen=True)
class Work:
    """One kind of picture. `is_flat` is a plane or a slab; the others are seen whole."""

    name: str
    method: RenderingMethod
    slab_mm: float | None
    shaded: bool = False

    @property
    def is_flat(self) -> bool:
        """Whether this is an MPR."""
        return self.slab_mm is not None


WORKS = (
    Work("thin_mpr", RenderingMethod.MAXIMUM_IP, 0.0),
    Work("slab_max", RenderingMethod.MAXIMUM_IP, SLAB_MM),
    Work("slab_mean", RenderingMethod.AVERAGE_IP, SLAB_MM),
    Work("mip", RenderingMethod.MAXIMUM_IP, None),
    Work("vr_unshaded", RenderingMethod.VOLUME_RENDERED, None),
    Work("vr_shaded", RenderingMethod.VOLUME_RENDERED, None, shaded=True),
)


@dataclass(frozen=True)
class Viewpoint:
    """From where.

    Attributes
    ----------
    name
        In the report.
    orientation
        The side from which the camera starts.
    turn_deg, tilt_deg
        Then turned about the picture's vertical and its horizontal; 0 and 0 for the axis-aligned ones.
    fov_deg
        Vertical angle of view; None for orthographic.
    distance
        Of the eye from the volume's centre, diagonals of the volume: over 0.5 is outside of it.
    """

    name: str
    orientation: Orientation
    turn_deg: float = 0.0
    tilt_deg: float = 0.0
    fov_deg: float | None = None
    distance: float = 1.0

    @property
    def is_axial(self) -> bool:
        """Whether the rays run along the patient's axes."""
        return not (self.turn_deg or self.tilt_deg)

    @property
    def projection(self) -> str:
        """``orthographic`` or ``perspective``."""
        return "orthographic" if self.fov_deg is None else "perspective"


OBLIQUE = Viewpoint("oblique", Orientation.ANTERIOR, 37.0, 21.0)
VIEWPOINTS = (
    Viewpoint("feet", Orientation.FEET),
    Viewpoint("anterior", Orientation.ANTERIOR),
    Viewpoint("left", Orientation.LEFT),
    OBLIQUE,
    Viewpoint("steep", Orientation.LEFT, -24.0, 52.0),
    Viewpoint("perspective", Orientation.ANTERIOR, 37.0, 21.0, 35.0),
    Viewpoint("perspective_near", Orientation.POSTERIOR, 28.0, -17.0, 55.0, 0.6),
)
QUICK_VIEWPOINTS = tuple(each for each in VIEWPOINTS if each.name in ("oblique", "perspective"))


def viewpoints_of(work: Work, chosen: tuple[Viewpoint, ...]) -> tuple[Viewpoint, ...]:
    """Return those of a work: all for planes; whole volumes, whose peer is slow, are not seen from the feet."""
    return tuple(each for each in chosen if work.is_flat or each.name != "feet")


@dataclass(frozen=True)
class Subject:
    """A volume and how it is volume rendered."""

    name: str
    volume: Volume
    transfer_function: TransferFunction


def torso(shape: tuple[int, int, int]) -> Subject:
    """Return the demonstration's volume, on a grid of this shape."""
    return Subject(TORSO, torso_volume(shape), load_preset("CT-AAA"))


def real_subjects(data: Path | None) -> Iterator[Subject]:
    """Yield the real series one by one, where `data`, their folder, has them."""
    for name, preset in (("petct_acrin_fusion/ct", "CT-AAA"), ("mr_head_t1_oblique_192", "MR-Default")):
        if data is not None and (data / name).is_dir():
            yield Subject(name, _load(data / name), load_preset(preset))


def data_folder() -> Path | None:
    """Return $VOXELCAST_TEST_DATA, else ../shared/data beside the checkout; None where it is not there."""
    given = os.environ.get("VOXELCAST_TEST_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if folder.is_dir() else None


def _load(folder: Path) -> Volume:
    from render.dicom.pixels import load_volume
    from render.dicom.series import select
    from render.dicom.source import scan

    return load_volume(select(scan(folder)))


def noise(side: int) -> Subject:
    """Return uniform noise, -1000 to 1500 HU, a cube of 1 mm voxels: nothing can be skipped."""
    codes = np.random.default_rng(1).integers(-1000, 1501, (side, side, side), np.int16)
    middle = -(side - 1) / 2
    geometry = VolumeGeometry.from_axes(codes.shape, (middle, middle, middle), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    volume = Volume(NOISE, geometry, codes, info=VolumeInfo(modality="CT", units="HU"))
    return Subject(NOISE, volume, load_preset("CT-AAA"))


def view_of(subject: Subject, work: Work, viewpoint: Viewpoint, frame: int, side_px: int) -> View:
    """Return the View of the frame of this number.

    Frame by frame, axis-aligned planes move on by `SCROLL_VOXELS`, as when one scrolls; axis-aligned views of the whole
    volume turn about the line of sight, so that their rays stay along the axis; all others turn about the picture's
    vertical.
    """
    geometry = subject.volume.geometry
    viewport = Viewport(side_px, side_px)
    camera = oriented_camera(viewpoint.orientation, geometry, viewport)
    look_at = np.array(camera.look_at)
    right, down, forward = camera.basis
    advance = frame * TURN_DEG
    if viewpoint.is_axial:
        rotation = np.eye(3) if work.is_flat else _rotation(forward, advance)
    else:
        rotation = _rotation(down, viewpoint.turn_deg + advance) @ _rotation(right, viewpoint.tilt_deg)
    if viewpoint.is_axial and work.is_flat:
        look_at = look_at + forward * (frame * SCROLL_VOXELS * geometry.smallest_spacing_mm)
    position = look_at - rotation @ forward * (viewpoint.distance * geometry.diagonal_mm)
    camera = replace(camera, position=_point(position), look_at=_point(look_at), up=_point(rotation @ camera.up))
    if viewpoint.fov_deg is not None:
        camera = replace(camera, parallel_scale_mm=None, fov_deg=viewpoint.fov_deg)
    function = subject.transfer_function
    if not work.shaded:
        function = replace(function, shading=None)
    return View(camera, viewport, (Layer(subject.volume.id, transfer_function=function),), work.method, work.slab_mm)


def _rotation(axis: npt.NDArray[np.float64], degrees: float) -> npt.NDArray[np.float64]:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    result: npt.NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return result


def _point(array: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(component) for component in array)
    return x, y, z

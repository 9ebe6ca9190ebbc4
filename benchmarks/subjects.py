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

SIDE_PX = 512
SLAB_MM = 20.0
TURN_DEG = 3.0
"""From one frame to the next, about the picture's vertical: nothing can be reused."""
OBLIQUE_DEG = (37.0, 21.0)
"""Turn and tilt of the oblique views: no axis of any grid."""


@dataclass(frozen=True)
class Work:
    """One kind of picture. `is_flat` is a plane or a slab, seen head-on; the others are seen whole."""

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
class Subject:
    """A volume and how it is volume rendered."""

    name: str
    volume: Volume
    transfer_function: TransferFunction


def subjects(data: Path | None) -> Iterator[Subject]:
    """Yield the volumes one by one; real series only if `data` is their folder."""
    yield Subject("demo_torso", torso_volume(), load_preset("CT-AAA"))
    if data is not None:
        for name, folder, preset in (
            ("petct_acrin_fusion/ct", data / "petct_acrin_fusion" / "ct", "CT-AAA"),
            ("mr_head_t1_oblique_192", data / "mr_head_t1_oblique_192", "MR-Default"),
        ):
            if folder.is_dir():
                yield Subject(name, _load(folder), load_preset(preset))
    yield Subject("noise", noise_volume(), load_preset("CT-AAA"))


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


def noise_volume() -> Volume:
    """Uniform noise, -1000 to 1500 HU, 256 voxels a side: nothing can be skipped."""
    codes = np.random.default_rng(1).integers(-1000, 1501, (256, 256, 256), np.int16)
    geometry = VolumeGeometry.from_axes(codes.shape, (-127.5, -127.5, -127.5), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    return Volume("noise", geometry, codes, info=VolumeInfo(modality="CT", units="HU"))


def view_names(work: Work, *, quick: bool) -> tuple[str, ...]:
    """Return the views of a work."""
    if quick:
        return ("oblique",)
    return ("feet", "anterior", "oblique") if work.is_flat else ("anterior", "left", "oblique", "perspective")


def view_of(subject: Subject, work: Work, name: str, frame: int) -> View:
    """Return the View of the frame of this number."""
    geometry = subject.volume.geometry
    viewport = Viewport(SIDE_PX, SIDE_PX)
    orientation = {"feet": Orientation.FEET, "left": Orientation.LEFT}.get(name, Orientation.ANTERIOR)
    camera = oriented_camera(orientation, geometry, viewport)
    turn, tilt = OBLIQUE_DEG if name in ("oblique", "perspective") else (0.0, 0.0)
    look_at = np.array(camera.look_at)
    right, down, forward = camera.basis
    if work.is_flat and not turn:
        # A parallel plane: the next slices, as when one scrolls.
        offset = forward * (frame * 1.37 * geometry.smallest_spacing_mm)
        camera = replace(camera, position=_point(camera.position + offset), look_at=_point(look_at + offset))
    else:
        rotation = _rotation(down, turn + frame * TURN_DEG) @ _rotation(right, tilt)
        position = look_at + rotation @ (np.array(camera.position) - look_at)
        camera = replace(camera, position=_point(position), up=_point(rotation @ np.array(camera.up)))
    if name == "perspective":
        camera = replace(camera, parallel_scale_mm=None, fov_deg=35.0)
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

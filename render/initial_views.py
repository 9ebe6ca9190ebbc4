"""The views that a volume is first shown in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from render.geometry import VolumeGeometry
from render.view import (
    MIN_PARALLEL_SCALE_MM,
    Camera,
    Layer,
    Orientation,
    RenderingMethod,
    View,
    Viewport,
    oriented_camera,
)
from render.volume import Volume, VolumeInfo

FIRST_VIEWPORT = Viewport(512, 512)
OBLIQUE_DEG = 1.0
"""An acquisition whose slices are tilted further than this against all three planes is shown at its own plane first."""

PLANES = (("axial", Orientation.FEET), ("coronal", Orientation.ANTERIOR), ("sagittal", Orientation.LEFT))


@dataclass(frozen=True)
class NamedView:
    """A View and what it is called: ``acquisition``, ``axial``, ``coronal``, ``sagittal``, ``3d``."""

    name: str
    view: View


def initial_views(volume: Volume, viewport: Viewport = FIRST_VIEWPORT) -> tuple[NamedView, ...]:
    """Return thin planes through the volume's centre and the whole volume, all fitted to the viewport.

    Parameters
    ----------
    volume
        What is shown.
    viewport
        Of each view.

    Returns
    -------
    tuple of NamedView
        ``acquisition`` (where the slices are oblique: their own plane, one pixel a voxel where it fits), ``axial``
        (from the feet, up is anterior), ``coronal`` (from the front), ``sagittal`` (from the left), ``3d`` (from the
        front; volume rendering, but an inverted maximum projection for PET).
    """
    geometry = volume.geometry
    layer = Layer(volume.id)

    def plane(camera: Camera) -> View:
        return View(camera, viewport, (layer,), RenderingMethod.AVERAGE_IP, 0.0)

    views = [NamedView(name, plane(oriented_camera(side, geometry, viewport))) for name, side in PLANES]
    if is_oblique(geometry):
        views.insert(0, NamedView("acquisition", plane(acquisition_camera(geometry, viewport))))
    front = oriented_camera(Orientation.ANTERIOR, geometry, viewport)
    method, invert = whole_volume_method(volume.info)
    if volume.is_color:
        method, invert = RenderingMethod.MAXIMUM_IP, False
    return (*views, NamedView("3d", View(front, viewport, (Layer(volume.id, invert=invert),), method, None)))


def whole_volume_method(info: VolumeInfo) -> tuple[RenderingMethod, bool]:
    """Return how a whole volume is first shown, and whether inverted: PET as readers know it, the rest in colour."""
    if info.modality == "PT":
        return RenderingMethod.MAXIMUM_IP, True
    return RenderingMethod.VOLUME_RENDERED, False


def is_oblique(geometry: VolumeGeometry) -> bool:
    """Whether the slices' normal leaves all three patient axes by more than `OBLIQUE_DEG`."""
    i_step, j_step, _ = geometry.patient_from_voxel[:3, :3].T
    normal = np.cross(i_step, j_step)
    nearest = float(np.abs(normal).max() / np.linalg.norm(normal))
    return math.degrees(math.acos(min(1.0, nearest))) > OBLIQUE_DEG


def acquisition_camera(geometry: VolumeGeometry, viewport: Viewport) -> Camera:
    """Look at the middle slice as it was acquired: columns to the right, rows downwards, pixels as large as voxels.

    A slice that is larger than the viewport is shown at that scale nevertheless, centred: native pixels are the point.
    The plane lies on the middle slice's voxel centres, so that nothing is interpolated between slices.
    """
    i_step, j_step, _ = geometry.patient_from_voxel[:3, :3].T
    slices, rows, columns = geometry.shape
    # Half a pixel off the middle for odd/even mismatches, so that pixel centres meet voxel centres.
    middle_i = (columns - 1) / 2 + ((columns - viewport.width_px) % 2) / 2
    middle_j = (rows - 1) / 2 + ((rows - viewport.height_px) % 2) / 2
    target = geometry.to_patient((middle_i, middle_j, slices // 2))
    ahead = np.cross(i_step, j_step)
    ahead /= np.linalg.norm(ahead)
    # A left-handed grid has slices stacked against the normal; the picture is the same.
    position = target - ahead * geometry.diagonal_mm
    scale = max(MIN_PARALLEL_SCALE_MM, float(np.linalg.norm(j_step)) * viewport.height_px / 2)
    x, y, z = (float(c) for c in position)
    u, v, w = (float(c) for c in -j_step / np.linalg.norm(j_step))
    a, b, c = (float(component) for component in target)
    return Camera((x, y, z), (a, b, c), (u, v, w), parallel_scale_mm=scale)

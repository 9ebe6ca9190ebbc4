"""Rays along an axis of the voxels: the same picture as by samples one by one, from all six sides."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest

from render.backends import rays
from render.backends.cpu import CpuRenderer
from render.backends.rays import NO_AXIS, WHOLE_TOLERANCE
from render.frame import Quality
from render.geometry import VolumeGeometry
from render.view import Camera, Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume
from tests.backends.cpu.scenes import body, view_of

AXES = dict(zip("lraphf", (0, 0, 1, 1, 2, 2), strict=True))
SIDES = pytest.mark.parametrize("side", list(Orientation), ids=lambda o: o.value)


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(2)
    yield renderer
    renderer.close()


def side_view(volume: Volume, work: str, side: Orientation, turn_deg: float = 0.0) -> View:
    """Look from a side, not at a voxel's centre; turned about the picture's vertical."""
    view = view_of(volume, work, (70, 45))
    camera = oriented_camera(side, volume.geometry, Viewport(70, 45))
    away = np.subtract(camera.position, camera.look_at)
    turn = np.radians(turn_deg)
    away = away * np.cos(turn) + camera.basis[0] * np.linalg.norm(away) * np.sin(turn)
    target = np.add(camera.look_at, [0.31, -0.17, 0.23])
    turned = Camera(tuple(target + away), tuple(target), camera.up, parallel_scale_mm=camera.parallel_scale_mm)
    return dataclasses.replace(view, camera=turned)


def draw(renderer: CpuRenderer, volume: Volume, view: View, quality: Quality) -> np.ndarray:
    return renderer.render(view, {volume.id: renderer.upload(volume)}, quality=quality).values


@SIDES
@pytest.mark.parametrize("step_factor", [1.0, 1.9, 5.0])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize("work", ["slab_max", "max", "min", "mean"])
@pytest.mark.parametrize("holes", [False, True], ids=["whole", "holes"])
def test_the_picture_is_that_of_samples_one_by_one(
    renderer: CpuRenderer,
    monkeypatch: pytest.MonkeyPatch,
    side: Orientation,
    step_factor: float,
    dtype: type,
    work: str,
    holes: bool,
) -> None:
    volume = body(dtype, holes=holes)
    view = side_view(volume, work, side)
    quality = Quality(step_factor=step_factor)
    found: list[float] = []
    axis_of = rays.axis_of
    monkeypatch.setattr(rays, "axis_of", lambda *given: found.append(axis_of(*given)) or found[-1])
    got = draw(renderer, volume, view, quality)
    assert found == [AXES[side.value]]
    monkeypatch.setattr(rays, "axis_of", lambda *_: NO_AXIS)
    expected = draw(renderer, volume, view, quality)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    assert np.isfinite(got).mean() > 0.3
    # Along x int16 voxels are weighted with 14 bits by the one and in float32 by the other; float32 loses less than
    # that of a coordinate of 64 voxels. Neighbours differ by 1,600 at most.
    np.testing.assert_allclose(got, expected, atol=1600 * WHOLE_TOLERANCE, rtol=0)


@SIDES
def test_a_turned_camera_has_no_axis(renderer: CpuRenderer, monkeypatch: pytest.MonkeyPatch, side: Orientation) -> None:
    """A tenth of a degree is a tenth of a voxel through this volume."""
    volume = body()
    found: list[float] = []
    axis_of = rays.axis_of
    monkeypatch.setattr(rays, "axis_of", lambda *given: found.append(axis_of(*given)) or found[-1])
    draw(renderer, volume, side_view(volume, "max", side, turn_deg=0.1), Quality())
    assert found == [NO_AXIS]


def test_a_sheared_grid_has_no_axis_where_its_slices_shift() -> None:
    """Seen along the normal of a tilted gantry's slices, rays cross the columns of voxels."""
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[1, 2] = 0.4
    geometry = VolumeGeometry((20, 20, 20), affine)
    p = parameters(geometry, Orientation.FEET)
    assert p[rays.AXIS] == NO_AXIS
    affine[1, 2] = 0.0
    assert parameters(VolumeGeometry((20, 20, 20), affine), Orientation.FEET)[rays.AXIS] == 2


def test_rays_that_meet_in_the_eye_have_no_axis() -> None:
    geometry = VolumeGeometry((20, 20, 20), np.eye(4))
    p = parameters(geometry, Orientation.FEET, fov_deg=30.0, parallel_scale_mm=None)
    assert p[rays.AXIS] == NO_AXIS


def parameters(geometry: VolumeGeometry, side: Orientation, **lens: float | None) -> np.ndarray:
    viewport = Viewport(32, 32)
    camera = dataclasses.replace(oriented_camera(side, geometry, viewport), **lens)
    view = View(camera, viewport, (Layer("sheared"),), RenderingMethod.MAXIMUM_IP, None)
    return rays.ray_parameters(geometry, camera, view.plane, (32, 32), rays.lattice_of(geometry, None, 1.0))

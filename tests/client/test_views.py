"""Views that the client makes are the server's own."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, replace
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render import geometry as server_geometry
from render import transfer as server_transfer
from render import view as server_view
from voxelcast import Camera, InvalidArgumentError, View, Viewport, VolumeDescription, VolumeGeometry, Window, convert
from voxelcast.views import Orientation

AFFINE = np.array([[0.7, 0.1, 0.3, -90], [-0.1, 0.8, 0.2, 15], [0, -0.1, 2.5, 400], [0, 0, 0, 1]])
VOLUME = VolumeDescription(id="volume", geometry=VolumeGeometry((30, 50, 70), AFFINE))
SERVER_GEOMETRY = server_geometry.VolumeGeometry((30, 50, 70), AFFINE)

angles = st.floats(-720, 720)
coordinates = st.floats(-500, 500)


@pytest.mark.parametrize("orientation", [word for word in get_args(Orientation) if len(word) == 1])
@pytest.mark.parametrize("size_px", [(512, 512), (300, 700), (700, 300)])
def test_planes_are_those_of_the_server(orientation: Orientation, size_px: tuple[int, int]) -> None:
    camera = View.oriented(VOLUME, orientation, size_px=size_px).camera
    theirs = server_view.oriented_camera(
        server_view.Orientation(orientation), SERVER_GEOMETRY, server_view.Viewport(*size_px)
    )
    for name in ("position", "look_at", "up", "parallel_scale_mm"):
        np.testing.assert_allclose(getattr(camera, name), getattr(theirs, name), rtol=0, atol=1e-9, err_msg=name)


def test_a_plane_has_a_name() -> None:
    for name, view in (("axial", View.axial), ("coronal", View.coronal), ("sagittal", View.sagittal)):
        assert View.oriented(VOLUME, name) == view(VOLUME)
    assert View.mip(VOLUME, "coronal") == View.mip(VOLUME, "a")
    with pytest.raises(InvalidArgumentError, match="'side': one of a p r l h f axial coronal sagittal needed"):
        View.oriented(VOLUME, "side")  # type: ignore[arg-type]


def test_what_is_no_view_is_refused_in_words() -> None:
    for word in ("axial", 3.5, b"a"):
        with pytest.raises(TypeError, match=r"a View is needed, not .*: volume.axial\(\) makes one"):
            convert.view_to_proto(word)  # type: ignore[arg-type]


def test_the_geometry_is_that_of_the_server() -> None:
    for name in ("spacing_mm", "center_mm", "corners_mm", "diagonal_mm"):
        np.testing.assert_allclose(getattr(VOLUME.geometry, name), getattr(SERVER_GEOMETRY, name), atol=1e-9)
    index = [[3.5, 2, 1], [0, 0, 0]]
    np.testing.assert_allclose(VOLUME.geometry.to_voxel(VOLUME.geometry.to_patient(index)), index, atol=1e-9)


@given(coordinates)
def test_a_slice_is_at_its_coordinate(slice_mm: float) -> None:
    for view, axis in (
        (View.axial(VOLUME, slice_mm), 2),
        (View.coronal(VOLUME, slice_mm), 1),
        (View.sagittal(VOLUME, slice_mm), 0),
    ):
        assert view.camera.look_at[axis] == pytest.approx(slice_mm, abs=1e-9)
        assert view.slice_mm == pytest.approx(slice_mm, abs=1e-9)
        others = [n for n in range(3) if n != axis]
        centre = np.array(VOLUME.geometry.center_mm)
        np.testing.assert_allclose(np.array(view.camera.look_at)[others], centre[others], atol=1e-9)


@given(angles, angles, coordinates)
def test_an_oblique_slice_moves_along_its_normal(azimuth: float, elevation: float, slice_mm: float) -> None:
    view = View.axial(VOLUME).rotated(azimuth, elevation)
    moved = view.with_slice(slice_mm)
    assert moved.slice_mm == pytest.approx(slice_mm, abs=1e-6)
    way = np.subtract(moved.camera.look_at, view.camera.look_at)
    assert np.linalg.norm(np.cross(way, view.camera.basis[2])) == pytest.approx(0, abs=1e-6)


@given(angles, angles)
def test_turning_keeps_the_distance_and_the_target(azimuth: float, elevation: float) -> None:
    view = View.volume_rendering(VOLUME)
    turned = view.rotated(azimuth, elevation).camera
    assert turned.look_at == view.camera.look_at
    assert math.dist(turned.position, turned.look_at) == pytest.approx(
        math.dist(view.camera.position, view.camera.look_at)
    )
    right, down, forward = turned.basis
    np.testing.assert_allclose(np.cross(forward, right), down, atol=1e-9)


@pytest.mark.parametrize(
    ("azimuth", "elevation", "orientation"),
    [(90, 0, "l"), (-90, 0, "r"), (180, 0, "p"), (0, 90, "h"), (0, -90, "f")],
)
def test_turning_from_the_front_reaches_the_other_sides(
    azimuth: float, elevation: float, orientation: Orientation
) -> None:
    turned = View.oriented(VOLUME, "a").rotated(azimuth, elevation).camera.basis[2]
    np.testing.assert_allclose(turned, View.oriented(VOLUME, orientation).camera.basis[2], atol=1e-9)


@pytest.mark.parametrize("orientation", [word for word in get_args(Orientation) if len(word) == 1])
@pytest.mark.parametrize("size_px", [(512, 512), (300, 700), (700, 300)])
def test_a_3d_view_shows_all_corners_however_it_turns(orientation: Orientation, size_px: tuple[int, int]) -> None:
    view = View.mip(VOLUME, orientation, size_px=size_px).rotated(33, 21)
    right, down, _ = view.camera.basis
    offsets = VOLUME.geometry.corners_mm - np.array(view.camera.look_at)
    half_height = view.camera.half_height_mm
    assert np.abs(offsets @ down).max() < half_height
    assert np.abs(offsets @ right).max() < half_height * size_px[0] / size_px[1]


def test_perspective_keeps_the_size_at_the_target() -> None:
    view = View.volume_rendering(VOLUME)
    assert view.perspective(30).camera.half_height_mm == pytest.approx(view.camera.half_height_mm)
    assert view.perspective(30).zoomed(2).camera.half_height_mm == pytest.approx(view.camera.half_height_mm / 2)
    assert view.zoomed(2).camera.half_height_mm == pytest.approx(view.camera.half_height_mm / 2)


def test_panning_moves_within_the_plane() -> None:
    view = View.sagittal(VOLUME)
    moved = view.panned(3, 4)
    assert math.dist(view.camera.look_at, moved.camera.look_at) == pytest.approx(5)
    assert moved.slice_mm == pytest.approx(view.slice_mm)


def test_changes_make_a_new_view() -> None:
    view = View.axial(VOLUME)
    changed = view.with_window(40, 400).with_slab(5, "average_ip").with_size(10, 20).inverted().flipped(horizontal=True)
    assert changed.layers[0].window == Window(40, 400)
    assert (changed.slab_mm, changed.rendering_method) == (5.0, "average_ip")
    assert changed.viewport == Viewport(10, 20, flip_horizontal=True)
    assert changed.layers[0].invert
    assert changed.flipped(horizontal=True).viewport == Viewport(10, 20)
    assert view == View.axial(VOLUME)
    assert replace(changed, viewport=view.viewport).viewport == view.viewport
    with pytest.raises(FrozenInstanceError):
        view.slab_mm = 3  # type: ignore[misc]


def test_another_volume_gets_its_own_window() -> None:
    other = replace(VOLUME, id="other")
    view = View.axial(VOLUME).with_window(40, 400).of(other)
    assert (view.volume_id, view.layers[0].window) == ("other", None)


@pytest.mark.parametrize("function", ["linear", "linear-exact", "sigmoid"])
@given(center=coordinates, width=st.floats(1, 4000), values=st.lists(st.floats(-2000, 2000), min_size=1))
def test_windows_give_the_servers_gray(function: str, center: float, width: float, values: list[float]) -> None:
    ours = Window(center, width, function)  # type: ignore[arg-type]
    theirs = server_transfer.Window(center, width, server_transfer.WindowFunction(function))
    samples = np.array([*values, np.nan], np.float32)
    for invert in (False, True):
        np.testing.assert_array_equal(ours.to_gray8(samples, invert=invert), theirs.to_gray8(samples, invert=invert))


def test_what_makes_no_sense_is_refused_here() -> None:
    with pytest.raises(InvalidArgumentError, match="one of a p r l h f"):
        View.oriented(VOLUME, "x")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match="exactly one of parallel_scale_mm and fov_deg"):
        Camera((0, 0, 0), (0, 0, 1), (0, 1, 0))
    with pytest.raises(InvalidArgumentError, match="three finite numbers"):
        Camera((0, 0, float("nan")), (0, 0, 1), (0, 1, 0), fov_deg=30)
    with pytest.raises(InvalidArgumentError, match="no picture plane"):
        _ = Camera((0, 0, 0), (0, 0, 1), (0, 0, 1), fov_deg=30).basis
    with pytest.raises(InvalidArgumentError, match="not finite"):
        View.axial(VOLUME).with_slice(float("inf"))
    with pytest.raises(InvalidArgumentError, match="zoom factor 0"):
        View.axial(VOLUME).zoomed(0)
    with pytest.raises(InvalidArgumentError, match="window width 0"):
        Window(0, 0)
    with pytest.raises(InvalidArgumentError, match="needs a width"):
        View.axial(VOLUME).with_window(40)
    assert View.axial(VOLUME).with_window(np.float32(40), np.int16(400)) == View.axial(VOLUME).with_window(40, 400)
    with pytest.raises(TypeError, match="with_window: a Window, a center and a width, or None needed, not 'bone'"):
        View.axial(VOLUME).with_window("bone")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="slice_mm: a number needed, not '20'"):
        View.axial(VOLUME, "20")  # type: ignore[arg-type]
    assert View.axial(VOLUME, np.float32(420)).slice_mm == pytest.approx(420)

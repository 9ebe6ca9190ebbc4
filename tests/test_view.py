from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from render.errors import InvalidViewError, UnsupportedError
from render.transfer import Window
from render.view import (
    MAX_VIEWPORT_PX,
    Camera,
    Clip,
    Layer,
    Orientation,
    RenderingMethod,
    View,
    Viewport,
    oriented_camera,
)
from tests.phantoms import GRIDS, grid

CAMERA = Camera((0, -100, 0), (0, 0, 0), (0, 0, 1), parallel_scale_mm=50)
LAYER = Layer("v")


def view(camera: Camera = CAMERA, viewport: Viewport | None = None, **changes: object) -> View:
    return View(camera, viewport or Viewport(40, 20), (LAYER,), **changes)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"position": (math.nan, 0, 0)}, "camera.position"),
        ({"look_at": (math.inf, 0, 0)}, "camera.look_at"),
        ({"up": (0, 0)}, "camera.up"),
        ({"up": (0, 0, 0)}, "camera.up"),
        ({"up": (0, 1, 0)}, "camera.up"),
        ({"up": (0, -1, 1e-6)}, "camera.up"),
        ({"position": (0, 0, 0)}, "camera.position"),
        ({"position": (0, 2e6, 0)}, "camera.position"),
        ({"parallel_scale_mm": 0}, "camera.parallel_scale_mm"),
        ({"parallel_scale_mm": math.nan}, "camera.parallel_scale_mm"),
        ({"parallel_scale_mm": None}, "camera.projection"),
        ({"fov_deg": 30}, "camera.projection"),
        ({"parallel_scale_mm": None, "fov_deg": 0}, "camera.fov_deg"),
        ({"parallel_scale_mm": None, "fov_deg": 180}, "camera.fov_deg"),
        ({"parallel_scale_mm": None, "fov_deg": math.nan}, "camera.fov_deg"),
    ],
)
def test_a_camera_that_sees_nothing_is_refused_by_name(changes, field) -> None:
    with pytest.raises(InvalidViewError) as caught:
        dataclasses.replace(CAMERA, **changes)
    assert caught.value.details["field"] == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (MAX_VIEWPORT_PX + 1, 10), (10, 100_000)])
def test_a_viewport_out_of_range_is_refused(size) -> None:
    with pytest.raises(InvalidViewError, match="viewport"):
        Viewport(*size)


def test_a_view_that_makes_no_picture_is_refused() -> None:
    for changes in ({"slab_mm": -1.0}, {"slab_mm": math.nan}, {"slab_mm": math.inf}):
        with pytest.raises(InvalidViewError, match="slab_mm"):
            view(**changes)
    with pytest.raises(InvalidViewError, match="volume_rendered"):
        view(rendering_method=RenderingMethod.VOLUME_RENDERED, slab_mm=0.0)
    with pytest.raises(InvalidViewError, match="layers"):
        View(CAMERA, Viewport(4, 4), ())
    with pytest.raises(InvalidViewError, match="opacity"):
        Layer("v", opacity=1.5)
    with pytest.raises(InvalidViewError, match="opacity"):
        Layer("v", opacity=math.nan)


def test_what_is_not_built_says_so() -> None:
    with pytest.raises(UnsupportedError, match="2 layers"):
        View(CAMERA, Viewport(4, 4), (LAYER, LAYER))
    with pytest.raises(UnsupportedError, match="clip"):
        view(clip=Clip((0, 0, 0), (1, 1, 1)))


@given(
    st.tuples(*[st.floats(-300, 300)] * 3), st.tuples(*[st.floats(-300, 300)] * 3), st.tuples(*[st.floats(-1, 1)] * 3)
)
def test_the_basis_is_orthonormal_and_has_up_upwards(position, look_at, up) -> None:
    ahead = np.subtract(look_at, position)
    assume(np.linalg.norm(ahead) > 1 and np.linalg.norm(up) > 0.1)
    assume(np.linalg.norm(np.cross(ahead, up)) > 0.01 * np.linalg.norm(ahead) * np.linalg.norm(up))
    right, down, forward = Camera(position, look_at, up, parallel_scale_mm=10).basis
    basis = np.stack([right, down, forward])
    np.testing.assert_allclose(basis @ basis.T, np.eye(3), atol=1e-9)
    np.testing.assert_allclose(np.cross(right, down), forward, atol=1e-9)
    assert down @ np.array(up) < 0


def test_the_plane_goes_through_look_at_in_the_middle() -> None:
    plane = view().plane
    assert plane.pixel_spacing_mm == (5, 5)
    np.testing.assert_allclose(plane.row_direction, (1, 0, 0))
    np.testing.assert_allclose(plane.column_direction, (0, 0, -1))
    np.testing.assert_allclose(plane.top_left_mm, (-97.5, 0, 47.5))


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_flips_turn_the_reported_directions(horizontal, vertical) -> None:
    plain = view().plane
    flipped = view(viewport=Viewport(40, 20, horizontal, vertical)).plane
    right, down = (-1 if horizontal else 1), (-1 if vertical else 1)
    np.testing.assert_allclose(flipped.row_direction, right * np.array(plain.row_direction), atol=1e-12)
    np.testing.assert_allclose(flipped.column_direction, down * np.array(plain.column_direction), atol=1e-12)
    # The same set of pixel centres: the far corner of one is the near corner of the other.
    far = (
        np.array(flipped.top_left_mm)
        + np.array(flipped.row_direction) * 5 * 39 * (right < 0)
        + np.array(flipped.column_direction) * 5 * 19 * (down < 0)
    )
    np.testing.assert_allclose(far, plain.top_left_mm, atol=1e-9)


def test_a_perspective_camera_has_the_same_plane_as_its_orthographic_twin() -> None:
    fov = 2 * math.degrees(math.atan(0.5))
    eye = Camera(CAMERA.position, CAMERA.look_at, CAMERA.up, fov_deg=fov)
    assert eye.half_height_mm == pytest.approx(50)
    assert view(eye).plane.pixel_spacing_mm == pytest.approx((5, 5))


@pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS)
@pytest.mark.parametrize("orientation", list(Orientation), ids=lambda o: o.value)
def test_a_fitted_camera_sees_all_of_the_volume_and_no_more(orientation, geometry) -> None:
    viewport = Viewport(60, 40)
    camera = oriented_camera(orientation, geometry, viewport)
    right, down, _ = camera.basis
    offsets = geometry.corners_mm - np.array(camera.look_at)
    width, height = np.abs(offsets @ right).max(), np.abs(offsets @ down).max()
    assert height <= camera.half_height_mm * (1 + 1e-9)
    assert width <= camera.half_height_mm * 1.5 * (1 + 1e-9)
    assert max(height, width / 1.5) == pytest.approx(camera.half_height_mm)


@pytest.mark.parametrize(
    ("letter", "right", "down"),
    [
        ("f", (1, 0, 0), (0, 1, 0)),  # axial, radiological: the patient's left on the right, the back below
        ("h", (-1, 0, 0), (0, 1, 0)),
        ("a", (1, 0, 0), (0, 0, -1)),
        ("p", (-1, 0, 0), (0, 0, -1)),
        ("l", (0, 1, 0), (0, 0, -1)),  # sagittal with the front at the left of the picture
        ("r", (0, -1, 0), (0, 0, -1)),
    ],
)
def test_orientations_are_those_of_the_standard(letter, right, down) -> None:
    camera = oriented_camera(Orientation(letter), grid((4, 4, 4), (1, 1, 1)), Viewport(10, 10))
    np.testing.assert_allclose(camera.basis[0], right, atol=1e-12)
    np.testing.assert_allclose(camera.basis[1], down, atol=1e-12)


def test_views_are_values() -> None:
    one, same = view(slab_mm=3.0), view(slab_mm=3.0)
    assert one == same
    assert hash(one) == hash(same)
    assert one != dataclasses.replace(one, layers=(Layer("v", Window(0, 1)),))

"""The reference is not trusted blindly: it answers to closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from render.transfer import Shading, TransferFunction
from render.view import Camera, Layer, Orientation, RenderingMethod, View, Viewport, oriented_camera
from render.volume import Volume
from tests import phantoms
from tests.phantoms import FLOAT32, GRIDS, INT16, INT16_PADDED, STORAGES, grid
from tests.reference import gradient, rays, render_reference

MAXIMUM, MINIMUM, MEAN = RenderingMethod.MAXIMUM_IP, RenderingMethod.MINIMUM_IP, RenderingMethod.AVERAGE_IP


def look(
    volume: Volume,
    method: RenderingMethod = MAXIMUM,
    slab_mm: float | None = 0.0,
    *,
    orientation: Orientation = Orientation.ANTERIOR,
    size: tuple[int, int] = (33, 31),
    layer: Layer | None = None,
) -> View:
    viewport = Viewport(*size)
    camera = oriented_camera(orientation, volume.geometry, viewport)
    return View(camera, viewport, (layer or Layer(volume.id),), method, slab_mm)


def oblique(volume: Volume, slab_mm: float | None, method: RenderingMethod, *, fov_deg: float | None = None) -> View:
    center = volume.geometry.center_mm
    camera = Camera(
        tuple(np.add(center, (120.0, -90.0, 70.0))),
        tuple(center),
        (0.1, 0.2, 1.0),
        parallel_scale_mm=None if fov_deg else 13.0,
        fov_deg=fov_deg,
    )
    return View(camera, Viewport(30, 26), (Layer(volume.id),), method, slab_mm)


def all_pixels(view: View) -> np.ndarray:
    return np.indices((view.viewport.height_px, view.viewport.width_px)).reshape(2, -1).T


@pytest.mark.parametrize("storage", STORAGES.values(), ids=STORAGES)
@pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS)
def test_thin_plane_of_a_ramp_is_the_ramp(geometry, storage) -> None:
    volume, field = phantoms.ramp(geometry, storage)
    for fov in (None, 9.0):
        view = oblique(volume, 0.0, MAXIMUM, fov_deg=fov)
        got = render_reference(view, volume)
        bases, _, _ = rays(view, all_pixels(view))
        index = geometry.to_voxel(bases)
        inside = ((index > -0.5) & (index < np.array(geometry.shape[::-1]) - 0.5)).all(axis=-1)
        expected = np.where(inside, field(bases), np.nan).reshape(got.values.shape)
        np.testing.assert_allclose(got.values, expected, rtol=0, atol=1e-6 + 0.01 * (storage is FLOAT32))
        assert 0.2 < inside.mean() < 1


@pytest.mark.parametrize("method", [MAXIMUM, MINIMUM, MEAN])
def test_constant_volume_gives_the_constant_by_every_method(method) -> None:
    volume, _ = phantoms.constant(GRIDS["sheared"], INT16, 300)
    for slab in (0.0, 3.0, None):
        got = render_reference(oblique(volume, slab, method, fov_deg=15.0), volume)
        assert np.isfinite(got.values).any()
        np.testing.assert_allclose(got.values[~np.isnan(got.values)], 300, rtol=0, atol=1e-9)


@pytest.mark.parametrize("storage", [INT16, FLOAT32], ids=["int16", "float32"])
def test_sphere_maximum_and_mean_are_its_line_integrals(storage) -> None:
    geometry = grid((40, 40, 40), (0.8, 0.8, 0.8), phantoms.OBLIQUE)
    sphere = phantoms.centered_sphere(geometry)
    volume = sphere.volume(geometry, storage)
    error = sphere.rim_error(geometry, storage)
    for slab in (6.0, 20.0):
        view = oblique(volume, slab, MEAN)
        bases, directions, _ = rays(view, all_pixels(view))
        got = render_reference(view, volume).values.ravel()
        # The midpoint rule's own error over a parabola is step^2/24 of its second derivative.
        assert np.nanmax(np.abs(got - sphere.mean(bases, directions, slab))) < error
        inner = sphere.maximum(bases, directions, slab) > 0.3 * sphere.peak
        top = render_reference(oblique(volume, slab, MAXIMUM), volume).values.ravel()
        expected = sphere.maximum(bases, directions, slab)
        # The highest sample is at most half a step from the highest point.
        step_loss = sphere.peak * (geometry.smallest_spacing_mm / 4 / sphere.radius_mm) ** 2
        slope_loss = 2 * sphere.peak / sphere.radius_mm * geometry.smallest_spacing_mm / 4
        bound = sphere.sampling_error(geometry, storage) + step_loss + slope_loss
        assert np.abs(top - expected)[inner].max() < bound
        assert inner.mean() > 0.2


def test_ell_looks_the_same_on_every_grid_orientation() -> None:
    pictures = {}
    for orientation in Orientation:
        for axes in phantoms.grid_orientations():
            volume = phantoms.ell(axes, INT16)
            viewport = Viewport(25, 25)
            camera = oriented_camera(orientation, volume.geometry, viewport, look_at=(2.0, 3.0, -4.0))
            camera = Camera(camera.position, camera.look_at, camera.up, parallel_scale_mm=12.5)
            view = View(camera, viewport, (Layer(volume.id),))
            got = render_reference(view, volume).values
            bases, _, _ = rays(view, all_pixels(view))
            inside = (np.abs(bases) <= 12.5).all(axis=-1)
            expected = np.where(inside, phantoms.ell_field(bases), np.nan).reshape(got.shape)
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)
            pictures[orientation] = got
    assert not np.array_equal(np.nan_to_num(pictures[Orientation.FEET]), np.nan_to_num(pictures[Orientation.HEAD]))


def test_radiological_axial_view_has_the_patients_left_on_the_right() -> None:
    volume = phantoms.ell(np.eye(3), INT16)
    camera = Camera((0, 0, -100.0), (0, 0, -4.0), (0, -1, 0), parallel_scale_mm=12.5)
    got = render_reference(View(camera, Viewport(25, 25), (Layer("ell"),)), volume).values
    assert got[12 + 3, 12 + 9] == 1000  # x = 9 (left), y = 3
    assert got[12 + 8, 12 + 1] == 700  # x = 1, y = 8 (back): further down


@pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS)
def test_impulse_is_a_product_of_tents(geometry) -> None:
    voxel = tuple(n // 2 for n in geometry.shape[::-1])
    volume, field = phantoms.impulse(geometry, INT16, voxel)
    view = oblique(volume, 0.0, MAXIMUM)
    center = geometry.to_patient(voxel)
    camera = Camera(tuple(np.add(center, (3.0, 40.0, 9.0))), tuple(center), (0, 0, 1), parallel_scale_mm=3.0)
    view = View(camera, view.viewport, view.layers)
    bases, _, _ = rays(view, all_pixels(view))
    got = render_reference(view, volume).values.ravel()
    np.testing.assert_allclose(got, field(bases), rtol=0, atol=1e-6)
    assert 500 < got.max() <= 1000


def test_one_slice_and_one_voxel_reach_to_their_faces() -> None:
    for shape in ((1, 9, 9), (9, 1, 9), (9, 9, 1), (1, 1, 1)):
        geometry = grid(shape, (1.0, 2.0, 3.0))
        volume, _ = phantoms.constant(geometry, FLOAT32, 5.0)
        for orientation in Orientation:
            got = render_reference(look(volume, MEAN, None, orientation=orientation), volume)
            covered = np.isfinite(got.values).mean()
            corners = geometry.corners_mm
            view = look(volume, MEAN, None, orientation=orientation)
            width, height = (
                np.ptp(corners @ np.array(d)) for d in (view.plane.row_direction, view.plane.column_direction)
            )
            area = width * height / (33 * 31 * view.plane.pixel_spacing_mm[0] ** 2)
            assert abs(covered - area) < 2 / 31


def test_samples_with_an_invalid_corner_are_outside_and_do_not_count() -> None:
    geometry = grid((1, 1, 8), (1.0, 1.0, 1.0))
    values = np.arange(8.0).reshape(1, 1, 8) * 100
    values[0, 0, 3] = np.nan
    for storage in (INT16_PADDED, FLOAT32):
        volume = phantoms.store("row", geometry, values, storage)
        # One pixel every quarter of a voxel, from index -0.625 to 7.625.
        camera = Camera((0, -10, 0), (0, 0, 0), (0, 0, 1), parallel_scale_mm=0.125)
        got = render_reference(View(camera, Viewport(34, 1), (Layer("row"),)), volume)
        index = np.arange(34) * 0.25 - 0.625
        expected = np.where((index > 2) & (index < 4), np.nan, np.clip(index, 0, 7) * 100)
        expected[[0, -1]] = np.nan
        np.testing.assert_allclose(got.values[0], expected, atol=1e-6)
        # A mean of what is there, along the row.
        camera = Camera((-10, 0, 0), (0, 0, 0), (0, 0, 1), parallel_scale_mm=0.5)
        mean = render_reference(View(camera, Viewport(1, 1), (Layer("row"),), MEAN, None), volume)
        t = np.arange(-8, 8) / 2 + 0.25
        along = t + 3.5
        kept = ~((along > 2) & (along < 4))
        assert mean.values[0, 0] == pytest.approx(np.clip(along, 0, 7)[kept].mean() * 100)


def test_a_corner_of_zero_weight_does_not_make_a_sample_invalid_but_is_in_doubt() -> None:
    values = np.array([[[100.0, np.nan, 300.0]]])
    volume = phantoms.store("row", grid((1, 1, 3), (1.0, 1.0, 1.0)), values, FLOAT32)
    camera = Camera((0, -10, 0), (0, 0, 0), (0, 0, 1), parallel_scale_mm=0.5)
    got = render_reference(View(camera, Viewport(3, 1), (Layer("row"),)), volume)
    np.testing.assert_array_equal(got.values[0], [100, np.nan, 300])
    np.testing.assert_array_equal(got.may_be_outside[0], [True, True, True])
    np.testing.assert_array_equal(got.must_be_outside[0], [False, True, False])


@pytest.mark.parametrize(("slab", "count"), [(0.01, 2), (1.0, 2), (2.0, 4), (2.4, 4), (3.0, 6)])
def test_slab_takes_the_lattice_samples_within_it(slab, count) -> None:
    volume, field = phantoms.ramp(grid((9, 9, 41), (1.0, 1.0, 1.0)), INT16, (10, 0, 0))
    camera = Camera((-50, 0, 0), (0, 0, 0), (0, 0, 1), parallel_scale_mm=0.5)
    view = View(camera, Viewport(1, 1), (Layer("ramp"),), MAXIMUM, slab)
    highest = render_reference(view, volume).values[0, 0]
    assert highest == pytest.approx(field((0.25 + 0.5 * (count // 2 - 1), 0, 0)))


def test_a_perspective_ray_ends_at_the_eye() -> None:
    volume, _ = phantoms.ramp(grid((9, 9, 41), (1.0, 1.0, 1.0)), INT16, (10, 0, 0))
    camera = Camera((5.0, 0, 0), (10.0, 0, 0), (0, 0, 1), fov_deg=1.0)
    view = View(camera, Viewport(1, 1), (Layer("ramp"),), MINIMUM, None)
    assert render_reference(view, volume).values[0, 0] == pytest.approx((20 + 5.25) * 10)


def test_unshaded_constant_medium_attenuates_exponentially() -> None:
    geometry = grid((16, 16, 16), (1.0, 1.0, 1.0))
    volume, _ = phantoms.constant(geometry, INT16, 300)
    function = TransferFunction(((0, 0.0), (300, 0.2)), ((0, 0.0, 0.5, 1.0),))
    layer = Layer(volume.id, transfer_function=function, opacity=0.5)
    for factor in (1.0, 0.5, 2.0):
        view = look(volume, RenderingMethod.VOLUME_RENDERED, None, layer=layer)
        got = render_reference(view, volume, step_factor=factor).color[15, 16]
        alpha = 1 - 0.8**16
        np.testing.assert_allclose(got, 0.5 * alpha * np.array([0, 0.5, 1, 1]), atol=1e-9)


def test_gradient_of_a_linear_field_is_its_slope_on_any_grid() -> None:
    wanted = np.array([20.0, -11.0, 6.0])
    for geometry in GRIDS.values():
        values = phantoms.voxel_centers(geometry) @ wanted
        volume = phantoms.store("slope", geometry, values, FLOAT32)
        points = geometry.to_patient(np.array(geometry.shape[::-1]) / 2 + np.array([[0.2, 0.1, -0.3], [0, 0, 0]]))
        got = gradient(volume, points, points @ wanted)
        np.testing.assert_allclose(got, np.broadcast_to(wanted, got.shape), rtol=1e-3)


def test_shading_of_a_ramp_is_phong_by_hand() -> None:
    geometry = grid((21, 21, 21), (1.0, 1.0, 1.0))
    slope = np.array([30.0, 40.0, 0.0])
    volume = phantoms.store("slope", geometry, phantoms.voxel_centers(geometry) @ slope, FLOAT32)
    light = Shading(0.2, 0.5, 0.3, 4.0)
    # Opaque from -400 on: the first sample seen decides, its normal is (0.6, 0.8, 0), the view along +y.
    function = TransferFunction(((-5000, 1.0), (5000, 1.0)), ((0, 0.4, 0.6, 0.8),), light)
    layer = Layer(volume.id, transfer_function=function)
    got = render_reference(look(volume, RenderingMethod.VOLUME_RENDERED, 4.0, layer=layer), volume).color[15, 16]
    facing = 0.8 * 50 / np.hypot(50, function.gradient_floor)
    expected = np.array([0.4, 0.6, 0.8]) * (0.2 + 0.5 * facing) + 0.3 * (2 * facing**2 - 1) ** 4
    np.testing.assert_allclose(got[:3], expected, atol=1e-6)


def test_chosen_pixels_equal_the_whole_picture() -> None:
    volume = phantoms.blobs(GRIDS["oblique"], INT16)
    view = oblique(volume, None, MAXIMUM, fov_deg=25.0)
    pixels = np.array([[0, 0], [13, 15], [25, 29], [12, 3]])
    whole = render_reference(view, volume)
    some = render_reference(view, volume, pixels=pixels)
    np.testing.assert_array_equal(some.values, whole.values[pixels[:, 0], pixels[:, 1]])
    assert np.isfinite(some.values).sum() >= 1

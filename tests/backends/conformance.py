"""What every renderer has to draw, whatever it runs on.

A backend's test module derives a class from `Conformance` and has a ``renderer`` fixture::

    @pytest.fixture(scope="module")
    def renderer(): ...

    class TestCpu(Conformance):
        pass

Pictures are small and of odd sizes, so that tiles and packets have ragged edges.
"""

from __future__ import annotations

import dataclasses

import hypothesis
import numpy as np
import pytest

from render.errors import RenderCancelledError, VolumeNotFoundError
from render.frame import Quality
from render.geometry import VolumeGeometry
from render.transfer import TransferFunction, Window, load_preset
from render.view import Camera, Layer, Orientation, Viewport, oriented_camera
from tests import phantoms
from tests.backends.scenes import WORKS, camera_at, draw, holes_of, make_view, scenes, slanted_camera, verdict
from tests.comparison import compare, judge_gray, value_tolerance
from tests.phantoms import FLOAT32, GRIDS, INT16, INT16_PADDED, INT16_RESCALED, STORAGES, Storage, grid
from tests.reference import render_reference

METHODS = pytest.mark.parametrize("work", WORKS)
ALL_GRIDS = pytest.mark.parametrize("where", GRIDS)
ALL_STORAGES = pytest.mark.parametrize("stored", STORAGES)
PROJECTIONS = pytest.mark.parametrize("projection", ["orthographic", "perspective"])


class Conformance:
    """Tests that a backend inherits; its module has the ``renderer`` fixture."""

    # Against the reference

    @METHODS
    @ALL_STORAGES
    @ALL_GRIDS
    @PROJECTIONS
    def test_every_method_agrees_with_the_reference(self, renderer, work, stored, where, projection) -> None:
        geometry, storage = GRIDS[where], STORAGES[stored]
        volume = phantoms.blobs(geometry, storage, holes=holes_of(storage))
        got = verdict(renderer, volume, make_view(volume, work, slanted_camera(geometry, projection)))
        assert got.agrees, got
        assert got.seen > 0.2, got

    @METHODS
    @pytest.mark.parametrize("stored", ["int16", "int16_padded", "float32"])
    def test_noise_with_holes_agrees(self, renderer, work, stored) -> None:
        storage = STORAGES[stored]
        volume = phantoms.noise(GRIDS["oblique"], storage, holes=0.02 if holes_of(storage) else 0.0)
        got = verdict(renderer, volume, make_view(volume, work, slanted_camera(volume.geometry)))
        assert got.agrees, got
        assert got.seen > 0.2, got

    @pytest.mark.parametrize("preset", ["CT-Bone", "CT-AAA", "CT-Lung"])
    def test_presets_agree(self, renderer, preset) -> None:
        volume = phantoms.blobs(GRIDS["anisotropic"], INT16)
        view = make_view(volume, "color_shaded", slanted_camera(volume.geometry), (61, 43))
        layer = Layer(volume.id, transfer_function=load_preset(preset), opacity=0.8)
        view = dataclasses.replace(view, layers=(layer,))
        reference = render_reference(view, volume)
        got = compare(reference, draw(renderer, volume, view), volume)
        assert got.agrees, got
        assert reference.color[..., 3].max() > 0.5

    @METHODS
    @pytest.mark.parametrize("orientation", list(Orientation), ids=lambda o: o.value)
    def test_rays_along_the_grid_agree(self, renderer, work, orientation) -> None:
        """Pixels at voxel centres: every sample lies on a grid line or plane, where roundings decide corners."""
        geometry = grid((11, 13, 15), (1.0, 1.0, 1.0))
        volume = phantoms.noise(geometry, INT16_PADDED, holes=0.02)
        viewport = Viewport(19, 19)
        camera = oriented_camera(orientation, geometry, viewport)
        camera = Camera(camera.position, camera.look_at, camera.up, parallel_scale_mm=9.5)
        got = verdict(renderer, volume, make_view(volume, work, camera, (19, 19)))
        assert got.agrees, got
        assert got.seen > 0.2, got

    @METHODS
    @pytest.mark.parametrize("offset", [-0.01, 0.0, 0.01], ids=["outside", "on_it", "inside"])
    def test_rays_that_graze_a_face_agree(self, renderer, work, offset) -> None:
        """The rows of pixels lie half a voxel beyond the outermost centres, give or take a hundredth."""
        geometry = grid((8, 8, 8), (1.0, 1.0, 1.0))
        volume = phantoms.blobs(geometry, INT16)
        up = np.array([0.0, 0.0, 1.0])
        for side in (np.array([1.0, 0, 0]), np.array([-0.8, 0.6, 0.0])):
            look_at = np.array([0.0, 0.0, 4.0 - offset])
            camera = camera_at(look_at + 30 * side, look_at, up, parallel_scale_mm=4.5)
            got = verdict(renderer, volume, make_view(volume, work, camera, (9, 9)))
            assert got.agrees, got
            assert got.seen > 0.1, got

    @METHODS
    def test_a_perspective_camera_inside_the_volume_agrees(self, renderer, work) -> None:
        geometry = GRIDS["oblique"]
        volume = phantoms.blobs(geometry, INT16)
        position = np.add(geometry.center_mm, [1.3, -2.1, 0.4])
        camera = camera_at(position, np.add(position, [3.0, 4.0, -1.0]), fov_deg=100.0)
        got = verdict(renderer, volume, make_view(volume, work, camera))
        assert got.agrees, got
        assert got.seen > 0.5, got

    @METHODS
    @pytest.mark.parametrize(
        "shape", [(1, 16, 18), (16, 1, 18), (16, 18, 1), (1, 1, 9), (1, 1, 1)], ids=lambda s: "x".join(map(str, s))
    )
    def test_volumes_one_voxel_thick_agree(self, renderer, work, shape) -> None:
        geometry = grid(shape, (0.9, 1.1, 2.0), phantoms.OBLIQUE)
        volume = phantoms.noise(geometry, FLOAT32)
        for camera in (slanted_camera(geometry), oriented_camera(Orientation.FEET, geometry, Viewport(37, 29))):
            got = verdict(renderer, volume, make_view(volume, work, camera))
            assert got.agrees, got
            assert got.seen > 0.01, got

    @pytest.mark.parametrize("work", ["thin", "max", "mean", "color", "color_shaded"])
    @pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 6])
    def test_volumes_of_few_voxels_agree(self, renderer, work, size) -> None:
        """Smaller than a kernel's reach: nothing in them is far from a face. Every single pixel has to agree."""
        for shape in ((size, size, size), (size, 9, 9), (9, size, 9), (9, 9, size)):
            geometry = grid(shape, (1.2, 0.8, 1.7), phantoms.OBLIQUE)
            volume = phantoms.blobs(geometry, INT16)
            got = verdict(renderer, volume, make_view(volume, work, slanted_camera(geometry), (61, 47)))
            assert got.fraction == 1.0, (shape, got)
            assert got.seen > 0.02, (shape, got)

    @pytest.mark.parametrize("work", ["thin", "max", "mean", "color_shaded"])
    @pytest.mark.parametrize("stored", ["int16_wide", "float32_wide"])
    def test_a_wide_range_of_codes_agrees(self, renderer, work, stored) -> None:
        """All of int16, as an unsigned 16-bit source has it; float32 far from 1."""
        geometry = grid((12, 14, 16), (1.0, 1.0, 1.0))
        values = phantoms.blobs(geometry, FLOAT32).codes.astype(np.float64)
        values = (values - values.min()) / np.ptp(values)
        function = TransferFunction(((0.0, 0.0), (65535.0, 0.4)), ((0.0, 0.0, 0.3, 1.0), (65535.0, 1.0, 0.8, 0.0)))
        if stored == "int16_wide":
            volume = phantoms.store("wide", geometry, values * 65535, Storage(np.int16, 1.0, 32768.0))
        else:
            volume = phantoms.store("wide", geometry, values * 65535, FLOAT32)
        view = make_view(volume, work, slanted_camera(geometry))
        if view.is_color:
            view = dataclasses.replace(view, layers=(Layer("wide", transfer_function=function),))
        got = verdict(renderer, volume, view)
        assert got.agrees, got

    @pytest.mark.parametrize("flips", [(True, False), (False, True), (True, True)])
    def test_flips_mirror_the_picture(self, renderer, flips) -> None:
        volume = phantoms.blobs(GRIDS["sheared"], INT16)
        camera = slanted_camera(volume.geometry, "perspective")
        horizontal, vertical = flips
        view = make_view(volume, "slab_max", camera, flip_horizontal=horizontal, flip_vertical=vertical)
        flipped = draw(renderer, volume, view)
        assert compare(render_reference(view, volume), flipped, volume).agrees
        plain = draw(renderer, volume, make_view(volume, "slab_max", camera))
        mirrored = plain.values[:: -1 if vertical else 1, :: -1 if horizontal else 1]
        np.testing.assert_allclose(flipped.values, mirrored, atol=value_tolerance(volume))

    @hypothesis.settings(
        max_examples=120,
        deadline=None,
        derandomize=True,
        suppress_health_check=[
            hypothesis.HealthCheck.function_scoped_fixture,
            hypothesis.HealthCheck.too_slow,
            hypothesis.HealthCheck.differing_executors,  # each backend's class runs it; nothing is replayed
        ],
    )
    @hypothesis.given(scene=scenes())
    def test_any_camera_and_any_small_volume_agree(self, renderer, scene) -> None:
        volume, view = scene
        got = verdict(renderer, volume, view)
        assert got.agrees, got

    # Against closed forms

    @ALL_STORAGES
    @ALL_GRIDS
    def test_a_constant_stays_constant(self, renderer, stored, where) -> None:
        volume, _ = phantoms.constant(GRIDS[where], STORAGES[stored], 300.0)
        for work in ("thin", "slab_max", "min", "mean"):
            frame = draw(renderer, volume, make_view(volume, work, slanted_camera(volume.geometry)))
            inside = ~np.isnan(frame.values)
            assert inside.mean() > 0.2
            assert np.abs(frame.values[inside] - 300).max() < 0.05

    @pytest.mark.parametrize("work", ["color", "color_shaded"])
    @pytest.mark.parametrize("stored", ["int16", "float32"])
    def test_a_constant_has_no_edges(self, renderer, stored, work) -> None:
        """Nowhere a gradient, but at no face either: neighbours beyond one are held."""
        volume, _ = phantoms.constant(GRIDS["anisotropic"], STORAGES[stored], 300.0)
        got = verdict(renderer, volume, make_view(volume, work, slanted_camera(volume.geometry)))
        assert got.fraction == 1.0, got
        assert got.seen > 0.2, got

    @ALL_STORAGES
    @ALL_GRIDS
    def test_a_ramp_is_interpolated_exactly(self, renderer, stored, where) -> None:
        geometry = GRIDS[where]
        volume, field = phantoms.ramp(geometry, STORAGES[stored])
        view = make_view(volume, "thin", slanted_camera(geometry))
        frame = draw(renderer, volume, view)
        row, column = np.indices(frame.values.shape)
        points = (
            np.array(frame.plane.top_left_mm)
            + (column * frame.plane.pixel_spacing_mm[1])[..., None] * np.array(frame.plane.row_direction)
            + (row * frame.plane.pixel_spacing_mm[0])[..., None] * np.array(frame.plane.column_direction)
        )
        inside = ~np.isnan(frame.values)
        assert inside.mean() > 0.2
        off = np.abs(frame.values - field(points))[inside]
        assert off.max() < value_tolerance(volume), off.max()

    def test_the_ell_looks_the_same_on_every_grid(self, renderer) -> None:
        for orientation, looking_at in zip(Orientation, [(2.0, 3.0, -4.0)] * 6, strict=True):
            seen = []
            for axes in phantoms.grid_orientations():
                volume = phantoms.ell(axes, INT16)
                camera = oriented_camera(orientation, volume.geometry, Viewport(25, 25), look_at=looking_at)
                camera = Camera(camera.position, camera.look_at, camera.up, parallel_scale_mm=12.5)
                frame = draw(renderer, volume, make_view(volume, "thin", camera, (25, 25)))
                row, column = np.indices((25, 25))
                points = (
                    np.array(frame.plane.top_left_mm)
                    + column[..., None] * np.array(frame.plane.row_direction)
                    + row[..., None] * np.array(frame.plane.column_direction)
                )
                inside = (np.abs(points) <= 12.25).all(axis=-1)
                off = np.abs(frame.values - phantoms.ell_field(points))[inside]
                # An edge from 0 to 1000 HU costs a rounding of the index a thousandfold.
                assert off.max() < 0.5, (orientation, axes, off.max())
                seen.append(frame.values[inside])
            assert np.ptp(seen[0]) == pytest.approx(1000, abs=0.5)

    @pytest.mark.parametrize("stored", ["int16", "float32"])
    def test_a_sphere_gives_its_line_integrals(self, renderer, stored) -> None:
        geometry = grid((40, 40, 40), (0.8, 0.8, 0.8), phantoms.OBLIQUE)
        sphere, storage = phantoms.centered_sphere(geometry), STORAGES[stored]
        volume = sphere.volume(geometry, storage)
        camera = dataclasses.replace(slanted_camera(geometry), parallel_scale_mm=10.0)
        view = dataclasses.replace(make_view(volume, "slab_mean", camera), slab_mm=12.0)
        frame = draw(renderer, volume, view)
        row, column = np.indices(frame.values.shape)
        down, right = frame.plane.pixel_spacing_mm
        bases = (
            np.array(frame.plane.top_left_mm)
            + (column * right)[..., None] * np.array(frame.plane.row_direction)
            + (row * down)[..., None] * np.array(frame.plane.column_direction)
        )
        exact = sphere.mean(bases, np.broadcast_to(camera.basis[2], bases.shape), 12.0)
        assert np.abs(frame.values - exact).max() < sphere.rim_error(geometry, storage)
        assert exact.max() > 0.5 * sphere.peak

    @pytest.mark.parametrize("stored", ["int16_padded", "float32"])
    def test_a_volume_without_any_value_is_empty(self, renderer, stored) -> None:
        geometry = GRIDS["oblique"]
        volume = phantoms.store("void", geometry, np.full(geometry.shape, np.nan), STORAGES[stored])
        for work in WORKS:
            frame = draw(renderer, volume, make_view(volume, work, slanted_camera(geometry)))
            if frame.color is not None:
                assert not frame.color.any()
            else:
                assert np.isnan(frame.values).all()

    # Properties

    @pytest.mark.parametrize("work", ["mean", "color", "color_shaded"])
    def test_halving_the_step_converges(self, renderer, work) -> None:
        volume = phantoms.blobs(GRIDS["oblique"], INT16)
        view = make_view(volume, work, slanted_camera(volume.geometry))
        pictures = []
        for factor in (4.0, 2.0, 1.0, 0.5):
            frame = draw(renderer, volume, view, quality=Quality(step_factor=factor))
            expected = render_reference(view, volume, step_factor=factor)
            assert frame.step_mm == pytest.approx(expected.step_mm)
            assert compare(expected, frame, volume).agrees
            picture = frame.values if frame.color is None else frame.color
            pictures.append(np.nan_to_num(picture.astype(np.float64)))
        far, near = (np.abs(a - b).mean() for a, b in ((pictures[0], pictures[1]), (pictures[2], pictures[3])))
        assert near < 0.6 * far

    def test_a_layers_opacity_scales_the_picture(self, renderer) -> None:
        volume = phantoms.blobs(GRIDS["oblique"], INT16)
        view = make_view(volume, "color", slanted_camera(volume.geometry))
        half = dataclasses.replace(view, layers=(dataclasses.replace(view.layers[0], opacity=0.5),))
        full_color = draw(renderer, volume, view).color.astype(np.float64)
        assert full_color.max() > 50
        assert np.abs(draw(renderer, volume, half).color - full_color / 2).max() <= 1.0
        none = dataclasses.replace(view, layers=(dataclasses.replace(view.layers[0], opacity=0.0),))
        assert not draw(renderer, volume, none).color.any()

    def test_coarse_rays_fill_the_viewport(self, renderer) -> None:
        volume, _ = phantoms.constant(GRIDS["axis_aligned"], INT16, 300)
        center = volume.geometry.center_mm
        camera = camera_at(np.add(center, [0, -80, 0]), center, np.array([0, 0, 1.0]), parallel_scale_mm=5.0)
        for work, size in (("thin", (37, 29)), ("max", (30, 31)), ("mean", (7, 5))):
            frame = draw(renderer, volume, make_view(volume, work, camera, size), quality=Quality(ray_stride=3))
            assert frame.values.shape == size[::-1]
            np.testing.assert_allclose(frame.values, 300, atol=0.05)
            assert not frame.is_final

    # What the frame says

    def test_the_frame_tells_what_was_drawn(self, renderer) -> None:
        volume = dataclasses.replace(phantoms.blobs(GRIDS["anisotropic"], INT16), revision=7)
        view = make_view(volume, "slab_max", slanted_camera(volume.geometry))
        resident = renderer.upload(volume)
        frame = renderer.render(view, {volume.id: resident}, view_revision=41)
        assert (frame.view_revision, frame.volume_revision) == (41, 7)
        assert frame.plane == view.plane
        assert frame.step_mm == pytest.approx(0.2)
        assert frame.slab_mm == 6.0
        assert frame.view.layers[0].window == frame.window
        assert frame.is_final
        assert frame.timings_ms["render"] > 0
        assert resident.statistics.minimum == volume.codes.min()
        assert resident.statistics.maximum == volume.codes.max()
        thin = renderer.render(make_view(volume, "thin", view.camera), {volume.id: resident})
        assert (thin.step_mm, thin.slab_mm) == (0.0, 0.0)
        renderer.release(resident)

    def test_a_window_makes_the_gray_that_it_should(self, renderer) -> None:
        volume = phantoms.blobs(GRIDS["sheared"], INT16_RESCALED)
        window = Window(200, 900)
        view = make_view(volume, "thin", slanted_camera(volume.geometry))
        view = dataclasses.replace(view, layers=(Layer(volume.id, window),))
        reference = render_reference(view, volume)
        got = judge_gray(reference, window, draw(renderer, volume, view).gray8(), value_tolerance(volume))
        assert got.agrees, got

    def test_an_unknown_volume_is_named(self, renderer) -> None:
        volume = phantoms.blobs(GRIDS["sheared"], INT16)
        view = make_view(volume, "thin", slanted_camera(volume.geometry))
        with pytest.raises(VolumeNotFoundError, match=volume.id):
            renderer.render(view, {})

    def test_a_cancelled_frame_is_given_up(self, renderer) -> None:
        volume = phantoms.blobs(GRIDS["sheared"], INT16)
        view = make_view(volume, "color", slanted_camera(volume.geometry), (300, 300))
        resident = renderer.upload(volume)
        with pytest.raises(RenderCancelledError):
            renderer.render(view, {volume.id: resident}, cancelled=lambda: True)
        renderer.release(resident)

    # Negative controls: wrong pictures that the comparison has to refuse

    @METHODS
    @pytest.mark.parametrize("wrong", ["half_a_voxel", "flipped_axis", "wrong_spacing"])
    @pytest.mark.parametrize("where", ["axis_aligned", "sheared"])
    def test_a_wrong_picture_fails(self, renderer, work, wrong, where) -> None:
        geometry = GRIDS[where]
        volume = phantoms.blobs(geometry, INT16)
        affine = geometry.patient_from_voxel.copy()
        if wrong == "half_a_voxel":
            affine[:3, 3] += 0.5 * affine[:3, 0]
        elif wrong == "flipped_axis":
            affine[:3, 3] += (geometry.shape[1] - 1) * affine[:3, 1]
            affine[:3, 1] *= -1
        else:
            affine[:3, 2] *= 1.1
        mistaken = dataclasses.replace(volume, geometry=VolumeGeometry(geometry.shape, affine))
        view = make_view(volume, work, slanted_camera(geometry))
        got = compare(render_reference(view, volume), draw(renderer, mistaken, view), volume)
        assert not got.agrees, got

    def test_a_swapped_window_fails(self, renderer) -> None:
        volume = phantoms.blobs(GRIDS["sheared"], INT16)
        view = make_view(volume, "thin", slanted_camera(volume.geometry))
        view = dataclasses.replace(view, layers=(Layer(volume.id, Window(900, 200)),))
        reference = render_reference(view, volume)
        got = judge_gray(reference, Window(200, 900), draw(renderer, volume, view).gray8(), value_tolerance(volume))
        assert not got.agrees, got

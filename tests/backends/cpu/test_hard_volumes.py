"""Volumes that break careless kernels: huge ones, tiny ones with holes anywhere, and voxels that are no numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import hypothesis
import numpy as np
import pytest

from render.backends.cpu import CpuRenderer
from render.backends.cpu.resident import CpuVolume
from render.geometry import VolumeGeometry
from render.view import Camera, Layer, View, Viewport
from render.volume import Volume
from tests import phantoms
from tests.backends.cpu import scenes as own
from tests.backends.scenes import WORKS, camera_at, draw, make_view, scenes, slanted_camera, verdict
from tests.phantoms import FLOAT32, GRIDS, STORAGES, grid


@pytest.fixture(scope="module")
def renderer() -> Iterator[CpuRenderer]:
    renderer = CpuRenderer(2)
    yield renderer
    renderer.close()


@pytest.fixture(scope="module")
def large(renderer: CpuRenderer) -> Iterator[CpuVolume]:
    """Return a volume of 2.3 GiB, uploaded; the zeros cost no memory, since nobody writes to them."""
    shape = (1100, 1024, 1024)
    codes = np.zeros(shape, np.int16)
    assert codes.nbytes > 2**31
    codes[-5:, -40:, -40:] = 500
    resident = renderer.upload(Volume("large", VolumeGeometry(shape, np.eye(4)), codes))
    yield resident
    renderer.release(resident)


@pytest.mark.parametrize("work", own.WORKS)
def test_a_volume_over_2_gib_is_read_where_it_says(renderer: CpuRenderer, large: CpuVolume, work: str) -> None:
    """Byte offsets beyond 2**31."""
    target = (1023.0 - 20, 1023.0 - 20, 1097.0)
    camera = Camera((target[0], target[1], 1200.0), target, (0, -1, 0), parallel_scale_mm=32.0)
    method, _, function = own.WORKS[work]
    layer = Layer("large", transfer_function=function)
    view = View(camera, Viewport(64, 64), (layer,), method, 0.0 if work == "thin" else 4.0)
    frame = renderer.render(view, {"large": large})
    if frame.color is not None:
        assert (frame.color[20:44, 20:44, 3] > 30).all()
        return
    assert frame.values is not None
    assert (frame.values[20:44, 20:44] == 500).all()
    assert np.nanmin(frame.values) == 0
    assert np.isnan(frame.values).any()


@pytest.mark.parametrize("work", WORKS)
def test_infinite_voxels_are_invalid_as_nan_is(renderer: CpuRenderer, work: str) -> None:
    """A division by zero is no measurement: in a maximum it would hide all that is, in a mean everything."""
    marked = phantoms.noise(GRIDS["oblique"], FLOAT32, holes=0.02)
    codes = marked.codes.copy()
    holes = np.flatnonzero(np.isnan(codes))
    codes.reshape(-1)[holes[::3]] = np.inf
    codes.reshape(-1)[holes[1::3]] = -np.inf
    infinite = dataclasses.replace(marked, codes=codes)
    view = make_view(marked, work, slanted_camera(marked.geometry))
    wanted, got = draw(renderer, marked, view), draw(renderer, infinite, view)
    if wanted.color is not None:
        assert wanted.color[..., 3].max() > 100
        np.testing.assert_array_equal(got.color, wanted.color)
        return
    assert 0.2 < np.isfinite(wanted.values).mean()
    np.testing.assert_array_equal(got.values, wanted.values)


def test_infinite_voxels_are_not_in_the_statistics(renderer: CpuRenderer) -> None:
    codes = np.linspace(-5, 7, 1000, dtype=np.float32).reshape(10, 10, 10)
    codes[3, 3, 3], codes[4, 4, 9], codes[9, 9, 9] = np.inf, -np.inf, np.nan
    codes[9, 9, 8] = 7
    resident = renderer.upload(Volume("v", VolumeGeometry((10, 10, 10), np.eye(4)), codes))
    statistics = resident.statistics
    assert (statistics.minimum, statistics.maximum) == (-5, 7)
    assert -5 <= statistics.low < statistics.high <= 7
    renderer.release(resident)


@pytest.mark.parametrize("stored", ["int16_padded", "float32"])
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_holes_beside_every_face_of_few_voxels(renderer: CpuRenderer, stored: str, size: int) -> None:
    """No gradient's neighbours are all there: each is held at a face, or has the sample's own value."""
    for shape in ((size, size, size), (size, 8, 9), (8, size, 9), (8, 9, size)):
        volume = phantoms.noise(grid(shape, (1.2, 0.8, 1.7), phantoms.OBLIQUE), STORAGES[stored], holes=0.06)
        for projection in ("orthographic", "perspective"):
            camera = slanted_camera(volume.geometry, projection)
            got = verdict(renderer, volume, make_view(volume, "color_shaded", camera, (61, 47)))
            assert got.agrees, (shape, projection, got)


@hypothesis.settings(
    max_examples=80,
    deadline=None,
    derandomize=True,
    suppress_health_check=[
        hypothesis.HealthCheck.function_scoped_fixture,
        hypothesis.HealthCheck.too_slow,
    ],
)
@hypothesis.given(scene=scenes(40, ("color_shaded", "max", "mean"), (phantoms.blobs, phantoms.noise)))
def test_larger_volumes_with_holes_anywhere_agree(renderer: CpuRenderer, scene: tuple[Volume, View]) -> None:
    """Several bricks, segments and full vectors of samples to shade, with the camera outside or within."""
    volume, view = scene
    got = verdict(renderer, volume, view)
    assert got.agrees, got


@pytest.mark.parametrize("work", [work for work in WORKS if work != "thin"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_last_voxel_has_a_value_of_its_own_where_its_brick_holds_no_other(
    renderer: CpuRenderer, axis: int, work: str
) -> None:
    """Beyond its centre a sample is the last voxel, whatever the one before it is: in the next brick, and no number."""
    shape = [20, 20, 20]
    shape[axis] = 33
    volume = phantoms.blobs(grid((shape[0], shape[1], shape[2]), (1.0, 1.0, 1.0)), FLOAT32)
    before_last: list[slice | int] = [slice(None)] * 3
    before_last[axis] = -2
    volume.codes[tuple(before_last)] = np.nan
    towards = np.zeros(3)
    towards[2 - axis] = 1.0
    face = volume.geometry.center_mm + 16 * towards
    for away in (np.array([0.3, 0.4, 0.5]) + towards, np.array([0.9, 0.5, 0.7]) - 0.8 * towards):
        camera = camera_at(face + 60 * away, face, np.array([0.7, -0.6, 0.1]), parallel_scale_mm=5.0)
        got = verdict(renderer, volume, make_view(volume, work, camera, (61, 47)))
        assert got.agrees, got

"""Texture sampling: the shim's unit, the bound, and that a worse unit is noticed."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from tests import phantoms
from tests.backends.cuda.host_shim import Kernels, build
from tests.backends.cuda.shim_renderer import ShimRenderer
from tests.backends.cuda.texture_bound import INT16_ERROR, cell_bounds, pixel_bounds
from tests.backends.scenes import make_view, slanted_camera
from tests.comparison import VALUE_FRACTION
from tests.phantoms import FLOAT32, GRIDS, INT16, INT16_PADDED, INT16_RESCALED

STORAGES = {
    "int16": INT16,
    "int16_rescaled": INT16_RESCALED,
    "int16_padded": INT16_PADDED,
    "float32": FLOAT32,
}


def pictures(host_kernels, volume, work: str, projection: str = "orthographic", coarse: Kernels | None = None):
    """Return ``(exact, texture, bound)`` of a view."""
    view = make_view(volume, work, slanted_camera(volume.geometry, projection), (61, 43))
    exact = ShimRenderer(host_kernels)
    texture = ShimRenderer((lambda dtype, texture: coarse) if coarse else host_kernels, texture=True)
    drawn = [r.render(view, {volume.id: r.upload(volume)}) for r in (exact, texture)]
    bound = pixel_bounds(drawn[0].view, volume, 1.0)
    return drawn[0].pixels.astype(np.float64), drawn[1].pixels.astype(np.float64), bound


@pytest.mark.parametrize("stored", STORAGES)
@pytest.mark.parametrize("work", ["thin", "max", "slab_min", "mean"])
@pytest.mark.parametrize("projection", ["orthographic", "perspective"])
def test_every_value_is_within_the_bound(host_kernels, stored, work, projection) -> None:
    storage = STORAGES[stored]
    volume = phantoms.noise(GRIDS["oblique"], storage)
    if stored in ("int16_padded", "float32"):
        volume.codes[:3, :4, :5] = -2000 if stored == "int16_padded" else np.nan
    exact, texture, bound = pictures(host_kernels, volume, work, projection)
    np.testing.assert_array_equal(np.isnan(exact), np.isnan(texture))
    off = np.nan_to_num(np.abs(exact - texture))
    # What float32 loses in a coordinate of a few dozen voxels, where neighbours differ by all of the range.
    rounding = 1e-4 * float(np.nanmax(volume.values()) - np.nanmin(volume.values()))
    assert (off <= bound + rounding).all(), (off - bound).max()
    # Not vacuous: the unit was used, and some pixel comes near what it may be off; less so where many samples, off in
    # both directions, are averaged.
    assert off.max() > (0.05 if work == "mean" else 0.1) * bound.max()


@pytest.mark.parametrize("work", ["color", "color_shaded"])
@pytest.mark.parametrize("stored", ["int16", "float32"])
def test_every_colour_is_within_the_bound(host_kernels, work, stored) -> None:
    volume = phantoms.blobs(GRIDS["oblique"], STORAGES[stored])
    exact, texture, bound = pictures(host_kernels, volume, work)
    off = np.abs(exact - texture).max(axis=-1)
    assert (off <= 255 * bound + 1).all(), (off - 255 * bound).max()
    assert off.max() > 0


def test_a_unit_with_six_bits_is_noticed(host_kernels, tmp_path) -> None:
    """Negative control: weights four times as coarse does not fit into the bound."""
    coarse = build(tmp_path, "float32", texture=True, defines=("-DFRACTION_STEPS=64.0f",))
    volume = phantoms.noise(GRIDS["oblique"], FLOAT32)
    exact, texture, bound = pictures(host_kernels, volume, "thin", coarse=coarse)
    off = np.nan_to_num(np.abs(exact - texture))
    assert (off > bound + 1)[~np.isnan(exact)].mean() > 1 - VALUE_FRACTION  # so `compare` says no


def test_a_cell_is_bounded_by_its_own_edges() -> None:
    codes = np.zeros((1, 2, 3), np.float32)
    codes[0, 1, 2] = 512.0
    volume = phantoms.store("edge", phantoms.grid(codes.shape, (1.0, 1.0, 1.0)), codes, FLOAT32)
    # Cell (1, 0) has an edge of 512 along i and one along j; (2, 0) only that along j; (1, 1) only that along i.
    assert cell_bounds(volume)[0].tolist() == [[0, 8, 3], [0, 5, 0]]


def test_int16_is_off_by_half_a_code_more() -> None:
    volume, _ = phantoms.constant(GRIDS["oblique"], INT16_RESCALED, 300.0)
    assert np.unique(cell_bounds(volume)).tolist() == [INT16_ERROR / 2]


def test_no_texture_is_needed_for_exact_sampling(host_kernels) -> None:
    resident = ShimRenderer(host_kernels).upload(phantoms.blobs(GRIDS["oblique"], INT16))
    assert resident.texture == 0
    assert resident.array is None


def test_a_texture_object_stands_for_its_array(host_kernels) -> None:
    resident = ShimRenderer(host_kernels, texture=True).upload(phantoms.blobs(GRIDS["oblique"], INT16))
    assert resident.array is not None
    assert resident.texture == ctypes.addressof(resident.array)
    assert list(resident.array.size) == [28, 24, 20]

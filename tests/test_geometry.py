from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.errors import InvalidArgumentError
from render.geometry import VolumeGeometry
from tests import phantoms
from tests.phantoms import GRIDS, grid


@given(
    st.tuples(*[st.floats(0.1, 10)] * 3),
    st.floats(0, 180),
    st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
    st.lists(st.floats(-500, 500), min_size=3, max_size=3),
)
def test_transforms_are_each_others_inverse(spacing, angle, shear, point) -> None:
    geometry = grid((5, 6, 7), spacing, phantoms.rotation((1, -2, 0.5), angle), shear=shear, center_mm=(10, 20, 30))
    there_and_back = geometry.to_patient(geometry.to_voxel(point))
    np.testing.assert_allclose(there_and_back, point, atol=1e-8)
    np.testing.assert_allclose(geometry.voxel_from_patient @ geometry.patient_from_voxel, np.eye(4), atol=1e-8)


def test_voxel_order_is_column_row_slice() -> None:
    geometry = VolumeGeometry.from_axes((2, 3, 4), (100, 200, 300), (1, 0, 0), (0, 2, 0), (0, 0, 5))
    np.testing.assert_array_equal(geometry.to_patient([3, 2, 1]), [103, 204, 305])
    np.testing.assert_array_equal(geometry.to_patient(np.zeros((2, 5, 3))).shape, (2, 5, 3))
    assert geometry.spacing_mm == (1, 2, 5)
    np.testing.assert_array_equal(geometry.center_mm, [101.5, 202, 302.5])
    np.testing.assert_array_equal(geometry.corners_mm.min(axis=0), [99.5, 199, 297.5])
    np.testing.assert_array_equal(geometry.corners_mm.max(axis=0), [103.5, 205, 307.5])
    assert geometry.diagonal_mm == pytest.approx(np.linalg.norm([4, 6, 10]))


def test_a_tilted_stack_has_its_slice_distance_along_the_normal() -> None:
    geometry = VolumeGeometry.from_axes((10, 8, 8), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 3, 4))
    assert geometry.spacing_mm[2] == pytest.approx(4)
    assert geometry.is_sheared
    # The long way across: from the lowest row of the first slice to the highest of the last.
    assert geometry.diagonal_mm == pytest.approx(np.linalg.norm([8, 8 + 30, 40]))


@pytest.mark.parametrize("axes", phantoms.grid_orientations()[::5], ids=str)
def test_turned_and_mirrored_grids_are_not_sheared(axes) -> None:
    geometry = grid((3, 4, 5), (1, 2, 3), axes)
    assert not geometry.is_sheared
    assert geometry.spacing_mm == pytest.approx((1, 2, 3))


def test_a_single_slices_thickness_does_not_set_the_step() -> None:
    assert grid((1, 64, 64), (0.7, 0.8, 0.1)).smallest_spacing_mm == pytest.approx(0.7)
    assert grid((64, 1, 1), (0.1, 0.1, 3.0)).smallest_spacing_mm == pytest.approx(3.0)
    assert grid((1, 1, 1), (0.4, 0.5, 3.0)).smallest_spacing_mm == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("shape", "affine", "message"),
    [
        ((0, 2, 2), np.eye(4), "at least 1"),
        ((2, 2), np.eye(4), "three sizes"),
        ((2, 2, 2), np.eye(3), "4 x 4"),
        ((2, 2, 2), np.diag([1, 1, np.nan, 1]), "finite"),
        ((2, 2, 2), np.diag([1, 1, 0, 1]), "degenerate"),
        ((2, 2, 2), np.diag([1, 1, 1e-5, 1]), "degenerate"),
        ((2, 2, 2), np.diag([1.0, 1, 1, 2]), "last row"),
    ],
)
def test_a_grid_that_is_none_is_refused(shape, affine, message) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        VolumeGeometry(shape, affine)


def test_coplanar_axes_are_refused_whatever_their_length() -> None:
    with pytest.raises(InvalidArgumentError, match="degenerate"):
        VolumeGeometry.from_axes((2, 2, 2), (0, 0, 0), (50, 0, 0), (0, 50, 0), (50, 50, 1e-6))


def test_the_affine_is_a_copy_that_nobody_can_change() -> None:
    affine = np.eye(4)
    geometry = VolumeGeometry((2, 2, 2), affine)
    affine[0, 0] = 7
    assert geometry.patient_from_voxel[0, 0] == 1
    with pytest.raises(ValueError, match="read-only"):
        geometry.patient_from_voxel[0, 0] = 7


@pytest.mark.parametrize("geometry", GRIDS.values(), ids=GRIDS)
def test_corners_are_at_the_voxel_faces(geometry) -> None:
    index = geometry.to_voxel(geometry.corners_mm)
    np.testing.assert_allclose(
        np.abs(index - (np.array(geometry.shape[::-1]) - 1) / 2), np.array([geometry.shape[::-1]] * 8) / 2
    )

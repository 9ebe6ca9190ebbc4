"""A stack is a volume only if every slice lies on one affine; a refusal says what was measured."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.dicom.frames import FrameHeader, PixelFormat
from render.dicom.stack import SLICE_TOLERANCE_FRACTION, SLICE_TOLERANCE_MM, fit
from render.errors import NotAVolumeError
from tests.dicom.synthetic import AXIAL, positions_mm

PIXELS = PixelFormat("PixelData", 40, 50, 1, "MONOCHROME2", 16, 16, 15, True, 0)
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def frames(positions: np.ndarray, orientation: tuple[float, ...] = AXIAL, thickness: float = 2.0) -> list[FrameHeader]:
    return [
        FrameHeader(1, tuple(position), orientation, (0.8, 0.5), thickness, 1.0, 0.0, (), ()) for position in positions
    ]


def test_the_affine_takes_columns_by_the_second_spacing_and_rows_by_the_first() -> None:
    stack = fit(frames(positions_mm(3, (-1.2, 1.6, 0.0)), OBLIQUE), PIXELS)
    affine = stack.geometry.patient_from_voxel
    np.testing.assert_allclose(affine[:3, 0], np.array(OBLIQUE[:3]) * 0.5, atol=1e-12)
    np.testing.assert_allclose(affine[:3, 1], np.array(OBLIQUE[3:]) * 0.8, atol=1e-12)


@pytest.mark.parametrize("step", [(0, 0, 2.5), (0, 0, -2.5)])
def test_slices_ascend_along_the_normal_whatever_their_order(step: tuple[float, float, float]) -> None:
    positions = positions_mm(5, step)
    stack = fit(frames(positions), PIXELS)
    depths = positions[list(stack.order), 2]
    assert (np.diff(depths) > 0).all()
    np.testing.assert_allclose(stack.geometry.patient_from_voxel[:3, 3], positions[stack.order[0]])
    assert stack.geometry.shape == (5, 40, 50)


def test_slices_side_by_side_in_one_plane_are_refused() -> None:
    with pytest.raises(NotAVolumeError, match=r"3 slices lie side by side: 0\.0000 mm apart .* 4\.0000 mm within"):
        fit(frames(positions_mm(3, (4.0, 0.0, 0.0))), PIXELS)


def test_a_tilted_gantry_keeps_its_shear() -> None:
    geometry = fit(frames(positions_mm(6, (0.0, 0.8, 2.5))), PIXELS).geometry
    assert geometry.is_sheared
    assert geometry.spacing_mm[2] == pytest.approx(2.5)
    np.testing.assert_allclose(geometry.patient_from_voxel[:3, 2], (0, 0.8, 2.5))


def test_a_single_slice_is_as_deep_as_it_is_thick_or_1_mm() -> None:
    assert fit(frames(positions_mm(1)), PIXELS).geometry.spacing_mm[2] == pytest.approx(2.0)
    assert fit(frames(positions_mm(1), thickness=0), PIXELS).geometry.spacing_mm[2] == pytest.approx(1.0)


def test_uneven_spacing_is_refused_with_both_spacings_and_the_place() -> None:
    depths = np.concatenate([np.arange(31) * 2.0, 60 + 5.0 + np.arange(10) * 2.0])
    positions = np.stack([np.zeros(41), np.zeros(41), depths], axis=1)
    with pytest.raises(NotAVolumeError, match=r"spacing varies 2\.0 to 5\.0 mm between slices 31 and 32") as caught:
        fit(frames(positions), PIXELS)
    assert caught.value.details["largest_mm"] == pytest.approx(5.0)


def test_a_turned_slice_is_refused_by_its_corner() -> None:
    turn = np.radians(0.4)
    turned = (np.cos(turn), np.sin(turn), 0.0, -np.sin(turn), np.cos(turn), 0.0)
    stack = frames(positions_mm(5))
    stack[2] = frames(positions_mm(5)[2:3], turned)[0]
    with pytest.raises(NotAVolumeError, match=r"slice 3 of 5 is turned .* a corner lies 0\.2\d\d mm off"):
        fit(stack, PIXELS)


@pytest.mark.parametrize(
    ("orientation", "reason"),
    [
        ((1, 0, 0, 0.1, 0.995, 0), "not 0 within"),
        ((1.5, 0, 0, 0, 1, 0), "not 1 within"),
        ((0, 0, 0, 0, 1, 0), "not 1 within"),
    ],
)
def test_cosines_that_are_no_directions_are_refused(orientation: tuple[float, ...], reason: str) -> None:
    with pytest.raises(NotAVolumeError, match=reason):
        fit(frames(positions_mm(3), orientation), PIXELS)


@settings(max_examples=60, deadline=None)
@given(
    spacing=st.floats(0.2, 8.0),
    place=st.integers(1, 6),
    axis=st.integers(0, 2),
    times=st.one_of(st.floats(0.0, 0.9), st.floats(1.1, 8.0)),
)
def test_a_slice_off_the_line_by_more_than_the_tolerance_is_refused_and_measured(
    spacing: float, place: int, axis: int, times: float
) -> None:
    tolerance = min(SLICE_TOLERANCE_MM, SLICE_TOLERANCE_FRACTION * spacing)
    positions = positions_mm(8, (0.0, 0.0, spacing))
    positions[place, axis] += times * tolerance
    if times < 1:
        assert fit(frames(positions), PIXELS).geometry.shape[0] == 8
        return
    with pytest.raises(NotAVolumeError) as caught:
        fit(frames(positions), PIXELS)
    assert caught.value.details["deviation_mm"] == pytest.approx(times * tolerance, rel=1e-6)
    assert re.search(r"\d mm (off|allowed)", caught.value.message)

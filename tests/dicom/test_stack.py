"""A stack is a volume only if every slice lies on one affine; a refusal says what was measured."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from render.dicom.frames import FrameHeader
from render.dicom.stack import fit
from render.dicom.tolerances import GAP_FACTOR, LARGEST_GROWTH, slice_tolerance_mm
from render.dicom.uneven import even_grid
from render.errors import NotAVolumeError
from tests.dicom.synthetic import AXIAL, positions_mm

SIZE = (40, 50)
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)


def frames(positions: np.ndarray, orientation: tuple[float, ...] = AXIAL, thickness: float = 2.0) -> list[FrameHeader]:
    return [
        FrameHeader(1, tuple(position), orientation, (0.8, 0.5), thickness, 1.0, 0.0, (), ()) for position in positions
    ]


def test_the_affine_takes_columns_by_the_second_spacing_and_rows_by_the_first() -> None:
    stack = fit(frames(positions_mm(3, (-1.2, 1.6, 0.0)), OBLIQUE), *SIZE)
    affine = stack.geometry.patient_from_voxel
    np.testing.assert_allclose(affine[:3, 0], np.array(OBLIQUE[:3]) * 0.5, atol=1e-12)
    np.testing.assert_allclose(affine[:3, 1], np.array(OBLIQUE[3:]) * 0.8, atol=1e-12)


@pytest.mark.parametrize("step", [(0, 0, 2.5), (0, 0, -2.5)])
def test_slices_ascend_along_the_normal_whatever_their_order(step: tuple[float, float, float]) -> None:
    positions = positions_mm(5, step)
    stack = fit(frames(positions), *SIZE)
    depths = positions[list(stack.order), 2]
    assert (np.diff(depths) > 0).all()
    np.testing.assert_allclose(stack.geometry.patient_from_voxel[:3, 3], positions[stack.order[0]])
    assert stack.geometry.shape == (5, 40, 50)


def test_slices_side_by_side_in_one_plane_are_refused() -> None:
    with pytest.raises(NotAVolumeError, match=r"3 slices lie side by side: 0\.0000 mm apart .* 4\.0000 mm within"):
        fit(frames(positions_mm(3, (4.0, 0.0, 0.0))), *SIZE)


def test_a_tilted_gantry_keeps_its_shear() -> None:
    geometry = fit(frames(positions_mm(6, (0.0, 0.8, 2.5))), *SIZE).geometry
    assert geometry.is_sheared
    assert geometry.spacing_mm[2] == pytest.approx(2.5)
    np.testing.assert_allclose(geometry.patient_from_voxel[:3, 2], (0, 0.8, 2.5))


def test_a_single_slice_is_as_deep_as_it_is_thick_or_1_mm() -> None:
    assert fit(frames(positions_mm(1)), *SIZE).geometry.spacing_mm[2] == pytest.approx(2.0)
    assert fit(frames(positions_mm(1), thickness=0), *SIZE).geometry.spacing_mm[2] == pytest.approx(1.0)


def at_depths(depths: np.ndarray, shear: float = 0.0) -> np.ndarray:
    return np.stack([np.zeros(len(depths)), depths * shear, depths], axis=1)


class TestUnevenStacks:
    def test_a_missing_slice_is_a_gap_and_all_others_keep_their_values(self) -> None:
        stack = fit(frames(at_depths(np.array([0.0, 5, 10, 20, 25]))), *SIZE)
        assert stack.geometry.shape == (6, 40, 50)
        assert stack.geometry.spacing_mm[2] == pytest.approx(5)
        assert [(place.lower, place.upper) for place in stack.places] == [
            (0, None), (1, None), (2, None), (None, None), (3, None), (4, None)
        ]  # fmt: skip
        assert stack.warnings == (
            "a gap of over 1.5 times the median spacing of 5.00 mm, left empty: 10.00 to 20.00 mm along the normal",
        )

    def test_two_spacings_are_resampled_to_the_finer_and_said_with_the_positions(self) -> None:
        stack = fit(frames(at_depths(np.array([0.0, 5, 10, 17, 24, 31]))), *SIZE)
        assert stack.geometry.spacing_mm[2] == pytest.approx(31 / 7)
        assert [place.lower for place in stack.places] == [0, 0, 1, 2, 3, 3, 4, 5]
        (warning,) = stack.warnings
        assert warning == (
            "spacing varies 5.0 to 7.0 mm, most between slices 1 and 2: resampled to 4.429 mm along the normal; "
            "the slices lie at 0.00, 5.00, 10.00, 17.00, 24.00, 31.00 mm"
        )

    def test_a_sheared_stack_keeps_its_shear_while_it_is_resampled(self) -> None:
        positions = at_depths(np.array([0.0, 5, 10, 17, 24, 31]), shear=0.3)
        geometry = fit(frames(positions), *SIZE).geometry
        assert geometry.is_sheared
        np.testing.assert_allclose(geometry.to_patient([0, 0, 7]), positions[-1])

    def test_slices_that_leave_the_line_are_refused_however_they_are_spaced(self) -> None:
        positions = at_depths(np.array([0.0, 5, 10, 17, 24, 31]))
        positions[2, 0] = 0.2
        with pytest.raises(NotAVolumeError, match=r"slice 3 of 6 lies 0\.200 mm off the stack's line, 0\.100 mm"):
            fit(frames(positions), *SIZE)

    def test_a_slice_that_nearly_repeats_its_neighbour_is_too_uneven(self) -> None:
        with pytest.raises(NotAVolumeError, match=r"slices 3 and 4 are 0\.400 mm apart, under 0\.25 of the median"):
            fit(frames(at_depths(np.array([0.0, 5, 10, 10.4, 15, 20]))), *SIZE)

    def test_what_would_be_mostly_gap_is_refused(self) -> None:
        with pytest.raises(NotAVolumeError, match=r"spacing varies 2\.0 to 500\.0 mm.* 257 slices would be needed"):
            fit(frames(at_depths(np.array([0.0, 2, 4, 6, 506, 508, 510, 512]))), *SIZE)

    def test_beside_a_gap_a_slice_stands_for_half_a_spacing(self) -> None:
        grid = even_grid(np.array([0.0, 2.0, 4.3, 6.3, 12.6]), 0.04)
        assert grid.step_mm == pytest.approx(1.8)
        assert [(place.lower, place.upper) for place in grid.places] == [
            (0, None), (0, 1), (1, 2), (2, 3), (3, None), (None, None), (None, None), (4, None)
        ]  # fmt: skip
        assert len(grid.warnings) == 2

    def test_many_positions_do_not_fill_the_screen(self) -> None:
        depths = np.arange(200) + np.random.default_rng(2).uniform(-0.2, 0.2, 200)
        (warning,) = even_grid(depths, 0.02).warnings
        assert "(176 more)" in warning
        assert len(warning) < 400

    @settings(max_examples=80, deadline=None)
    @given(steps=st.lists(st.floats(1.0, 3.9), min_size=2, max_size=30))
    def test_every_place_is_where_it_says(self, steps: list[float]) -> None:
        depth = np.concatenate([[0.0], np.cumsum(steps)])
        tolerance = 0.02
        try:
            grid = even_grid(depth, tolerance)
        except NotAVolumeError:
            return
        median = np.median(steps)
        assert len(depth) <= len(grid.places) <= LARGEST_GROWTH * len(depth)
        assert (grid.places[0].lower, grid.places[-1].lower) == (0, len(depth) - 1)
        for n, place in enumerate(grid.places):
            z = n * grid.step_mm
            if place.upper is not None:
                assert place.lower is not None
                assert depth[place.upper] - depth[place.lower] <= GAP_FACTOR * median + 1e-9
                mixed = depth[place.lower] * (1 - place.fraction) + depth[place.upper] * place.fraction
                assert mixed == pytest.approx(z, abs=1e-6)
            elif place.lower is not None:
                assert abs(depth[place.lower] - z) <= max(tolerance, median / 2) + 1e-9
            else:
                before = depth[depth < z].max()
                after = depth[depth > z].min()
                assert after - before > GAP_FACTOR * median


def test_a_turned_slice_is_refused_by_its_corner() -> None:
    turn = np.radians(0.4)
    turned = (np.cos(turn), np.sin(turn), 0.0, -np.sin(turn), np.cos(turn), 0.0)
    stack = frames(positions_mm(5))
    stack[2] = frames(positions_mm(5)[2:3], turned)[0]
    with pytest.raises(NotAVolumeError, match=r"slice 3 of 5 is turned .* a corner lies 0\.2\d\d mm off"):
        fit(stack, *SIZE)


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
        fit(frames(positions_mm(3), orientation), *SIZE)


@settings(max_examples=60, deadline=None)
@given(
    spacing=st.floats(0.2, 8.0),
    place=st.integers(1, 6),
    axis=st.integers(0, 1),
    times=st.one_of(st.floats(0.0, 0.9), st.floats(1.1, 8.0)),
)
def test_a_slice_off_the_line_by_more_than_the_tolerance_is_refused_and_measured(
    spacing: float, place: int, axis: int, times: float
) -> None:
    tolerance = slice_tolerance_mm(spacing)
    positions = positions_mm(8, (0.0, 0.0, spacing))
    positions[place, axis] += times * tolerance
    if times < 1:
        assert fit(frames(positions), *SIZE).geometry.shape[0] == 8
        return
    with pytest.raises(NotAVolumeError) as caught:
        fit(frames(positions), *SIZE)
    assert caught.value.details["deviation_mm"] == pytest.approx(times * tolerance, rel=1e-6)
    assert re.search(r"\d mm (off|allowed)", caught.value.message)

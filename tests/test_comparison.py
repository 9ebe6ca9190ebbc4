"""The comparison refuses what is wrong: a judge that can't say no is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from render.transfer import Window
from render.view import Camera, Layer, RenderingMethod, View, Viewport
from tests import phantoms
from tests.comparison import COLOR_TOLERANCE, agreement, judge, judge_gray, value_tolerance
from tests.phantoms import FLOAT32, GRIDS, INT16
from tests.reference import Reference, render_reference


def reference_of(values: list[float]) -> Reference:
    array = np.array(values)
    nowhere = np.isnan(array)
    return Reference(array, None, array, array, nowhere, nowhere, 0.0)


def test_values_within_the_tolerance_agree_and_others_do_not() -> None:
    agrees, excess = agreement(
        reference_of([0, 0, 0, np.nan, np.nan, 5]), np.array([0.9, -1.1, 0, np.nan, 3, np.nan], np.float32), 1.0
    )
    np.testing.assert_array_equal(agrees, [True, False, True, True, False, False])
    np.testing.assert_array_equal(np.isinf(excess), [False, False, False, False, True, True])


def test_a_doubtful_pixel_may_be_either() -> None:
    reference = dataclasses.replace(
        reference_of([0.0] * 4), high=np.full(4, 10.0), may_be_outside=np.array([True, True, True, False])
    )
    agrees, _ = agreement(reference, np.array([np.nan, 5, 12, np.nan], np.float32), 1.0)
    np.testing.assert_array_equal(agrees, [True, True, False, False])


def test_colours_agree_within_two_levels() -> None:
    color = np.full((3, 4), 100 / 255)
    nowhere = np.zeros(3, np.bool_)
    reference = Reference(None, color, color, color, nowhere, nowhere, 1.0)
    picture = np.full((3, 4), 100, np.uint8)
    picture[1, 2], picture[2, 0] = 102, 103
    agrees, _ = agreement(reference, picture, COLOR_TOLERANCE)
    np.testing.assert_array_equal(agrees, [True, True, False])


def test_one_pixel_in_a_hundred_is_too_many() -> None:
    values = np.zeros(100)
    picture = np.zeros(100, np.float32)
    assert judge(reference_of(values.tolist()), picture, 1.0, 0.999).agrees
    picture[7] = 2
    refused = judge(reference_of(values.tolist()), picture, 1.0, 0.999)
    assert not refused.agrees
    assert refused.where == (7,)
    assert refused.worst == 2


def test_a_ct_may_be_off_by_one_hu_and_a_float_volume_by_as_much_of_its_range() -> None:
    geometry = GRIDS["oblique"]
    assert value_tolerance(phantoms.blobs(geometry, INT16)) == 1.0
    volume = phantoms.blobs(geometry, FLOAT32)
    assert value_tolerance(volume) == pytest.approx(np.ptp(volume.codes) / 4096)


@pytest.mark.parametrize("method", [RenderingMethod.MAXIMUM_IP, RenderingMethod.AVERAGE_IP])
def test_half_a_voxel_is_told_apart(method) -> None:
    geometry = GRIDS["oblique"]
    volume = phantoms.blobs(geometry, INT16)
    moved = geometry.to_patient(np.array([0.5, 0, 0])) - geometry.to_patient(np.zeros(3))
    center = geometry.center_mm
    pictures = []
    for at in (center, center + moved):
        camera = Camera(tuple(at + np.array([30.0, -50.0, 20.0])), tuple(at), (0, 0, 1), parallel_scale_mm=8)
        pictures.append(render_reference(View(camera, Viewport(20, 20), (Layer("b"),), method, 4.0), volume))
    exact = judge(pictures[0], pictures[0].values.astype(np.float32), 1.0, 0.999)
    assert exact.agrees
    assert exact.seen == 1.0
    assert not judge(pictures[0], pictures[1].values.astype(np.float32), 1.0, 0.999).agrees


def test_a_swapped_window_is_told_apart() -> None:
    reference = reference_of(np.linspace(-500, 1500, 200).tolist())
    right, swapped = Window(40, 400), Window(400, 40)
    gray = right.to_gray8(reference.values)
    assert judge_gray(reference, right, gray, 1.0).agrees
    assert not judge_gray(reference, right, swapped.to_gray8(reference.values), 1.0).agrees

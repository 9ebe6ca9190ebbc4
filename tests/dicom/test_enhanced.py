"""Frames of enhanced multi-frame objects: what tells them apart, and what makes a volume of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    ExplicitVRLittleEndian,
)

from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan
from tests.dicom.synthetic import ramp, save, slice_dataset


def write(path: Path, phases: int, **attributes: object) -> None:
    """Write an enhanced object of 3 slices, whose frames alternate between phases."""
    stored = ramp((3 * phases, 6, 5))
    dataset = slice_dataset(stored[0], "1.2.3.4.1", "1.2.3.4")
    dataset.NumberOfFrames = len(stored)
    orientation, measures = Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.8, 0.5], 2.5
    shared = Dataset()
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.PerFrameFunctionalGroupsSequence = []
    for n in range(len(stored)):
        groups, place, content = Dataset(), Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, 2.5 * (n // phases)]
        content.DimensionIndexValues = [n // phases + 1, n % phases + 1]
        groups.PlanePositionSequence, groups.FrameContentSequence = [place], [content]
        dataset.PerFrameFunctionalGroupsSequence.append(groups)
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    save(dataset, path, stored, ExplicitVRLittleEndian)


def test_frames_make_a_volume(tmp_path: Path) -> None:
    write(tmp_path / "one", 1)
    plan = select(scan(tmp_path))
    np.testing.assert_array_equal(load_volume(plan).codes, ramp((3, 6, 5)))
    assert plan.geometry.spacing_mm == pytest.approx((0.5, 0.8, 2.5))


def test_frames_at_one_position_are_told_apart_by_a_dimension(tmp_path: Path) -> None:
    write(tmp_path / "one", 2)
    (series,) = scan(tmp_path).series
    assert [plan.info.extra for plan in series.volumes] == [{"Dimension2": "1"}, {"Dimension2": "2"}]
    for phase, plan in enumerate(series.volumes):
        np.testing.assert_array_equal(load_volume(plan).codes, ramp((6, 6, 5))[phase::2])


def test_directions_of_diffusion_tell_frames_apart_where_no_dimension_does(tmp_path: Path) -> None:
    write(tmp_path / "one", 2)
    file = dcmread(tmp_path / "one")
    for n, groups in enumerate(file.PerFrameFunctionalGroupsSequence):
        del groups.FrameContentSequence
        diffusion, direction = Dataset(), Dataset()
        direction.DiffusionGradientOrientation = [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]][n % 2]
        diffusion.DiffusionBValue, diffusion.DiffusionGradientDirectionSequence = 1000.0, [direction]
        groups.MRDiffusionSequence = [diffusion]
    file.save_as(tmp_path / "one")
    (series,) = scan(tmp_path).series
    assert [plan.info.extra for plan in series.volumes] == [
        {"DiffusionGradientOrientation": "0.0\\0.0\\1.0"},
        {"DiffusionGradientOrientation": "1.0\\0.0\\0.0"},
    ]
    np.testing.assert_array_equal(load_volume(series.volumes[1]).codes, ramp((6, 6, 5))[1::2])
    assert series.warnings == ()


@pytest.mark.parametrize("by_slice", [0, 1])
def test_times_of_frames_order_them_where_nothing_else_does(tmp_path: Path, by_slice: int) -> None:
    write(tmp_path / "one", 2)
    file = dcmread(tmp_path / "one")
    for n, groups in enumerate(file.PerFrameFunctionalGroupsSequence):
        (content,) = groups.FrameContentSequence
        del content.DimensionIndexValues
        # The second of each pair was acquired first.
        content.FrameAcquisitionDateTime = f"20200101120{1 - n % 2}0{by_slice * (n // 2)}.5"
    file.save_as(tmp_path / "one")
    (series,) = scan(tmp_path).series
    assert series.warnings == ()
    assert [len(plan.info.extra) for plan in series.volumes] == [1, 1]
    for plan, first in zip(series.volumes, (1, 0), strict=True):
        np.testing.assert_array_equal(load_volume(plan).codes, ramp((6, 6, 5))[first::2])


def test_frames_of_two_units_are_two_volumes(tmp_path: Path) -> None:
    write(tmp_path / "one", 2)
    dataset = dcmread(tmp_path / "one")
    for n, groups in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        transformation = Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = 1, -1024
        transformation.RescaleType = ("HU", "US")[n % 2]
        groups.PixelValueTransformationSequence = [transformation]
        groups.PlanePositionSequence[0].ImagePositionPatient = [0, 0, 2.5 * n]  # else they would be two phases anyway
        del groups.FrameContentSequence
    dataset.save_as(tmp_path / "one")
    (series,) = scan(tmp_path).series
    assert [(plan.info.units, plan.shape[0]) for plan in series.volumes] == [("HU", 3), ("", 3)]
    assert any("unit (HU, none)" in warning for warning in series.warnings)


def test_fewer_functional_groups_than_frames(tmp_path: Path) -> None:
    write(tmp_path / "one", 1, NumberOfFrames=2)
    (series,) = scan(tmp_path).series
    assert series.reason.startswith("3 per-frame functional groups for 2 frames (")


@pytest.mark.parametrize(("modality", "kind", "name"), [("US", "cine", "Frame"), ("OT", "image", "Image")])
def test_frames_without_a_place_are_images_of_their_own(tmp_path: Path, modality: str, kind: str, name: str) -> None:
    write(tmp_path / "one", 1, SharedFunctionalGroupsSequence=[], Modality=modality)
    (series,) = scan(tmp_path).series
    assert (series.kind, series.frames) == (kind, 3)
    assert [plan.info.extra for plan in series.volumes] == [{name: "1"}, {name: "2"}, {name: "3"}]
    for plan, expected in zip(series.volumes, ramp((3, 6, 5)), strict=True):
        np.testing.assert_array_equal(load_volume(plan).codes, expected[None])

"""Frames without functional groups: nuclear medicine by its vectors, all others as images of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameSingleBitSecondaryCaptureImageStorage

from render.dicom.cine import phases_of
from render.dicom.pixels import load_volume
from render.dicom.series import Series
from render.dicom.source import scan
from tests.dicom.synthetic import ramp, save, slice_dataset


def write_frames(path: Path, count: int, detector: dict[str, Any] | None = None, **attributes: Any) -> Series:
    stored = ramp((count, 6, 5))
    dataset = slice_dataset(stored[0], "1.2.3.4.1", "1.2.3.4")
    dataset.NumberOfFrames = count
    dataset.PixelSpacing = [0.8, 0.5]
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    if detector is not None:
        item = Dataset()
        for keyword, value in detector.items():
            setattr(item, keyword, value)
        dataset.DetectorInformationSequence = [item]
    save(dataset, path, stored, ExplicitVRLittleEndian)
    (series,) = scan(path).series
    return series


PLACE = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}


class TestNuclearMedicine:
    def test_a_dynamic_study_is_a_cine_for_each_detector(self, tmp_path: Path) -> None:
        series = write_frames(
            tmp_path / "x",
            6,
            Modality="NM",
            ImageType=["ORIGINAL", "PRIMARY", "DYNAMIC", "EMISSION"],
            EnergyWindowVector=[1] * 6,
            DetectorVector=[1, 1, 1, 2, 2, 2],
        )
        assert series.kind == "cine"
        assert [plan.info.extra for plan in series.volumes] == [
            {"Detector": detector, "Frame": str(n)} for n, detector in enumerate("111222", start=1)
        ]
        labels = [[phase.label for phase in phases] for phases in phases_of(series.volumes)]
        assert labels[0] == ["Detector 1, Frame 1", "Detector 1, Frame 2", "Detector 1, Frame 3"]
        assert labels[3] == ["Detector 2, Frame 4", "Detector 2, Frame 5", "Detector 2, Frame 6"]

    def test_static_views_are_images_and_no_cine(self, tmp_path: Path) -> None:
        series = write_frames(
            tmp_path / "x",
            4,
            Modality="NM",
            ImageType=["ORIGINAL", "PRIMARY", "STATIC", "EMISSION"],
            EnergyWindowVector=[1, 1, 2, 2],
            DetectorVector=[1, 2, 1, 2],
        )
        assert series.kind == "image"
        assert [tuple(plan.info.extra.values()) for plan in series.volumes] == [
            ("1", "1", "1"),
            ("1", "2", "2"),
            ("2", "1", "3"),
            ("2", "2", "4"),
        ]

    @pytest.mark.parametrize("spacing", [4.0, -4.0])
    def test_a_reconstruction_is_stacked_to_the_side_that_the_spacings_sign_says(
        self, tmp_path: Path, spacing: float
    ) -> None:
        series = write_frames(
            tmp_path / "x",
            3,
            PLACE,
            Modality="NM",
            ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO"],
            SpacingBetweenSlices=spacing,
        )
        (plan,) = series.volumes
        assert plan.shape == (3, 6, 5)
        volume = load_volume(plan)
        for n in range(3):
            (index,) = np.flatnonzero((volume.codes == ramp((3, 6, 5))[n]).all(axis=(1, 2)))
            np.testing.assert_allclose(plan.geometry.to_patient([0, 0, int(index)]), (1, 2, 3 + spacing * n))

    def test_vectors_order_the_slices_and_tell_gates_apart(self, tmp_path: Path) -> None:
        series = write_frames(
            tmp_path / "x",
            6,
            PLACE,
            Modality="NM",
            SpacingBetweenSlices=4,
            SliceVector=[3, 2, 1, 1, 2, 3],
            TimeSlotVector=[1, 1, 1, 2, 2, 2],
        )
        assert [plan.info.extra for plan in series.volumes] == [{"TimeSlot": "1"}, {"TimeSlot": "2"}]
        np.testing.assert_array_equal(load_volume(series.volumes[0]).codes, ramp((6, 6, 5))[[2, 1, 0]])
        np.testing.assert_array_equal(load_volume(series.volumes[1]).codes, ramp((6, 6, 5))[3:])

    def test_a_whole_body_pair_lies_nowhere(self, tmp_path: Path) -> None:
        series = write_frames(tmp_path / "x", 2, {}, Modality="NM", ImageType=["ORIGINAL", "PRIMARY", "WHOLE BODY"])
        assert (series.kind, [plan.shape for plan in series.volumes]) == ("image", [(1, 6, 5)] * 2)
        assert [plan.info.extra for plan in series.volumes] == [{"Image": "1"}, {"Image": "2"}]

    def test_a_slice_vector_that_is_none_is_refused(self, tmp_path: Path) -> None:
        series = write_frames(
            tmp_path / "x", 3, PLACE, Modality="NM", SpacingBetweenSlices=4, SliceVector=[1, 2, 65_000]
        )
        assert (series.kind, series.volumes) == ("other", ())
        assert series.reason == "SliceVector has a slice '65000' (x)"


@pytest.mark.parametrize(
    ("attributes", "kind"), [({"Modality": "XA"}, "cine"), ({"FrameTime": "40"}, "cine"), ({}, "image")]
)
def test_frames_in_time_are_a_cine(tmp_path: Path, attributes: dict[str, Any], kind: str) -> None:
    series = write_frames(tmp_path / "x", 4, **attributes)
    assert (series.kind, series.frames, len(series.volumes)) == (kind, 4, 4)
    assert [plan.info.volume_index for plan in series.volumes] == [0, 1, 2, 3]
    np.testing.assert_array_equal(load_volume(series.volumes[2]).codes[0], ramp((4, 6, 5))[2])
    assert series.volumes[0].geometry.spacing_mm[:2] == (0.5, 0.8)


def test_too_many_frames_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("render.dicom.plainframes.MAXIMUM_FRAMES", 3)
    assert write_frames(tmp_path / "x", 4).reason == "4 frames in one object: over 3 (x)"


@pytest.mark.data
def test_an_angiogram_is_a_cine_of_96_frames(real_data: Path) -> None:
    (series,) = scan(real_data / "codecs_ct_and_colour" / "xa_multiframe").series
    assert (series.kind, series.frames, len(series.volumes)) == ("cine", 96, 96)
    assert load_volume(series.volumes[95]).geometry.shape == (1, 512, 512)


@pytest.mark.data
def test_a_moving_knee_is_a_cine_in_its_order_of_time(real_data: Path) -> None:
    (series,) = scan(real_data / "enhanced_multiframe" / "nema_moving_knee_19frames").series
    assert (series.kind, series.frames) == ("cine", 19)
    assert [plan.info.extra for plan in series.volumes] == [{"TemporalPositionIndex": str(n)} for n in range(1, 20)]


def test_two_clips_of_one_series_are_two_cines(tmp_path: Path) -> None:
    for n, count in enumerate((3, 4)):
        dataset = slice_dataset(ramp((1, 6, 5))[0], f"1.2.3.4.{n}", "1.2.3.4")
        dataset.Modality, dataset.NumberOfFrames = "US", count
        save(dataset, tmp_path / str(n), ramp((count, 6, 5)), ExplicitVRLittleEndian)
    (series,) = scan(tmp_path).series
    assert sorted({len(phases) for phases in phases_of(series.volumes)}) == [3, 4]
    for phases in phases_of(series.volumes):
        assert [phase.label for phase in phases] == [f"Frame {n}" for n in range(1, len(phases) + 1)]


def test_single_bits_are_values_of_0_and_1(tmp_path: Path) -> None:
    bits = np.arange(2 * 5 * 7).reshape(2, 5, 7) % 3 == 0
    dataset = slice_dataset(np.zeros((5, 7), np.uint8), "1.2.3.4.1", "1.2.3.4")
    dataset.Modality, dataset.SOPClassUID = "OT", MultiFrameSingleBitSecondaryCaptureImageStorage
    dataset.NumberOfFrames, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 2, 1, 1, 0
    save(dataset, tmp_path / "x", np.packbits(bits, bitorder="little"), ExplicitVRLittleEndian)
    (series,) = scan(tmp_path).series
    assert series.reason == ""
    for plan, expected in zip(series.volumes, bits, strict=True):
        np.testing.assert_array_equal(load_volume(plan).values()[0], expected)

"""RT Dose as a volume in Gy, ultrasound calibration, and concatenations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from render.dicom.dose import RT_DOSE
from render.dicom.pixels import load_volume
from render.dicom.source import scan
from tests.dicom.synthetic import slice_dataset
from tests.dicom.test_colour_volumes import write_colour

PLANES = np.arange(5 * 4 * 6, dtype=np.uint32).reshape(5, 4, 6) * 1000


def write_dose(path: Path, *, uid: str = "1.2.8.1", planes: np.ndarray = PLANES, **attributes: object) -> None:
    dataset = slice_dataset(planes[0], uid, "1.2.8")
    dataset.SOPClassUID = RT_DOSE
    dataset.Modality = "RTDOSE"
    dataset.NumberOfFrames = len(planes)
    dataset.InstanceNumber = 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [-10, -20, 30], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [2, 3]
    dataset.DoseGridScaling, dataset.DoseUnits = "1e-5", "GY"
    dataset.GridFrameOffsetVector = [0, 2.5, 5, 7.5, 10]
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RT_DOSE, uid
    file = pydicom.dataset.FileDataset(str(path), dataset, preamble=b"\0" * 128, file_meta=meta)
    file.PixelData = planes.tobytes()
    file["PixelData"].VR = "OW"
    file.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("attributes", "first_mm", "step_mm"),
    [
        ({}, 30, 2.5),
        ({"GridFrameOffsetVector": [30, 32.5, 35, 37.5, 40]}, 30, 2.5),  # the planes' own z
        ({"GridFrameOffsetVector": [0, -2.5, -5, -7.5, -10]}, 20, 2.5),
        # From the feet to the head, with the normal to the feet: offsets go along the normal.
        ({"ImageOrientationPatient": [1, 0, 0, 0, -1, 0]}, 30, -2.5),
        ({"ImageOrientationPatient": [1, 0, 0, 0, -1, 0], "GridFrameOffsetVector": [30, 32.5, 35, 37.5, 40]}, 40, -2.5),
    ],
)
def test_planes_lie_where_the_offsets_say(
    tmp_path: Path, attributes: dict[str, object], first_mm: float, step_mm: float
) -> None:
    write_dose(tmp_path / "dose.dcm", **attributes)
    (series,) = scan(tmp_path).series
    assert (series.kind, series.reason, len(series.volumes)) == ("volume", "", 1)
    plan = series.volumes[0]
    assert plan.info.units == "Gy"
    assert dict(plan.info.extra) == {}
    affine = plan.geometry.patient_from_voxel
    np.testing.assert_allclose(affine[:3, 2], [0, 0, step_mm])
    assert affine[2, 3] == pytest.approx(first_mm)
    values = load_volume(plan).values()
    is_reversed = first_mm in (20, 40)  # the first plane of the file is not the first of the stack
    np.testing.assert_allclose(values, (PLANES[::-1] if is_reversed else PLANES) * 1e-5, rtol=1e-6)


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"DoseGridScaling": None}, "DoseGridScaling is missing"),
        ({"DoseGridScaling": "-1"}, "DoseGridScaling is missing or not over 0"),
        ({"GridFrameOffsetVector": None}, "5 planes of dose without GridFrameOffsetVector"),
        ({"GridFrameOffsetVector": [0, 1]}, "GridFrameOffsetVector has 2 values, 5 needed"),
        ({"GridFrameOffsetVector": [7, 8, 9, 10, 11]}, "begins with 7: neither 0 nor the z of axial planes, 30"),
        (
            {"ImageOrientationPatient": [1, 0, 0, 0, 0, -1], "GridFrameOffsetVector": [30, 31, 32, 33, 34]},
            "begins with 30: neither 0 nor the z",
        ),
    ],
)
def test_a_dose_that_is_nowhere_is_refused(tmp_path: Path, attributes: dict[str, object], reason: str) -> None:
    write_dose(tmp_path / "dose.dcm", **attributes)
    (series,) = scan(tmp_path).series
    assert series.volumes == ()
    assert reason in series.reason


def test_uneven_planes_are_resampled_and_said(tmp_path: Path) -> None:
    write_dose(tmp_path / "dose.dcm", GridFrameOffsetVector=[0, 2, 4, 7, 9])
    (plan,) = scan(tmp_path).volumes
    assert plan.resampled
    assert plan.info.warnings[0].startswith("spacing varies 2.0 to 3.0 mm")


def test_doses_of_one_series_are_kept_apart(tmp_path: Path) -> None:
    write_dose(tmp_path / "a.dcm")
    write_dose(tmp_path / "b.dcm", uid="1.2.8.2", InstanceNumber=2, planes=PLANES + 1)
    (series,) = scan(tmp_path).series
    assert [dict(plan.info.extra) for plan in series.volumes] == [{"Dose": "1"}, {"Dose": "2"}]


def test_relative_dose_has_no_unit(tmp_path: Path) -> None:
    write_dose(tmp_path / "dose.dcm", DoseUnits="RELATIVE")
    assert scan(tmp_path).volumes[0].info.units == ""


def region(**attributes: object) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat, item.RegionDataType = 1, 1
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = 3
    item.PhysicalDeltaX, item.PhysicalDeltaY = 0.05, -0.04
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


@pytest.mark.parametrize(
    ("regions", "spacing_mm"),
    [
        ([region()], (0.5, 0.4)),
        ([region(), region(RegionSpatialFormat=3, PhysicalUnitsXDirection=4)], (0.5, 0.4)),  # a spectrum beside it
        ([region(), region(PhysicalDeltaX=0.06)], (1.0, 1.0)),  # two scales: no common one
        ([region(PhysicalUnitsYDirection=7)], (1.0, 1.0)),  # cm/s
        ([region(PhysicalDeltaX=0.0)], (1.0, 1.0)),
    ],
)
def test_ultrasound_calibration_is_the_pixel_spacing(
    tmp_path: Path, regions: list[Dataset], spacing_mm: tuple[float, float]
) -> None:
    write_colour(tmp_path / "a.dcm", np.zeros((1, 4, 6, 3), np.uint8), SequenceOfUltrasoundRegions=regions)
    (plan,) = scan(tmp_path).volumes
    assert plan.geometry.spacing_mm[:2] == pytest.approx(spacing_mm)


def part(number: int, total: int | None) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        write_dose(
            folder / f"{number}.dcm",
            uid=f"1.2.8.{number}",
            ImagePositionPatient=[-10, -20, 30 + 12.5 * number],
            ConcatenationUID="1.2.77",
            InConcatenationNumber=number,
            **({} if total is None else {"InConcatenationTotalNumber": total}),
        )

    return write


def test_parts_of_a_concatenation_are_one_stack_and_missing_ones_are_said(tmp_path: Path) -> None:
    for number in (1, 2):
        part(number, 4)(tmp_path)
    (series,) = scan(tmp_path).series
    assert [plan.shape for plan in series.volumes] == [(10, 4, 6)]
    assert "concatenation of 4 files: 2 missing, numbers 3, 4" in series.warnings

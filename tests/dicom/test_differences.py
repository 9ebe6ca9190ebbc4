"""Images of one series that can't be one volume are kept apart, and what they differ in is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from render.dicom.source import scan
from tests.dicom.synthetic import ramp, write_series


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"BitsStored": 12, "HighBit": 11}, "bits stored (16, 12), high bit (15, 11)"),
        ({"PhotometricInterpretation": "MONOCHROME1"}, "photometric (MONOCHROME2, MONOCHROME1)"),
        ({"FrameOfReferenceUID": "1.2.10"}, "frame of reference"),
        ({"RescaleType": "US"}, "unit (HU, none)"),
        ({"Modality": "OT"}, "unit (HU, none), modality (CT, OT)"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}, "being a scout"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.8, 0.6]}, "orientation"),
        ({"PixelSpacing": [0.8, 0.6]}, "pixel spacing (0.8 x 0.5, 0.8 x 0.6)"),
    ],
)
def test_what_keeps_images_apart_is_said(tmp_path: Path, other: dict[str, Any], what: str) -> None:
    write_series(tmp_path, ramp((5, 6, 5)), per_slice=[{}, {}, {}, other, other])
    (series,) = scan(tmp_path).series
    assert sorted(len(plan.slices) for plan in series.volumes) == [2, 3]
    assert f"2 groups of images that differ in {what}: kept apart" in series.warnings


def test_noise_keeps_nothing_apart(tmp_path: Path) -> None:
    noise = [
        {"PixelSpacing": [0.8 + 1e-5 * n, 0.5], "ImageOrientationPatient": [1, 1e-5 * n, 0, 0, 1, 0]} for n in range(4)
    ]
    write_series(tmp_path, per_slice=noise)
    (series,) = scan(tmp_path).series
    assert [plan.shape for plan in series.volumes] == [(4, 6, 5)]
    assert series.warnings == ()


def test_images_without_a_place_are_not_counted_as_groups(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((2, 6, 5)), per_slice=[{"ImagePositionPatient": None}] * 2)
    (series,) = scan(tmp_path).series
    assert series.warnings == ("no Image Position (Patient): shown in pixel coordinates",)

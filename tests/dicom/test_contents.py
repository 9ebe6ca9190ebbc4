"""What ``inspect`` says of label objects: sizes on the grid that they were drawn on, or why there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.dicom.contents import describe_labels
from render.dicom.source import scan
from tests.dicom.synthetic import positions_mm, ramp, write_series
from tests.dicom.test_rtstruct import SQUARE, contour, instance, write


def test_contours_enclose_voxels_of_the_volume_in_their_frame_of_reference(tmp_path: Path) -> None:
    write(tmp_path, [[contour(SQUARE, 1), contour(SQUARE, 2)], [contour(SQUARE, 3)]])
    write_series(tmp_path / "ct", ramp((4, 20, 30)), positions=positions_mm(4), uid="1.2.5")
    described = describe_labels(tmp_path, instance(tmp_path, "rt.dcm"), scan(tmp_path).volumes)
    assert described is not None
    sizes = [(segment["contours"], segment["voxels"], segment["ml"]) for segment in described["segments"]]
    assert sizes == [(2, 120, pytest.approx(0.12)), (1, 60, pytest.approx(0.06))]
    assert described["warnings"] == []


def test_without_that_volume_there_are_contours_only_and_it_is_said(tmp_path: Path) -> None:
    write(tmp_path, [[contour(SQUARE, 1)]])
    write_series(tmp_path / "ct", ramp((4, 20, 30)), positions=positions_mm(4), FrameOfReferenceUID="1.2.10")
    described = describe_labels(tmp_path, instance(tmp_path, "rt.dcm"), scan(tmp_path).volumes)
    assert described is not None
    (segment,) = described["segments"]
    assert (segment["contours"], segment["voxels"], segment["ml"]) == (1, None, None)
    assert described["warnings"] == ["the series that it was drawn on is not there: no voxels counted"]


def test_an_image_has_no_labels(tmp_path: Path) -> None:
    write_series(tmp_path)
    assert describe_labels(tmp_path, scan(tmp_path).volumes[0].slices[0].instance) is None

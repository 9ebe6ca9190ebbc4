"""One volume is chosen only where it is plain which; otherwise the candidates are listed."""

from __future__ import annotations

from pathlib import Path

import pytest

from render.dicom.series import select
from render.dicom.source import scan
from render.errors import AmbiguousSeriesError, NotAVolumeError, NoVolumeError
from tests.dicom.synthetic import positions_mm, ramp, write_series


def test_the_volume_beside_a_scout_an_image_and_a_document_is_plain(tmp_path: Path) -> None:
    write_series(tmp_path / "ct", uid="1.2.1")
    write_series(tmp_path / "scout", ramp((1, 6, 5)), uid="1.2.2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    write_series(tmp_path / "sr", ramp((1, 6, 5)), uid="1.2.3", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    write_series(tmp_path / "shot", ramp((1, 6, 5)), uid="1.2.4", Modality="OT", per_slice=[{"PixelSpacing": None}])
    assert select(scan(tmp_path)).info.series_uid == "1.2.1"


def test_a_localizer_of_several_slices_is_no_competitor(tmp_path: Path) -> None:
    write_series(tmp_path / "mr", uid="1.2.1")
    write_series(tmp_path / "loc", uid="1.2.2", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    assert select(scan(tmp_path)).info.series_uid == "1.2.1"


def test_two_volumes_are_ambiguous_and_listed(tmp_path: Path) -> None:
    write_series(tmp_path / "a", uid="1.2.1", SeriesNumber=2, SeriesDescription="one")
    write_series(tmp_path / "b", uid="1.2.2", SeriesNumber=3)
    found = scan(tmp_path)
    with pytest.raises(
        AmbiguousSeriesError, match="2 series could be meant: name one by its Series Instance UID or number"
    ) as caught:
        select(found)
    candidates = caught.value.details["candidates"]
    assert isinstance(candidates, list)
    assert candidates[0] == (
        f"series 1.2.1: CT series 2 'one', 5 x 6 x 4 voxels of 0.5 x 0.8 x 2.5 mm, id {found.series[0].volumes[0].id}"
    )


def test_two_patients_are_ambiguous_even_where_one_has_only_an_image(tmp_path: Path) -> None:
    write_series(tmp_path / "a", uid="1.2.1")
    write_series(tmp_path / "b", ramp((1, 6, 5)), uid="1.2.2", PatientID="another")
    with pytest.raises(AmbiguousSeriesError, match="series of 2 patients"):
        select(scan(tmp_path))
    assert select(scan(tmp_path), series="1.2.1").shape == (4, 6, 5)


def test_one_series_uid_for_two_patients_is_two_series(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", ramp((3, 6, 5)), PatientID="another")
    write_series(tmp_path / "c", PatientID="a third", PatientName="A^Third")
    found = scan(tmp_path)
    assert sorted(plan.shape for plan in found.volumes) == [(3, 6, 5), (4, 6, 5), (4, 6, 5)]
    assert len({plan.id for plan in found.volumes}) == 3
    for series in (None, "1.2.3.4"):
        with pytest.raises(AmbiguousSeriesError):
            select(found, series=series)


@pytest.mark.parametrize(("series", "uid"), [("1.2.2", "1.2.2"), ("8", "1.2.2"), ("7", "1.2.1"), ("007", "1.2.1")])
def test_a_series_is_named_by_uid_or_number(tmp_path: Path, series: str, uid: str) -> None:
    write_series(tmp_path / "a", uid="1.2.1", SeriesNumber=7)
    write_series(tmp_path / "b", uid="1.2.2", SeriesNumber=8)
    assert select(scan(tmp_path), series=series).info.series_uid == uid


def test_a_number_that_two_series_have(tmp_path: Path) -> None:
    write_series(tmp_path / "a", uid="1.2.1")
    write_series(tmp_path / "b", uid="1.2.2")
    write_series(tmp_path / "c", ramp((1, 6, 5)), uid="1.2.3", SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33")
    with pytest.raises(AmbiguousSeriesError, match="3 series are numbered 7: name one") as caught:
        select(scan(tmp_path), series="7")
    candidates = caught.value.details["candidates"]
    assert isinstance(candidates, list)
    assert [line.split(":")[0] for line in candidates] == ["series 1.2.1", "series 1.2.2", "series 1.2.3"]


@pytest.mark.parametrize("series", ["1", "2", "0", "-7", "1.2.99", "²", "", "9" * 5000])
def test_a_series_that_is_not_there_is_not_the_one_at_that_place(tmp_path: Path, series: str) -> None:
    write_series(tmp_path / "a", uid="1.2.1")
    write_series(tmp_path / "b", uid="1.2.2", SeriesNumber=30)
    with pytest.raises(NoVolumeError, match=r"none of 2 series has .*; numbers there are: 7, 30"):
        select(scan(tmp_path), series=series)


def test_a_refused_stack_says_why_and_competes(tmp_path: Path) -> None:
    uneven = positions_mm(4)
    uneven[3, 0] += 2.5
    write_series(tmp_path / "uneven", uid="1.2.1", positions=uneven)
    with pytest.raises(NotAVolumeError, match=r"series 7 'ramp' is no volume: slice 3 of 4 lies 1\.667 mm off"):
        select(scan(tmp_path))
    write_series(tmp_path / "even", uid="1.2.2")
    with pytest.raises(AmbiguousSeriesError):
        select(scan(tmp_path))


def test_several_volumes_of_one_series_need_a_number(tmp_path: Path) -> None:
    for phase in (1, 2):
        write_series(tmp_path / str(phase), uid=f"1.2.7.{phase}", SeriesInstanceUID="1.2.7", EchoTime=phase)
    found = scan(tmp_path)
    with pytest.raises(AmbiguousSeriesError, match="holds 2 volumes: name one by its number") as caught:
        select(found)
    assert "volume 1: 5 x 6 x 4 voxels of 0.5 x 0.8 x 2.5 mm, EchoTime 2.0" in str(caught.value.details["candidates"])
    assert select(found, volume=1).info.extra == {"EchoTime": "2.0"}
    with pytest.raises(NotAVolumeError, match="holds 2 volumes, numbered from 0: no number 2"):
        select(found, volume=2)


def test_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(NoVolumeError, match=r"no DICOM in 1 file: not DICOM: "):
        select(scan(tmp_path))


def test_a_lone_image_is_chosen_where_there_is_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, ramp((1, 6, 5)), Modality="CR", per_slice=[{"ImagePositionPatient": None}])
    assert select(scan(tmp_path)).shape == (1, 6, 5)

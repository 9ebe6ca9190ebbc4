"""DICOMDIR: what it lists and is not there is said; what is there and not listed is found."""

from __future__ import annotations

import gc
import warnings
import zipfile
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.fileset import FileSet

from render.dicom.media import MediaDirectory, compare
from render.dicom.source import scan
from tests.dicom.synthetic import ramp, write_series


@pytest.fixture
def media(tmp_path: Path) -> Path:
    """Return a media folder with one series of four images."""
    fileset = FileSet()
    for path in write_series(tmp_path / "source", StudyDate="20200101", StudyTime="10", StudyID="1"):
        fileset.add(dcmread(path))
    folder = tmp_path / "media"
    fileset.write(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it leaves a temporary folder to the garbage collector
        del fileset
        gc.collect()
    return folder


def test_a_dicomdir_stands_for_its_folder(media: Path) -> None:
    write_series(media / "more", ramp((2, 6, 5)), uid="1.2.77")
    for path in (media, media / "DICOMDIR"):
        found = scan(path)
        assert [plan.shape for plan in found.volumes] == [(4, 6, 5), (2, 6, 5)]
        assert {file.path: file.reason for file in found.skipped} == {
            "DICOMDIR": "DICOMDIR: lists 4 files, holds no image itself"
        }
        assert found.missing == ()


def test_what_is_listed_and_missing_is_said_of_the_directory_and_of_its_series(media: Path) -> None:
    images = sorted(path for path in media.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    images[-1].unlink()
    found = scan(media)
    lost = images[-1].relative_to(media).as_posix()
    assert found.missing == (lost,)
    (reason,) = (file.reason for file in found.skipped)
    assert reason == f"DICOMDIR: lists 4 files, holds no image itself; 1 of them are missing: {lost}"
    (entry,) = found.to_json()["skipped"]
    assert (entry["path"], entry["missing"]) == ("DICOMDIR", [lost])
    (series,) = found.series
    assert series.warnings == (f"the DICOMDIR lists 1 more images of this series that are missing, the first {lost}",)
    assert series.volumes[0].info.warnings == series.warnings


def test_a_dicomdir_in_an_archive_is_held_to_what_is_there(media: Path, tmp_path: Path) -> None:
    images = sorted(path for path in media.rglob("*") if path.is_file() and path.name != "DICOMDIR")
    (extra,) = write_series(tmp_path / "extra", ramp((1, 6, 5)), uid="1.2.77")
    with zipfile.ZipFile(tmp_path / "cd.zip", "w") as archive:
        for path in (media / "DICOMDIR", *images[1:]):
            archive.write(path, f"disc/{path.relative_to(media).as_posix()}")
        archive.write(extra, "disc/EXTRA")
    found = scan(tmp_path / "cd.zip")
    lost = f"cd.zip!/disc/{images[0].relative_to(media).as_posix()}"
    assert found.missing == (lost,)
    assert {file.path: file.missing for file in found.skipped} == {"cd.zip": (), "cd.zip!/disc/DICOMDIR": (lost,)}
    assert sorted(len(series.paths) for series in found.series) == [1, 3]
    assert found.files == 6


def test_case_and_versions_of_names_do_not_matter() -> None:
    directory = MediaDirectory("cd/DICOMDIR", (("DICOM/IM1", ""), ("DICOM/IM2", ""), ("DICOM/IM3", "")))
    media = compare([directory], ["cd/DICOMDIR", "cd/dicom/im1", "cd/dicom/IM2.;1"])
    assert media.missing == ("cd/DICOM/IM3",)


def test_names_that_lead_out_are_missing_and_never_looked_for(tmp_path: Path) -> None:
    directory = MediaDirectory("cd/DICOMDIR", (("../../outside/IM1", "1.2"),))
    media = compare([directory], ["cd/DICOMDIR"])
    assert media.missing == ("../outside/IM1",)
    assert media.missing_of_series == {"1.2": ("../outside/IM1",)}


@pytest.mark.data
class TestRealMedia:
    def test_378_of_433_images_are_missing(self, real_data: Path) -> None:
        found = scan(real_data / "ct_gantry_tilt_philips_media" / "DICOMDIR")
        assert len(found.missing) == 378
        reason = next(file.reason for file in found.skipped if file.path == "DICOMDIR")
        assert reason.startswith(
            "DICOMDIR: lists 433 files, holds no image itself; 378 of them are missing: DICOM/S21570/S1000/I10, "
        )
        assert [len(series.paths) for series in found.series] == [1, 54]
        assert all(not series.warnings or "DICOMDIR" not in series.warnings[0] for series in found.series)

    @pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-reordered"])
    def test_directories_of_every_encoding_are_read(self, real_data: Path, name: str) -> None:
        found = scan(real_data / "pydicom_test_files" / "dicomdirtests" / name)
        reasons = {file.path: file.reason for file in found.skipped}
        assert reasons[name] == "DICOMDIR: lists 31 files, holds no image itself"
        assert found.missing == ()

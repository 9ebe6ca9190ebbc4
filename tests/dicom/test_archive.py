"""ZIP archives are read in place, within bounds, and every entry is accounted for."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import Scan, scan
from render.errors import CodecError, NoVolumeError, UnreadableFileError
from tests.dicom.synthetic import ramp, write_series


def pack(path: Path, folder: Path, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def reasons(found: Scan) -> dict[str, str]:
    return {file.path: file.reason for file in found.skipped}


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_series_in_an_archive_is_the_same_volume(tmp_path: Path, compression: int) -> None:
    write_series(tmp_path / "files" / "deep")
    archive = pack(tmp_path / "packed" / "a.zip", tmp_path / "files", compression)
    plain, packed = scan(tmp_path / "files"), scan(tmp_path / "packed")
    (plan,) = packed.volumes
    assert plan.id == plain.volumes[0].id
    np.testing.assert_array_equal(load_volume(plan).codes, ramp((4, 6, 5)))
    assert packed.series[0].paths == tuple(f"a.zip!/deep/slice00{n}.dcm" for n in range(4))
    assert reasons(packed) == {"a.zip": "ZIP archive: its 4 files are listed as a.zip!/..."}
    assert packed.files == 5
    assert scan(archive).to_json() == packed.to_json()


def test_workers_read_archives_too(tmp_path: Path) -> None:
    write_series(tmp_path / "files")
    archive = pack(tmp_path / "a.zip", tmp_path / "files")
    with Ingest(1) as ingest:
        (plan,) = ingest.scan(archive).volumes
        np.testing.assert_array_equal(ingest.load(plan).codes, ramp((4, 6, 5)))


def test_a_folder_that_is_called_like_an_archive_is_a_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "a.zip!" / "b")
    (plan,) = scan(tmp_path).volumes
    assert load_volume(plan).geometry.shape == (4, 6, 5)


def test_an_archive_within_an_archive_is_not_opened(tmp_path: Path) -> None:
    write_series(tmp_path / "files")
    pack(tmp_path / "outer" / "in" / "a.zip", tmp_path / "files")
    archive = pack(tmp_path / "b.zip", tmp_path / "outer")
    found = scan(archive)
    assert reasons(found)["b.zip!/in/a.zip"] == "not DICOM: a ZIP archive within an archive: not opened"
    assert not found.series


@pytest.mark.parametrize("name", ["../x.dcm", "a/../../x.dcm", "/etc/x.dcm", "C:/x.dcm", "..\\x.dcm", "\\\\host\\x"])
def test_names_that_lead_out_are_refused_and_said(tmp_path: Path, name: str) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, path.read_bytes())
        archive.write(path, "good.dcm")
    path.unlink()
    found = scan(tmp_path)
    assert reasons(found)[f"a.zip!/{name}"] == "name that leads out of the archive: refused"
    assert [series.paths for series in found.series] == [("a.zip!/good.dcm",)]
    assert found.files == 3
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.zip"]


def test_links_and_encrypted_entries_are_skipped(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
        archive.writestr("secret", b"x" * 40)
    content = (tmp_path / "a.zip").read_bytes()
    at = content.rindex(b"PK\x01\x02")
    (tmp_path / "a.zip").write_bytes(content[: at + 8] + b"\x01\x00" + content[at + 10 :])
    assert reasons(scan(tmp_path)) == {
        "a.zip": "ZIP archive: its 2 files are listed as a.zip!/...",
        "a.zip!/link": "symbolic link: not followed",
        "a.zip!/secret": "encrypted ZIP entry",
    }


def test_a_bomb_is_refused_by_its_ratio_without_being_inflated(tmp_path: Path) -> None:
    write_series(tmp_path / "files")
    with zipfile.ZipFile(pack(tmp_path / "a.zip", tmp_path / "files"), "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("noise", np.random.default_rng(1).bytes(100_000))
        archive.writestr("bomb", bytes(4 << 20))
    found = scan(tmp_path / "a.zip")
    assert reasons(found)["a.zip!/bomb"].startswith("ZIP entry of 4,194,304 bytes that inflates 1")
    assert reasons(found)["a.zip!/bomb"].endswith("times: over 200")
    assert [plan.shape for plan in found.volumes] == [(4, 6, 5)]


def test_an_archive_of_overlapping_entries_is_refused_as_a_whole(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("one", np.tile(np.random.default_rng(1).integers(0, 256, 20_000, np.uint8), 52).tobytes())
        info = archive.filelist[0]
        archive.filelist += [info] * 600
    (tmp_path / "a.zip").write_bytes(buffer.getvalue())
    (reason,) = reasons(scan(tmp_path)).values()
    assert reason.startswith("ZIP archive that inflates ")


@pytest.mark.parametrize(
    ("bound", "reason"),
    [
        ("MAXIMUM_ENTRIES", "ZIP archive of 4 files: over 3"),
        ("MAXIMUM_TOTAL_BYTES", "bytes inflated: over 3"),
        ("MAXIMUM_DIRECTORY_BYTES", "ZIP archive with a list of "),
    ],
)
def test_bounds_refuse_the_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, reason: str) -> None:
    write_series(tmp_path / "files")
    pack(tmp_path / "packed" / "a.zip", tmp_path / "files")
    monkeypatch.setattr(f"render.dicom.archive.{bound}", 3)
    found = scan(tmp_path / "packed")
    assert reason in reasons(found)["a.zip"]
    assert (found.files, found.series) == (1, ())


def test_damaged_archives_are_typed(tmp_path: Path) -> None:
    write_series(tmp_path / "files")
    whole = pack(tmp_path / "packed" / "a.zip", tmp_path / "files").read_bytes()
    for length in range(4, len(whole), 97):
        (tmp_path / "packed" / "a.zip").write_bytes(whole[:length])
        found = scan(tmp_path / "packed")
        assert (found.files, found.volumes) == (1, ())
        assert reasons(found)["a.zip"].startswith("damaged ZIP archive: its end is missing")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda whole: whole[:-22], "damaged ZIP archive: its end is missing"),
        (lambda whole: whole.replace(b"PK\x01\x02", b"PK??"), "damaged ZIP archive: its list of entries can't be read"),
        (lambda whole: b"????" + whole[4:], "damaged ZIP archive: it does not begin as one"),
    ],
)
def test_one_that_is_asked_for_alone_is_said_to_be_a_damaged_archive(
    tmp_path: Path, damage: Callable[[bytes], bytes], reason: str
) -> None:
    write_series(tmp_path / "files")
    path = pack(tmp_path / "a.zip", tmp_path / "files")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(NoVolumeError, match=f"^no DICOM in 1 file: {reason}"):
        select(scan(path))


def test_a_list_of_entries_whose_length_lies_is_not_read(tmp_path: Path) -> None:
    write_series(tmp_path / "files")
    path = pack(tmp_path / "a.zip", tmp_path / "files")
    whole = bytearray(path.read_bytes())
    struct.pack_into("<L", whole, len(whole) - 10, 0xFFFFFFF0)
    path.write_bytes(whole)
    assert reasons(scan(path))["a.zip"].startswith("ZIP archive with a list of 4,294,967,280 bytes")


def test_a_damaged_entry_is_said_and_names_itself_when_loaded(tmp_path: Path) -> None:
    write_series(tmp_path / "files", ramp((3, 6, 5)))
    path = pack(tmp_path / "a.zip", tmp_path / "files", zipfile.ZIP_STORED)
    (plan,) = scan(path).volumes
    whole = path.read_bytes()
    at = whole.index(b"slice001.dcm") + 500
    path.write_bytes(whole[:at] + b"\xff" + whole[at + 1 :])
    expected = r"^a\.zip!/slice00\d\.dcm: (has changed since|damaged ZIP entry)"
    with pytest.raises((UnreadableFileError, CodecError), match=expected):
        load_volume(plan)
    assert reasons(scan(path))["a.zip!/slice001.dcm"] == "damaged ZIP entry: can't be inflated (BadZipFile)"


def test_the_later_of_two_entries_of_one_name_counts(tmp_path: Path) -> None:
    (path,) = write_series(tmp_path, ramp((1, 6, 5)))
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("x", b"not an image, and long enough to be told so")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.write(path, "x")
    found = scan(tmp_path / "a.zip")
    assert reasons(found)["a.zip!/x"] == "replaced by a later entry of this name"
    assert len(found.volumes) == 1
    assert found.files == 3

"""A folder's files are listed in order, whoever looks at them at a time."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from render.dicom import listing as module
from render.dicom.listing import FILES_A_LOOK, list_folder


def test_many_files_and_archives_are_listed_in_order(tmp_path: Path) -> None:
    count = 3 * FILES_A_LOOK + 5
    for n in range(count):
        folder = tmp_path / f"part{n % 3}"
        folder.mkdir(exist_ok=True)
        if n == 100:
            with zipfile.ZipFile(folder / f"file{n:03}", "w") as archive:
                archive.writestr("b", b"first")
                archive.writestr("a", b"second")
        else:
            (folder / f"file{n:03}").write_bytes(b"PK\x03" if n % 2 else b"")
    listing = list_folder(tmp_path)
    expected = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("file*"))
    at = expected.index("part1/file100")
    assert listing.names == [*expected[:at], "part1/file100!/b", "part1/file100!/a", *expected[at + 1 :]]
    assert [file.path for file in listing.skipped] == ["part1/file100"]
    assert listing.total == count + 2


def test_a_file_that_has_gone_is_skipped_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        (tmp_path / name).write_bytes(b"here")
    start = module._start

    def vanish(path: Path) -> bytes | OSError:
        if path.name == "b":
            path.unlink()
        return start(path)

    monkeypatch.setattr(module, "_start", vanish)
    listing = list_folder(tmp_path)
    assert listing.names == ["a", "c"]
    assert [(file.path, file.reason) for file in listing.skipped] == [("b", "can't be read: No such file or directory")]

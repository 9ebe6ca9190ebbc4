"""What has changed below a folder, and what of it is read again."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from render.dicom.changes import LOOKS_UNSETTLED, KnownFolder, RootWatch, is_stale, look
from render.dicom.reading import FileHeader, read_header
from render.dicom.source import Scan, scan
from tests.dicom.synthetic import ramp, write_series


class Reads:
    """Reads headers here, and remembers whose."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, root: Path, names: Sequence[str]) -> Iterable[FileHeader]:
        self.names += names
        return [read_header(root, name) for name in names]

    def scan(self, root: Path, known: KnownFolder) -> tuple[Scan, list[str]]:
        self.names = []
        known.marks = look(root)
        return scan(root, read=self, known=known), sorted(self.names)


def touch(path: Path, ns: int) -> None:
    os.utime(path, ns=(ns, ns))


def test_only_what_has_changed_is_read_again(tmp_path: Path) -> None:
    folder = tmp_path / "root"
    paths = write_series(folder)
    (folder / "notes.txt").write_text("no image")
    with zipfile.ZipFile(folder / "more.zip", "w") as archive:
        for path in write_series(tmp_path / "zipped", uid="1.2.9"):
            archive.write(path, path.name)
    known, reads = KnownFolder(), Reads()
    first, names = reads.scan(folder, known)
    assert len(names) == 9
    again, names = reads.scan(folder, known)
    assert names == []
    assert [plan.id for plan in again.volumes] == [plan.id for plan in first.volumes]
    assert all(one is other for one, other in zip(again.volumes, first.volumes, strict=True))  # not proved anew either
    assert [file.path for file in again.skipped] == ["more.zip", "notes.txt"]

    write_series(folder, ramp((4, 6, 5)) + 1)
    paths[3].unlink()
    for n, path in enumerate(paths[:3]):
        touch(path, 10**18 + n)
    touch(folder / "more.zip", 10**18)
    changed, names = reads.scan(folder, known)
    assert len(names) == 7
    assert not set(map(id, changed.volumes)) & set(map(id, first.volumes))
    assert sorted(plan.shape[0] for plan in changed.volumes) == [3, 4]
    assert reads.scan(folder, known)[1] == []
    write_series(folder / "b", uid="1.2.7")
    more, names = reads.scan(folder, known)
    assert len(names) == 4
    assert len(set(map(id, more.volumes)) & set(map(id, changed.volumes))) == 2


def test_a_change_that_keeps_the_size_is_seen_by_its_time(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    before = look(tmp_path)
    (plan,) = scan(tmp_path).volumes
    assert set(before) == {path.name for path in paths}
    assert not is_stale(plan)
    touch(paths[1], 10**18)
    assert [name for name, mark in look(tmp_path).items() if mark != before[name]] == [paths[1].name]
    assert is_stale(plan)


def test_a_file_that_has_gone_is_stale(tmp_path: Path) -> None:
    paths = write_series(tmp_path)
    (plan,) = scan(tmp_path).volumes
    paths[0].unlink()
    assert is_stale(plan)


def test_links_pipes_and_folders_without_entry_are_no_files(tmp_path: Path) -> None:
    write_series(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "pipe")
    assert len(look(tmp_path)) == 4
    assert look(tmp_path / "nothing") == {}
    assert look(tmp_path / "real" / "slice000.dcm").keys() == {"slice000.dcm"}


def test_a_root_is_due_once_a_change_has_come_to_rest(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    watch = RootWatch(tmp_path)
    watch.begin()
    assert not watch.is_due()
    write_series(tmp_path / "b", uid="1.2.5")
    assert not watch.is_due()  # it may still be on its way
    assert watch.is_due()
    watch.begin()
    assert not watch.is_due()
    (tmp_path / "b" / "slice000.dcm").unlink()
    assert [watch.is_due(), watch.is_due()] == [False, True]


def test_a_root_that_never_rests_is_due_after_some_looks(tmp_path: Path) -> None:
    watch = RootWatch(tmp_path)
    watch.begin()
    due = []
    for n in range(LOOKS_UNSETTLED + 1):
        (tmp_path / f"{n}").write_text("x")
        due.append(watch.is_due())
    assert due == [False] * LOOKS_UNSETTLED + [True]


def test_a_root_whose_twin_has_lost_volumes_is_due(tmp_path: Path) -> None:
    watch = RootWatch(tmp_path)
    watch.begin()
    watch.expire()
    assert watch.is_due()


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_look_that_is_given_up_finds_nothing_due(tmp_path: Path, kind: str) -> None:
    (path,) = write_series(tmp_path / "a", ramp((1, 6, 5)))
    watch = RootWatch(tmp_path if kind == "folder" else path)
    watch.begin()
    path.unlink()
    assert not watch.is_due(lambda: True)

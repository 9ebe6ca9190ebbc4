"""The catalog finds what is below its roots, keeps what came in memory, and reads nothing else."""

from __future__ import annotations

import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.catalog import Catalog
from render.dicom.ingest import Ingest
from render.errors import AmbiguousSeriesError, PathError, SourceError, VolumeNotFoundError
from render.geometry import VolumeGeometry
from render.volume import Volume, VolumeInfo
from tests.dicom.synthetic import ramp, write_series


@pytest.fixture(scope="module")
def ingest() -> Iterator[Ingest]:
    with Ingest(1) as ingest:
        yield ingest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_series(tmp_path / "root" / "ct", uid="1.2.1")
    write_series(tmp_path / "root" / "mr", ramp((6, 6, 5)), uid="1.2.2", Modality="MR")
    write_series(tmp_path / "outside", uid="1.2.66")
    return tmp_path / "root"


@pytest.fixture
def catalog(root: Path, ingest: Ingest) -> Iterator[Catalog]:
    with Catalog([root], ingest) as catalog:
        assert catalog.wait_until_scanned(60)
        yield catalog


def uploaded(name: str = "up") -> Volume:
    geometry = VolumeGeometry((2, 3, 4), np.eye(4))
    return Volume(name, geometry, np.zeros((2, 3, 4), np.int16), info=VolumeInfo(modality="CT"))


def test_the_roots_are_scanned_in_the_background(catalog: Catalog) -> None:
    assert not catalog.is_scanning
    assert catalog.progress == (10, 10)
    assert [(e.path, e.geometry.shape, e.nbytes, e.dtype_bytes, e.info.modality) for e in catalog.entries()] == [
        ("ct", (4, 6, 5), 240, 2, "CT"),
        ("mr", (6, 6, 5), 360, 2, "MR"),
    ]


def test_a_root_is_told_with_how_many_links_were_skipped(
    root: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "render.catalog")
    (root / "study").symlink_to(root.parent / "outside")
    with Catalog([root], ingest) as catalog:
        assert catalog.wait_until_scanned(60)
    assert [record.getMessage() for record in caplog.records] == [
        f"{root}: volumes: 2, files: 11, skipped: 1",
        f"{root}: 1 symbolic link skipped: links are not followed",
    ]
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]


def test_a_path_that_vanishes_is_not_told_whole(catalog: Catalog, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(path: Path, *_: object) -> None:
        raise PathError(f"no such file or folder: {path}")

    monkeypatch.setattr(catalog.ingest, "scan", gone)
    with pytest.raises(PathError) as caught:
        catalog.resolve("ct")
    assert "'ct'" in caught.value.message
    assert str(root) not in caught.value.message


def test_an_entry_loads_its_voxels(catalog: Catalog) -> None:
    entry = catalog.entries()[1]
    calls: list[tuple[int, int]] = []
    volume = catalog.loader(entry)(lambda done, total: calls.append((done, total)), lambda: False)
    np.testing.assert_array_equal(volume.codes, ramp((6, 6, 5)))
    assert volume.id == entry.volume_id
    assert calls[-1] == (6, 6)


@pytest.mark.parametrize("how", ["ct", "./mr/../ct", "ct/slice001.dcm", "absolute", "id"])
def test_a_path_below_a_root_is_a_volume(catalog: Catalog, root: Path, how: str) -> None:
    known = catalog.entries()[0].volume_id
    given = {"absolute": str(root / "ct"), "id": known}.get(how, how)
    found = catalog.entry(catalog.resolve(given))
    assert found.info.series_uid == "1.2.1"
    assert (found.volume_id == known) == (how != "ct/slice001.dcm")


@pytest.mark.parametrize(
    "given", ["../outside", "gone", "ct/../../outside", "link", "a\0b", "x" * 5000, "/etc/passwd", "ct/slice001.dcm/x"]
)
def test_what_lies_outside_is_as_if_it_were_not_there(catalog: Catalog, root: Path, given: str) -> None:
    (root / "link").symlink_to(root.parent / "outside")
    with pytest.raises(PathError, match="neither a volume's id nor a path below the served roots") as caught:
        catalog.resolve(given)
    assert "\n" not in caught.value.message
    assert str(root) not in caught.value.message
    with pytest.raises(PathError):
        catalog.resolve(str(root.parent / "outside"))


def test_several_series_need_a_name_or_the_wish_for_the_largest(catalog: Catalog) -> None:
    with pytest.raises(AmbiguousSeriesError):
        catalog.resolve("")
    assert catalog.entry(catalog.resolve("", largest=True)).info.series_uid == "1.2.2"
    assert catalog.entry(catalog.resolve("", series="1.2.1")).info.series_uid == "1.2.1"


def test_files_that_come_later_are_found_on_demand(catalog: Catalog, root: Path) -> None:
    write_series(root / "late", uid="1.2.5")
    volume_id = catalog.resolve("late")
    assert catalog.entry(volume_id).path == "late"
    assert len(catalog.entries()) == 3


def test_a_file_that_changed_is_found_again_under_its_id(catalog: Catalog, root: Path) -> None:
    entry = catalog.entries()[0]
    write_series(root / "ct", ramp((4, 6, 5)) + 1, uid="1.2.1")
    with pytest.raises(SourceError, match="has changed since it was scanned"):
        catalog.loader(entry)(lambda done, total: None, lambda: False)
    assert catalog.resolve("ct") == entry.volume_id
    volume = catalog.loader(catalog.entry(entry.volume_id))(lambda done, total: None, lambda: False)
    np.testing.assert_array_equal(volume.codes, ramp((4, 6, 5)) + 1)


def test_a_volume_in_memory_is_its_own_source(ingest: Ingest) -> None:
    volume = uploaded()
    with Catalog([], ingest) as catalog:
        entry = catalog.add(volume)
        assert catalog.resolve("up") == "up"
        assert catalog.entries() == (entry,)
        assert catalog.loader(entry)(lambda done, total: None, lambda: False) is volume
        catalog.remove("up")
        catalog.remove("up")
        with pytest.raises(VolumeNotFoundError, match="no volume 'up'"):
            catalog.entry("up")
        with pytest.raises(PathError):
            catalog.resolve("up")


def test_a_root_that_is_not_there_is_logged_and_the_next_is_scanned(
    root: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    with Catalog([root / "gone", root], ingest) as catalog:
        assert catalog.wait_until_scanned(60)
        assert len(catalog.entries()) == 2
    assert f"{root / 'gone'}: can't be scanned: no such file or folder any more: 'gone'" in caplog.text


class GatedIngest:
    """Holds its scans until told, and counts how many are held at a time."""

    def __init__(self, ingest: Ingest) -> None:
        self.ingest = ingest
        self.gate = threading.Event()
        self.started = threading.Semaphore(0)
        self.lock = threading.Lock()
        self.active = self.most = 0

    def scan(self, *arguments: Any) -> object:
        with self.lock:
            self.active += 1
            self.most = max(self.most, self.active)
        self.started.release()
        assert self.gate.wait(60)
        try:
            return self.ingest.scan(*arguments)
        finally:
            with self.lock:
                self.active -= 1


def test_callers_that_ask_for_one_path_share_its_scan(root: Path, ingest: Ingest) -> None:
    gated = GatedIngest(ingest)
    with Catalog([root], gated) as catalog, ThreadPoolExecutor(3) as pool:  # type: ignore[arg-type]
        assert gated.started.acquire(timeout=60)
        asked = [pool.submit(catalog.resolve, str(root), series="1.2.1") for _ in range(3)]
        assert catalog.is_scanning
        assert not any(future.done() for future in asked)
        gated.gate.set()
        assert len({future.result(60) for future in asked}) == 1
        assert gated.most == 1
        assert catalog.wait_until_scanned(60)


def test_a_volume_asked_for_before_its_root_is_scanned(root: Path, ingest: Ingest) -> None:
    gated = GatedIngest(ingest)
    with Catalog([root], gated) as catalog:  # type: ignore[arg-type]
        with pytest.raises(VolumeNotFoundError, match="'ab' yet: the roots are still being scanned") as caught:
            catalog.entry("ab")
        assert caught.value.details["scanning"] == "true"
        with pytest.raises(VolumeNotFoundError, match="still being scanned"):
            catalog.resolve("ab" * 16)  # an id where a path may stand
        with pytest.raises(PathError):
            catalog.resolve("absent")
        gated.gate.set()
        assert catalog.wait_until_scanned(60)
        with pytest.raises(VolumeNotFoundError, match=r"^no volume 'ab'$"):
            catalog.entry("ab")
        with pytest.raises(PathError):
            catalog.resolve("ab" * 16)


def test_closing_gives_the_scan_up_without_a_warning(
    root: Path, ingest: Ingest, caplog: pytest.LogCaptureFixture
) -> None:
    gated = GatedIngest(ingest)
    catalog = Catalog([root], gated)  # type: ignore[arg-type]
    assert gated.started.acquire(timeout=60)
    catalog._closing.set()
    gated.gate.set()
    catalog.close()
    assert catalog.entries() == ()
    assert not caplog.records


def test_a_volume_in_an_archive_is_known_by_the_archives_path(tmp_path: Path, ingest: Ingest) -> None:
    write_series(tmp_path / "files", uid="1.2.1")
    (tmp_path / "root" / "in").mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "root" / "in" / "a.zip", "w") as archive:
        for file in (tmp_path / "files").iterdir():
            archive.write(file, f"deep/{file.name}")
    with Catalog([tmp_path / "root"], ingest) as catalog:
        assert catalog.wait_until_scanned(60)
        (entry,) = catalog.entries()
        assert entry.path == "in/a.zip"
        assert catalog.resolve(entry.path) == entry.volume_id
        volume = catalog.loader(entry)(lambda done, total: None, lambda: False)
        np.testing.assert_array_equal(volume.codes, ramp((4, 6, 5)))


def rested(catalog: Catalog) -> dict[str, str]:
    """Look until a change has come to rest; return paths by volume id."""
    catalog.look_again()
    catalog.look_again()
    return {entry.volume_id: entry.path for entry in catalog.entries()}


@pytest.fixture
def watching(root: Path, ingest: Ingest) -> Iterator[Catalog]:
    with Catalog([root], ingest, rescan_seconds=3600) as catalog:
        assert catalog.wait_until_scanned(60)
        yield catalog


def test_series_that_come_and_go_are_listed_and_forgotten(watching: Catalog, root: Path) -> None:
    before = rested(watching)
    write_series(root / "new", uid="1.2.3")
    after = rested(watching)
    assert sorted(set(after.values()) - set(before.values())) == ["new"]
    for path in (root / "ct").iterdir():
        path.unlink()
    left = rested(watching)
    assert sorted(left.values()) == ["mr", "new"]
    (lost,) = set(after) - set(left)
    with pytest.raises(VolumeNotFoundError):
        watching.entry(lost)


def test_a_series_that_grows_replaces_the_part_of_it(watching: Catalog, root: Path) -> None:
    paths = write_series(root / "ct", ramp((7, 6, 5)), uid="1.2.1")
    paths[-1].unlink()
    assert [e.geometry.shape[0] for e in watching.entries() if e.path == "ct"] == [4]
    rested(watching)
    assert [e.geometry.shape[0] for e in watching.entries() if e.path == "ct"] == [6]


def test_what_somebody_holds_is_known_after_its_files_have_gone(watching: Catalog, root: Path) -> None:
    (held,) = (e.volume_id for e in watching.entries() if e.path == "ct")
    holds = {held}
    watching.is_held = holds.__contains__
    for path in (root / "ct").iterdir():
        path.unlink()
    assert held not in rested(watching)
    assert watching.known(held).path == "ct"
    with pytest.raises(VolumeNotFoundError):
        watching.entry(held)
    holds.clear()
    watching.look_again()
    with pytest.raises(VolumeNotFoundError):
        watching.known(held)


def test_a_single_file_that_was_asked_for_stays_known(watching: Catalog, root: Path) -> None:
    alone = watching.resolve("ct/slice001.dcm")
    write_series(root / "new", uid="1.2.3")
    assert alone in rested(watching)
    (root / "ct" / "slice001.dcm").unlink()
    assert alone not in rested(watching)


def test_new_voxels_of_old_uids_are_told_once(watching: Catalog, root: Path) -> None:
    (volume_id,) = (e.volume_id for e in watching.entries() if e.path == "ct")
    assert not watching.take_changed(volume_id)
    write_series(root / "ct", ramp((4, 6, 5)) + 5, uid="1.2.1")
    for path in (root / "ct").iterdir():
        os.utime(path, ns=(10**18, 10**18))
    rested(watching)
    assert watching.take_changed(volume_id)
    assert not watching.take_changed(volume_id)


def test_a_copy_is_no_change(root: Path, ingest: Ingest, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(root / "ct", copy)
    for path in copy.iterdir():
        os.utime(path, ns=(10**18, 10**18))
    with Catalog([root, copy], ingest, rescan_seconds=3600) as catalog:
        assert catalog.wait_until_scanned(60)
        (volume_id,) = (e.volume_id for e in catalog.entries() if e.info.modality == "CT")
        assert not catalog.take_changed(volume_id)
        # The one that is listed goes; its twin takes the place.
        shutil.rmtree(copy)
        copy.mkdir()
        rested(catalog)
        assert volume_id in rested(catalog)
        assert catalog.entry(volume_id).path == "ct"


def test_roots_are_looked_at_once_where_no_one_asks_for_more(catalog: Catalog, root: Path) -> None:
    write_series(root / "new", uid="1.2.3")
    assert len(rested(catalog)) == 2

"""That the benchmark of reading DICOM runs, and makes and measures what it says. No figure is judged here."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import dicom
from benchmarks.dicom_load import APART_MM, write_long_series
from render.dicom.pixels import load_volume
from render.dicom.series import select
from render.dicom.source import scan


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs the kernel's figures of a process")
def test_a_long_series_is_opened_alone_beside_others_and_for_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VOXELCAST_TEST_DATA", raising=False)
    dicom.main(["--slices", "0", "--long-series", "150", "--json", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert report["benchmark"] == "dicom"
    assert report["machine"]["threads"] == 2
    assert "syntaxes" not in report
    (series,) = report["long_series"]
    assert (series["subject"], series["native"], series["slices"]) == ("demo_torso", True, 150)
    assert series["file_bytes"] > 150 * 512 * 512 * 2
    assert [row["workers"] for row in series["rows"]] == ["not started", "started"]
    for row in (*series["rows"], series["beside"]):
        assert 0 < row["catalogue_s"] <= row["first_picture_s"] <= row["complete_s"]
        assert row["same_picture"] is True
        assert 0 <= row["missing_slices"] < 150
    assert series["met"] == all(row["first_picture_s"] < 3 for row in series["rows"])
    assert series["beside"]["other_frames"] > 0
    assert series["beside"]["other_worst_ms"] >= series["beside"]["other_median_ms"] > 0
    memory = series["memory"]
    assert memory["voxel_bytes"] == 150 * 512 * 512 * 2
    # Two workers take something, and all voxels are in shared memory at some time.
    assert memory["own_bytes"] > 1 << 20
    assert 0 <= memory["shared_above_voxels_bytes"] < 32 << 20
    assert memory["met"] == (memory["above_voxels_bytes"] <= memory["limit_bytes"])


def test_each_transfer_syntax_has_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VOXELCAST_TEST_DATA", raising=False)
    monkeypatch.setattr(dicom, "SYNTAXES", dicom.SYNTAXES[-1:])
    dicom.main(["--slices", "4", "--long-series", "0", "--json", str(tmp_path / "report.json")])
    report = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert "long_series" not in report
    (row,) = report["syntaxes"].values()
    assert row["ours_slices_a_second"] > 0
    assert (row["ratio"] is None) == (row["pylibjpeg_slices_a_second"] is None)
    assert row["memory"]["volume_bytes"] == 4 * 512 * 512 * 2


@pytest.mark.data
@pytest.mark.parametrize("native", [True, False])
def test_a_long_series_has_the_real_slices_in_new_places(real_data: Path, tmp_path: Path, native: bool) -> None:
    real = real_data / "petct_acrin_fusion" / "ct"
    source = load_volume(select(scan(real)))
    assert write_long_series(tmp_path / "long", 270, real=real, native=native) == "petct_acrin_fusion/ct"
    found = scan(tmp_path / "long")
    plan = select(found)
    assert not found.skipped
    assert plan.shape == (270, 512, 512)
    assert plan.geometry.spacing_mm[2] == pytest.approx(APART_MM)
    assert len({source.identity for source in plan.slices}) == 270
    volume = load_volume(plan)
    np.testing.assert_array_equal(volume.codes, np.repeat(source.codes, 2, axis=0))
    names = [source.instance.path for source in plan.slices]
    assert names != sorted(names)

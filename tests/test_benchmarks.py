"""That the benchmarks run, measure what they say, and sum it up as they say. No figure is judged here."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cpu, cpu_fresh, cpu_sections, table
from benchmarks.cpu_rows import checked, summary
from benchmarks.machine import lanes_name
from benchmarks.plan import FULL, QUICK, SECTIONS, TINY
from benchmarks.subjects import NOISE, VIEWPOINTS, WORKS, Subject, torso, view_of, viewpoints_of
from render.backends.cpu import CpuRenderer

ROOT = Path(__file__).resolve().parents[1]
SIDE_PX = 32

needs_vtk = pytest.mark.skipif(importlib.util.find_spec("vtk") is None, reason="VTK is not installed")


@pytest.fixture(scope="module")
def small() -> Subject:
    return torso((30, 48, 48))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Return what is written of a run of everything that needs neither VTK nor another process."""
    path = tmp_path_factory.mktemp("report") / "report.json"
    assert cpu.main(["--tiny", "--no-peer", "--json", str(path)]) == 0
    return json.loads(path.read_text("utf-8"))


def test_rows_are_of_each_work_volume_and_view_and_right(report) -> None:
    rows = report["rows"]
    expected = {
        (work.name, volume, view)
        for work in WORKS
        for volume in ("demo_torso", NOISE)
        for view in ("oblique", "perspective")
    }
    assert {(row["work"], row["volume"], row["view"]) for row in rows} == expected
    assert len(rows) == len(expected)
    for row in rows:
        assert row["agreement"] >= 0.95, row
        assert 0 < row["ours_min_ms"] <= row["ours_ms"] <= row["ours_max_ms"]
        assert "ratio" not in row
        assert row["samples_taken"] > 0
        assert row["samples_skipped"] >= 0


def test_a_report_says_where_it_was_measured(report) -> None:
    machine = report["machine"]
    assert machine["cpu"]
    assert machine["threads"] == cpu.THREADS
    assert machine["simd_lanes"] in (1, 4, 8, 16)
    assert len(machine["load_average"]) == 3
    assert report["versions"]["numba"]


def test_sections_have_figures_of_every_work(report) -> None:
    for work in WORKS:
        assert set(report["sizes"][work.name]) == {str(side) for side in TINY.sides_px}
        assert report["threads"][work.name]["ratio"] > 0
    assert report["upload"]["int16"]["voxels_bytes"] == 2 * report["upload"]["voxels"]
    assert report["upload"]["float32"]["resident_bytes"] > report["upload"]["float32"]["voxels_bytes"]
    for name in ("int16", "float32"):
        row = report["upload"][name]
        assert 0 < row["bricks_percent"] < row["over_voxels_percent"] < row["with_tables_percent"]
        assert row["tables_bytes"] > 0
    assert "real" not in report["upload"]
    assert report["fairness"]["frames"] == TINY.light_frames
    assert report["fairness"]["delay_max_ms"] >= report["fairness"]["delay_median_ms"]
    assert {"window", "transfer_function", "transfer_function_shaded", "light"} <= set(report["new_look"])


def test_the_upload_of_real_series_is_measured_where_they_are(small, monkeypatch) -> None:
    monkeypatch.setattr(cpu_sections, "real_subjects", lambda data: iter([dataclasses.replace(small, name="real/ct")]))
    plan = dataclasses.replace(TINY, takes_real=True)
    section = cpu.run(plan, sections=["upload"], with_peer=False)["upload"]
    (row,) = section["real"].values()
    assert row["shape"] == small.volume.codes.shape
    assert row["voxels_bytes"] == small.volume.nbytes
    assert section["real_most_ms"] == row["per_100m_voxels_ms"] > 0
    assert section["real_most_percent"] == row["with_tables_percent"]
    assert section["real_percent_met"] == (row["with_tables_percent"] <= 5)
    report = {"upload": section}
    assert "real series" in table.limits_table(report)


def test_a_report_without_ratios_has_the_other_tables(report) -> None:
    text = table.markdown(report)
    assert "peer's time over ours" not in text
    assert f"ms at {TINY.sides_px[0]} px" in text
    assert "all threads over one, at least" in text


def test_only_what_is_asked_for_is_measured() -> None:
    report = cpu.run(TINY, works=WORKS[:1], sections=["sizes"], with_peer=False)
    assert set(report["sizes"]) & {work.name for work in WORKS} == {"thin_mpr"}
    assert not {"rows", "summary", "threads"} & set(report)


@pytest.mark.parametrize("wrong", [["--only", "thin"], ["--sections", "size"]])
def test_an_unknown_name_is_refused_with_those_there_are(wrong, tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        cpu.main([*wrong, "--json", str(tmp_path / "report.json")])
    error = capsys.readouterr().err
    assert repr(wrong[1]) in error
    assert ("thin_mpr" if wrong[0] == "--only" else "sizes") in error


def test_every_section_is_planned_and_measured() -> None:
    assert set(FULL.sections) == set(SECTIONS) == {"rows", *cpu.MEASURES}
    assert set(QUICK.sections) < set(SECTIONS)
    assert QUICK.frames >= 7
    assert FULL.frames >= 7


@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_each_work_is_seen_from_axes_obliquely_and_in_perspective(work) -> None:
    views = viewpoints_of(work, VIEWPOINTS)
    assert len(views) >= 6
    assert sum(view.is_axial for view in views) >= 2
    assert sum(view.projection == "perspective" for view in views) == 2
    assert sum(not view.is_axial and view.projection == "orthographic" for view in views) == 2


@pytest.mark.parametrize("viewpoint", VIEWPOINTS, ids=lambda viewpoint: viewpoint.name)
@pytest.mark.parametrize("work", [WORKS[0], WORKS[3]], ids=lambda work: work.name)
def test_each_frame_has_a_new_camera_that_keeps_its_direction_only_on_an_axis(work, viewpoint, small) -> None:
    cameras = [view_of(small, work, viewpoint, number, SIDE_PX).camera for number in range(3)]
    assert len({(camera.position, camera.up) for camera in cameras}) == 3
    forward = np.abs([camera.basis[2] for camera in cameras])
    assert np.allclose(forward.max(axis=1), 1) == viewpoint.is_axial


def test_the_eye_of_a_perspective_view_is_outside_the_volume(small) -> None:
    for viewpoint in VIEWPOINTS:
        camera = view_of(small, WORKS[3], viewpoint, 1, SIDE_PX).camera
        index = small.volume.geometry.to_voxel(camera.position)
        size = np.array(small.volume.geometry.shape[::-1])
        assert ((index < -0.5) | (index > size - 0.5)).any()


def test_a_wrong_picture_does_not_agree(small) -> None:
    renderer = CpuRenderer(threads=1)
    view = view_of(small, WORKS[0], VIEWPOINTS[0], 1, SIDE_PX)
    frame = renderer.render(view, {small.volume.id: renderer.upload(small.volume)})
    renderer.close()
    assert checked(frame, small.volume, 200) == 1
    shifted = dataclasses.replace(frame, values=np.roll(frame.values, 1, axis=1))
    assert checked(shifted, small.volume, 200) < 0.7


def row(work: str, volume: str, ratio: float, **more: object) -> dict:
    times = {"ours_ms": 2.0, "peer_ms": 2.0 * ratio, "agreement": 1.0}
    samples = {"samples_taken": 25, "samples_skipped": 0 if volume == NOISE else 75}
    return {"work": work, "volume": volume, "ratio": ratio, **times, **samples, **more}


def test_a_summary_keeps_noise_apart_and_holds_the_rest_to_the_floor_of_the_lanes() -> None:
    rows = [row("mip", "a", 4.0), row("mip", "a", 6.0), row("mip", "b", 9.0), row("mip", NOISE, 0.5)]
    entry = summary(rows, "AVX2")["works"]["mip"]
    assert (entry["ratio"], entry["least_ratio"], entry["noise_ratio"], entry["rows"]) == (6.0, 4.0, 0.5, 3)
    assert (entry["floor"], entry["met"], entry["next_floor"], entry["next_met"]) == (5, True, 8, False)
    assert not summary(rows, "AVX-512")["works"]["mip"]["met"]


def test_lanes_without_floors_are_held_to_none() -> None:
    result = summary([row("mip", "a", 4.0)], "128-bit")
    assert result["floors_of"] is None
    assert "met" not in result["works"]["mip"]


@pytest.mark.parametrize(
    ("lanes", "bits", "name"),
    [(16, 512, "AVX-512"), (8, 512, "AVX2"), (8, 256, "AVX2"), (8, 128, "128-bit"), (1, 512, "scalar")],
)
def test_lanes_are_named_by_the_registers_that_they_use(lanes, bits, name) -> None:
    assert lanes_name(lanes, bits) == name


def test_the_table_has_medians_by_volume_and_direction_and_says_what_is_missed(report) -> None:
    axis = {"axis_aligned": True, "projection": "orthographic"}
    oblique = {"axis_aligned": False, "projection": "orthographic"}
    perspective = {"axis_aligned": False, "projection": "perspective"}
    rows = [
        row("mip", "a", 4.0, **axis),
        row("mip", "a", 6.0, **oblique),
        row("mip", "a", 7.0, **perspective),
        row("mip", NOISE, 0.5, **oblique),
    ]
    text = table.markdown(report | {"rows": rows, "summary": summary(rows, "AVX2")})
    assert "| peer's time over ours | a | noise | without noise | floor | ms, ours / peer | samples skipped |" in text
    assert "| MIP | 6.0 | 0.50 | 6.0 | 5, then 8 (missed) | 2.00 / 12 | 75% |" in text
    assert "| MIP | 4.0 | 6.0 | 7.0 |" in text


def test_a_task_of_another_process_answers_or_says_how_it_failed() -> None:
    answer, seconds = cpu_fresh.run("start_without_numba")
    assert answer == {}
    assert seconds > 0
    with pytest.raises(cpu_fresh.TaskError, match=r"^frames: exit status 1: .*No such file.*absent\.npy"):
        cpu_fresh.run("frames", "absent.npy", "mip", 16, 1, 1)


@needs_vtk
@pytest.mark.parametrize("work", [work for work in WORKS if work.is_flat], ids=lambda work: work.name)
def test_vtk_draws_the_same_planes_but_for_slabs_in_perspective(work, small) -> None:
    from benchmarks.vtk_peer import NOTHING, VtkPeer

    renderer = CpuRenderer(threads=1)
    volumes = {small.volume.id: renderer.upload(small.volume)}
    peer = VtkPeer(small.volume, 1)
    for viewpoint in VIEWPOINTS:
        view = view_of(small, work, viewpoint, 1, SIDE_PX)
        frame = renderer.render(view, volumes)
        theirs = peer.plane(view, frame.step_mm, samples_of(work, frame.step_mm))
        picture = theirs.picture()
        both = ~np.isnan(frame.values) & (picture > NOTHING)
        assert both.mean() > 0.3
        difference = np.abs(picture - frame.values)[both]
        is_same = bool((difference < 0.55).mean() > 0.99)  # its values are rounded to whole ones
        assert is_same == (theirs.picture_is == "same"), viewpoint.name
    renderer.close()


def samples_of(work, step_mm: float) -> int:
    return 2 * max(1, int(work.slab_mm / step_mm / 2 + 0.5)) if work.slab_mm else 1


@needs_vtk
def test_rows_against_vtk_have_ratios_and_its_times(tmp_path) -> None:
    """In a process of its own: where a machine has no OpenGL at all, VTK ends the process."""
    path = tmp_path / "report.json"
    command = [sys.executable, "-m", "benchmarks.cpu", "--tiny", "--json", str(path)]
    options = ["--only", "slab_max,vr_unshaded", "--sections", "rows"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(path.read_text("utf-8"))["rows"]
    pictures = {(row["work"], row["view"]): row["peer_picture"] for row in rows}
    assert pictures == {
        ("slab_max", "oblique"): "same",
        ("slab_max", "perspective"): "parallel slab",
        ("vr_unshaded", "oblique"): "same view",
        ("vr_unshaded", "perspective"): "same view",
    }
    for row in rows:
        assert 0 < row["peer_min_ms"] <= row["peer_ms"] <= row["peer_max_ms"]
        assert row["ratio"] == pytest.approx(row["peer_ms"] / row["ours_ms"], rel=0.01)

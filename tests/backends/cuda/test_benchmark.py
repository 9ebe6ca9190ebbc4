"""The card's benchmark, run on the host: nothing in it may fail for a silly reason where there is a card for once."""

from __future__ import annotations

import inspect
import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import cuda, cuda_peers, cuda_sections
from benchmarks.cuda_card import Card, HostClock, view_at, work_of
from benchmarks.cuda_sections import FULL, QUICK, TINY
from benchmarks.subjects import WORKS, Subject, torso
from render.backends.cuda.kernels import KERNELS
from render.backends.cuda.parameters import plan_frame
from render.frame import FINAL
from tests.backends.cuda.fake_device import FakeDevice
from tests.backends.cuda.nvrtc import library_path

COMPILED = {"picture": KERNELS["picture"]}
SMALL = replace(TINY, large_shape=None, sessions=(1,))


@pytest.fixture(scope="module")
def report(host_kernels, tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("cuda") / "report.json"
    with pytest.MonkeyPatch.context() as patch:  # the kernels are compiled once a session
        patch.setattr(cuda, "shim_device", lambda directory: FakeDevice(host_kernels))
        patch.setattr(cuda_sections, "KERNELS", COMPILED)  # the others are in test_nvrtc.py
        assert cuda.main(["--shim", "--json", str(path)]) == 0
    return json.loads(path.read_text("utf-8"))


@pytest.fixture
def _no_compiler(monkeypatch) -> None:
    monkeypatch.setattr(cuda, "registers", lambda architecture: [])
    monkeypatch.setattr(cuda, "disagreement", lambda renderer, judge: "")


@pytest.fixture(scope="module")
def subject() -> Subject:
    return torso(TINY.torso_shape)


@pytest.fixture
def device(host_kernels) -> FakeDevice:
    return FakeDevice(host_kernels)


def card_on(device: FakeDevice) -> Card:
    return Card.on(device, HostClock(device), 1 << 29)


def test_no_section_fails_and_each_is_there(report) -> None:
    assert report["shim"] is True
    sections = "self_test registers ceilings jpeg sessions upload rows peers large_upload large_rows goals".split()
    for name in sections:
        found = report[name]
        assert "failure" not in found, (name, found)
        assert "skipped" not in found, (name, found)
    assert report["self_test"] == {"equals_cpu": True, "wrong": ""}
    assert report["seconds"] < 480


def test_rows_are_of_every_work_size_and_way_and_dense_ones_skip_nothing(report) -> None:
    rows = report["rows"]
    keys = {(row["work"], row["side_px"], row["sampling"], row["skipping"]) for row in rows}
    expected = itertools.product([w.name for w in WORKS], TINY.sides_px, ("texture", "exact"), ("dense", "shipped"))
    assert keys == set(expected)
    assert len(rows) == len(keys) == len(report["large_rows"])
    for row in rows:
        assert row["draw_ms"] > 0
        assert row["ceiling_percent"] > 0
        assert ("frame_ms" in row) == (row["skipping"] == "shipped")
        if row["skipping"] == "dense":
            assert row["samples_skipped"] == 0, row
            assert row["samples_taken"] > 0
    assert sum(row["samples_skipped"] for row in rows if row["skipping"] == "shipped") > 0


def test_figures_are_of_what_they_say(report) -> None:
    assert set(report["ceilings"]) == {"exact_gsamples_per_s", "texture_gsamples_per_s", "memory_read_gb_per_s"}
    assert report["jpeg"]["on_card"] is True
    assert report["jpeg"]["bytes"] > 100
    assert [row["sessions"] for row in report["sessions"]] == list(TINY.sessions)
    assert all(row["slowest_session_frames_per_s"] > 0 for row in report["sessions"])
    assert report["upload"]["frames_meanwhile"] > 0
    if library_path() is not None:
        assert {row["kernel"] for row in report["registers"]} == set(KERNELS["picture"])
        assert all(row["registers"] > 0 and row["spill_bytes"] == 0 for row in report["registers"])


def test_peers_say_why_they_take_no_part(report) -> None:
    assert [row["peer"] for row in report["peers"]] == ["cupyx affine_transform", "torch grid_sample"]
    for row in report["peers"]:
        assert "can't be imported" in row["skipped"] or row["skipped"] == "no card: the kernels run on the host"


def test_goals_that_were_not_measured_are_not_met_nor_missed(report) -> None:
    assert set(report["goals"]) == set(cuda.GOALS)
    assert report["jpeg"]["draw_jpeg_copy_ms"] > 0  # by the host's clock, which is no card's
    for goal in report["goals"].values():
        assert (goal["measured"], goal["met"]) == (None, None)
    measured = {
        "rows": [
            {"work": "mip", "sampling": "texture", "skipping": "dense", "ceiling_percent": percent}
            for percent in (59.0, 71.0)
        ],
        "jpeg": {"draw_jpeg_copy_ms": 2.9},
        "sessions": [{"sessions": 64, "slowest_session_frames_per_s": 30.0}],
        "peers": [{"peer": "cupyx affine_transform", "ratio": 12.0}, {"peer": "torch grid_sample", "ratio": 3.0}],
    }
    met = {name: goal["met"] for name, goal in cuda.goals(measured).items()}
    assert met == dict.fromkeys(cuda.GOALS, True) | {"dense_mip_ceiling_percent": False}


@pytest.mark.usefixtures("_no_compiler")
def test_a_section_that_fails_does_not_cost_the_others(device, monkeypatch, capsys) -> None:
    def broken(*arguments: object) -> None:
        raise RuntimeError("cudaErrorUnknown: for a test\nand more")

    monkeypatch.setattr(cuda, "jpeg", broken)
    saved: list[dict] = []
    cuda.Run(SMALL, card_on(device), "sm_90", saved.append).run()
    report = saved[-1]
    assert report["jpeg"] == {"failure": "RuntimeError: cudaErrorUnknown: for a test"}
    assert len(report["rows"]) == 24
    assert report["goals"]["shaded_jpeg_copy_ms"]["met"] is None
    assert device.used == 0  # and nothing stays on the card


def test_a_failing_session_is_told_and_none_hangs(device, subject) -> None:
    card = card_on(device)
    with card.holding(subject) as resident:
        device.fail_launch, device.sticks = 1, True
        with pytest.raises(RuntimeError, match="DeviceLostError"):
            cuda.sessions(card, subject, resident, replace(TINY, sessions=(3,)))


@pytest.mark.usefixtures("_no_compiler")
def test_it_ends_in_time(device) -> None:
    now = iter(itertools.count(0.0, 100.0))
    report = cuda.Run(SMALL, card_on(device), "sm_90", clock=lambda: next(now)).run()
    assert "equals_cpu" in report["self_test"]
    assert report["peers"] == {"skipped": "no time left of 480 s"}


def test_the_shims_device_compiles_nothing_before_it_draws(tmp_path) -> None:
    assert isinstance(cuda.shim_device(tmp_path), FakeDevice)
    assert list(tmp_path.iterdir()) == []


def test_without_a_card_it_says_so(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(cuda, "probe", lambda: cuda_found())
    with pytest.raises(SystemExit):
        cuda.main(["--json", str(tmp_path / "x.json")])
    assert "no NVIDIA driver" in capsys.readouterr().err


def cuda_found():
    from render.backends.cuda.probe import Found

    return Found(reason="no NVIDIA driver (libcuda.so.1 can't be loaded)")


def test_the_whole_is_planned_for_eight_minutes() -> None:
    assert FULL.seconds <= 480
    assert FULL.sessions == (1, 8, 64)
    assert FULL.large_shape == (1000, 1024, 1024)
    assert set(QUICK.sides_px) < set(FULL.sides_px) == {512, 1024}


def test_a_repeated_volume_lies_where_it_lay(subject) -> None:
    large = cuda.repeated(subject, (32, 48, 72)).volume
    assert large.geometry.shape == (32, 48, 72)
    np.testing.assert_array_equal(large.codes[::2, ::2, ::3], subject.volume.codes)
    np.testing.assert_allclose(large.geometry.diagonal_mm, subject.volume.geometry.diagonal_mm)


# The peers' geometry, which is all of them that needs no card


def test_a_peers_plane_lies_where_ours_does(subject) -> None:
    view = view_at(subject, work_of("thin_mpr"), 0, 16)
    plan = plan_frame(view, subject.volume, has_invalid=False, quality=FINAL)
    matrix, offset = cuda_peers.plane_transform(plan)
    plane = view.plane
    down_mm, right_mm = plane.pixel_spacing_mm
    for row, column in ((0, 0), (3, 11), (15, 15)):
        right, down = np.array(plane.row_direction), np.array(plane.column_direction)
        point = np.array(plane.top_left_mm) + row * down_mm * down + column * right_mm * right
        expected = subject.volume.geometry.to_voxel(point)[::-1]
        np.testing.assert_allclose(matrix @ (0, row, column) + offset, expected, atol=1e-9)


def test_every_sample_within_the_volume_has_its_number(subject) -> None:
    plan = plan_frame(view_at(subject, work_of("mip"), 0, 16), subject.volume, has_invalid=False, quality=FINAL)
    numbers, block = cuda_peers.sample_numbers(plan), plan.parameters
    size = block["size"]
    inside = []
    for row, column in itertools.product(range(0, 16, 3), repeat=2):
        at = np.arange(-5000, 5000)
        points = block["origin"] + row * block["row"] + column * block["column"] + at[:, None] * block["step"]
        inside += list(at[((points >= -0.5) & (points <= size - 0.5)).all(axis=1)])
    assert inside
    assert numbers.start <= min(inside)
    assert max(inside) < numbers.stop
    assert len(numbers) < 4 * (max(inside) - min(inside) + 1)


def test_the_installed_cupyx_takes_what_it_is_given() -> None:
    ndimage = pytest.importorskip("cupyx.scipy.ndimage")
    names = list(inspect.signature(ndimage.affine_transform).parameters)
    assert names[:5] == ["input", "matrix", "offset", "output_shape", "output"]
    assert {"order", "mode", "cval", "prefilter"} <= set(names)

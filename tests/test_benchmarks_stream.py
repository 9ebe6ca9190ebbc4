"""That the stream's benchmark runs, measures what it says, and sums it up as it says. No figure is judged here."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest

from benchmarks import stream
from benchmarks.still import DRAW_S
from benchmarks.stream_rows import FULL, QUICK
from benchmarks.stream_script import (
    CYCLE_S,
    Paint,
    Record,
    Subject,
    lag_figures,
    latency_back_ms,
    p95,
    quality_back_ms,
    script,
)
from benchmarks.table import links_table, stream_floors_table
from voxelcast.geometry import VolumeGeometry


def test_a_row_through_a_link_has_its_figures_and_ends_exact(tmp_path) -> None:
    path = tmp_path / "report.json"
    assert stream.main(["--tiny", "--no-peer", "--only", "link:mpr:20/5", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text("utf-8"))["rows"]
    assert (row["kind"], row["client"], row["mbit_s"], row["rtt_ms"]) == ("link", "voxelcast", 20, 5)
    assert row["final_exact"]
    assert 5 <= row["p50_ms"] <= row["p95_ms"]
    assert row["fps"] > 0
    assert row["settle_ms"] >= 150
    assert row["transfer_ms"] == pytest.approx(5 + row["final_bytes"] / 2.5e3, abs=0.1)


def test_what_a_frame_costs_besides_drawing_is_measured_with_nothing_drawn(tmp_path) -> None:
    path = tmp_path / "report.json"
    assert stream.main(["--tiny", "--cost", "--seconds", "0.5", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text("utf-8"))["rows"]
    assert (row["kind"], row["sessions"], row["hz"], row["errors"]) == ("cost", 2, 30, 0)
    assert 0 < row["fps_slowest"] <= row["fps"] / 2
    assert DRAW_S * 1e3 < row["p50_ms"] <= row["p95_ms"]
    table = stream_floors_table([row, row | {"hz": None, "sessions": 8}])
    assert "nothing drawn, 2 sessions, at 30 views/s" in table
    assert "nothing drawn, 8 sessions, as fast as it goes" in table


def test_an_unknown_row_is_refused_with_those_there_are(tmp_path, capsys) -> None:
    with pytest.raises(SystemExit):
        stream.main(["--only", "link:mpr:3/5", "--json", str(tmp_path / "report.json")])
    assert "link:mpr:20/40" in capsys.readouterr().err


def test_quick_measures_each_link_with_both_works_and_trame_beside_two() -> None:
    names = stream.names(QUICK)
    assert len([name for name in names if name.startswith("link:")]) == 10
    assert names.index("trame:vr:2/40") == names.index("link:vr:2/40") + 1
    assert len([name for name in names if name.startswith("trame:")]) == 4
    assert set(names) <= set(stream.names(FULL))


@pytest.mark.parametrize("work", ["mpr", "vr"])
def test_the_hand_never_rests_and_does_as_much_in_each_third(work) -> None:
    geometry = VolumeGeometry.from_spacing((20, 30, 30), (1.0, 1.0, 1.0))
    movement = script(Subject("v", geometry), work, 64)
    views = [movement(number / 60) for number in range(1, 300)]
    assert all(before.camera != after.camera for before, after in pairwise(views))
    assert QUICK.seconds % CYCLE_S == FULL.seconds % CYCLE_S == 0


def record(*paints: tuple[float, float, int]) -> Record:
    return Record([Paint(at, lag, 1000, (512, quality)) for at, lag, quality in paints], moved_s=9.0)


def test_lags_are_of_what_was_painted_while_the_hand_moved() -> None:
    figures = lag_figures(record(*((second + 0.5, 10.0 * (second + 1), 85) for second in range(12))))
    assert figures["p50_ms"] == 50
    assert (figures["first_third_p95_ms"], figures["last_third_p95_ms"], figures["p95_ms"]) == (30, 90, 90)
    assert (figures["fps"], figures["kbit_per_frame"]) == (1, 8)


def test_the_95th_percentile_is_one_of_the_values() -> None:
    assert p95([float(n) for n in range(1, 101)]) == 95
    assert p95([7.0]) == 7
    assert p95([]) is None


def test_latency_is_back_once_all_that_follows_is_within_the_floor() -> None:
    paints = [(3.1, 50.0, 40), (3.5, 900.0, 40), (4.0, 300.0, 40), *((4.5 + n / 10, 90.0, 40) for n in range(10))]
    assert latency_back_ms(record(*paints), 3.0, 6.0, 140) == pytest.approx(1500)
    assert latency_back_ms(record(*paints, (5.9, 999.0, 40), (5.95, 999.0, 40)), 3.0, 5.96, 140) is None


def test_quality_is_back_with_the_first_picture_as_good_as_before() -> None:
    paints = [(1.0, 50.0, 60), (2.0, 50.0, 85), (2.5, 50.0, 85), (4.0, 50.0, 30), (6.5, 50.0, 60), (7.0, 50.0, 85)]
    assert quality_back_ms(record(*paints), 3.0, 6.0, 9.0) == pytest.approx(1000)
    assert quality_back_ms(record(*paints), 3.0, 6.0, 6.9) is None


def test_rows_beside_trame_say_what_is_reached() -> None:
    def row(client: str, mbit_s: float, p95_ms: float, fps: float) -> dict:
        return {
            "kind": "link", "client": client, "mbit_s": mbit_s, "rtt_ms": 40, "work": "vr", "p95_ms": p95_ms, "fps": fps
        }  # fmt: skip

    rows = [row("voxelcast", 20, 104, 19), row("trame", 20, 100, 20), row("voxelcast", 2, 100, 21)]
    rows += [row("trame", 2, 100, 20)]
    stream.compare(rows)
    assert rows[0]["met_beside_trame"]
    assert not rows[2]["met_beside_trame"], "strictly ahead at 2 Mbit/s"
    assert "met_beside_trame" not in rows[1]


def test_the_table_has_trame_beside_and_says_what_is_missed() -> None:
    link = {"kind": "link", "mbit_s": 20.0, "rtt_ms": 40.0, "work": "vr", "p50_ms": 81.0, "p95_ms": 99.0, "fps": 37.0}
    ours = link | {"client": "voxelcast", "p95_limit_ms": 140.0, "kbit_per_frame": 220.0, "settle_ms": 269.6}
    ours |= {"transfer_ms": 84.4, "met": True}
    slow = ours | {"mbit_s": 2.0, "build_up": 1.31, "met": False}
    del slow["p95_limit_ms"]
    drop = {"kind": "drop", "mbit_s": 20, "drop_to_mbit_s": 1, "work": "mpr", "latency_back_after_drop_ms": None}
    drop |= {"latency_back_after_return_ms": 12.0, "quality_back_ms": 710.0, "met": False}
    loopback = {"kind": "loopback", "work": "mpr", "added_ms": 1.5, "server_ms": 1.7, "met": True}
    sessions = {"kind": "sessions", "sessions": 8, "p50_ms": 40.0, "p95_ms": 90.0, "fps": 100.0, "fairness": 0.91}
    sessions |= {"session_bytes": 3 << 20, "met": True}
    rows = [ours, link | {"client": "trame", "p95_ms": 150.0, "fps": 20.0}, slow, drop, loopback, sessions]
    lines = [
        line.strip("| ").split(" | ")
        for part in (links_table(rows), stream_floors_table(rows))
        for line in part.split("\n")
    ]
    assert lines[2] == ["20 Mbit/s, 40 ms", "VR", "81 / 99", "p95 140", "37", "220", "150 / 20", "270 of 584", "kept"]
    assert (lines[3][3], lines[3][-1]) == ("1.31 of 1.25 x, 5 frames/s", "missed")
    assert lines[6][1:] == ["lag after never and 0.0 s, quality after 0.7 s", "2 s, 2 s, 5 s (missed)"]
    assert lines[7][2] == "2 ms"
    assert "fairness 0.91, 3.0 MiB a session" in lines[8][1]

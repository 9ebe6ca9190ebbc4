"""A report's figures as Markdown: ``python -m benchmarks.table FILE``."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.subjects import NOISE

Row = Mapping[str, Any]

LABELS = {
    "thin_mpr": "thin MPR",
    "slab_max": "slab, maximum",
    "slab_mean": "slab, mean",
    "mip": "MIP",
    "vr_unshaded": "volume rendering, unshaded",
    "vr_shaded": "volume rendering, shaded",
}
DIRECTIONS: dict[str, Callable[[Row], bool]] = {
    "axis-aligned": lambda row: row["axis_aligned"],
    "oblique": lambda row: not row["axis_aligned"] and row["projection"] == "orthographic",
    "perspective": lambda row: row["projection"] == "perspective",
}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report as Markdown: where it was measured, then what it has of each table."""
    if report["benchmark"] == "stream":
        return "\n\n".join(part for part in stream_parts(report) if part) + "\n"
    parts = [machine_line(report)]
    if "rows" in report and any("ratio" in row for row in report["rows"]):
        parts += [volumes_table(report), directions_table(report["rows"])]
    parts += [works_table(report), limits_table(report)]
    return "\n\n".join(part for part in parts if part) + "\n"


def machine_line(report: Mapping[str, Any]) -> str:
    """Return a sentence on the machine and the day."""
    machine, versions = report["machine"], report["versions"]
    software = ", ".join(f"{name} {version}" for name, version in versions.items() if version)
    load = machine["load_average"]
    return (
        f"{machine['cpu']} ({machine['llvm_cpu']}), {machine['cores']} cores, {machine['threads']} threads, "
        f"{machine['lanes']} in {machine['simd_lanes']} lanes"
        + (f", load average {load[0]} at the start" if load else "")
        + f"; {software}; {report['date'][:10]}."
    )


def volumes_table(report: Mapping[str, Any]) -> str:
    """Return how many times faster than the peer, by work and volume: medians over the views."""
    rows = report["rows"]
    volumes = list(dict.fromkeys(row["volume"] for row in rows))
    lines = []
    for work, entry in report["summary"]["works"].items():
        of_work = [row for row in rows if row["work"] == work]
        cells = [_ratio(row["ratio"] for row in of_work if row["volume"] == volume) for volume in volumes]
        counted = [row for row in of_work if row["volume"] != NOISE]
        times = [_number(statistics.median(row[key] for row in counted)) if counted else "" for key in _TIMES]
        skipped = _skipped(counted)
        lines.append([LABELS[work], *cells, _ratio([entry["ratio"]]), _floor(entry), " / ".join(times), skipped])
    head = ["peer's time over ours", *volumes, "without noise", "floor", "ms, ours / peer", "samples skipped"]
    return _table(head, lines)


def _skipped(rows: Sequence[Row]) -> str:
    """Return the share of all samples that were skipped."""
    taken, skipped = (sum(row[key] for row in rows) for key in ("samples_taken", "samples_skipped"))
    return f"{100 * skipped / (taken + skipped):.0f}%" if taken + skipped else ""


_TIMES = ("ours_ms", "peer_ms")


def _floor(entry: Mapping[str, Any]) -> str:
    floors = [(entry[key], entry[met]) for key, met in (("floor", "met"), ("next_floor", "next_met")) if key in entry]
    return ", then ".join(f"{floor}{'' if is_met else ' (missed)'}" for floor, is_met in floors)


def directions_table(rows: Sequence[Row]) -> str:
    """Return the same by direction and projection, without noise."""
    counted = [row for row in rows if row["volume"] != NOISE]
    lines = [
        [LABELS[work]]
        + [
            _ratio(row["ratio"] for row in counted if row["work"] == work and is_one(row))
            for is_one in DIRECTIONS.values()
        ]
        for work in dict.fromkeys(row["work"] for row in counted)
    ]
    return _table(["peer's time over ours", *DIRECTIONS], lines) if lines else ""


def works_table(report: Mapping[str, Any]) -> str:
    """Return what is measured of each work besides: sizes, threads, lanes, first frames; "" if nothing is."""
    cells: dict[str, dict[str, str]] = {}  # by column and work
    for work, times in report.get("sizes", {}).items():
        if work in LABELS:
            for side, ms in times.items():
                cells.setdefault(f"ms at {side} px", {})[work] = _number(ms)
    for section, key, title in (
        ("threads", "ratio", "all threads over one"),
        ("scalar", "ratio", "lanes over scalars"),
        ("first_frame", "ratio", "first frame over steady"),
        ("opengl", "peer_ms", "VTK on software OpenGL, ms"),
    ):
        for work, entry in report.get(section, {}).items():
            if work in LABELS:
                cells.setdefault(title, {})[work] = _number(entry[key])
    works = [work for work in LABELS if any(work in column for column in cells.values())]
    lines = [[LABELS[work], *(column.get(work, "") for column in cells.values())] for work in works]
    return _table([f"torso, {report['rays'][0]} px where not said", *cells], lines) if lines else ""


def limits_table(report: Mapping[str, Any]) -> str:
    """Return what has a limit, with it; "" if nothing was measured."""
    lines: list[list[str]] = []

    def add(what: str, unit: str, section: str, path: str, limit: str, met: str = "met") -> None:
        if section not in report:
            return
        value = report[section]
        for key in path.split("."):
            value = value[key]
        missed = "" if report[section][met] else " (missed)"
        lines.append([what, f"{_number(value)}{unit}", f"{report[section][limit]:g}{unit}{missed}"])

    for dtype in ("int16", "float32"):
        time, more = f"{dtype}.per_100m_voxels_ms", f"{dtype}.over_voxels_percent"
        add(f"upload of 100 M voxels, {dtype}", " ms", "upload", time, "limit_ms", f"{dtype}_ms_met")
        add(f"memory over the voxels, {dtype}", "%", "upload", more, "limit_percent", f"{dtype}_percent_met")
    if "real" in report.get("upload", {}):
        add(
            "upload of a real series, a 100 M voxels, at most",
            " ms",
            "upload",
            "real_most_ms",
            "limit_ms",
            "real_ms_met",
        )
        what = "memory over a real series' voxels, a transfer function's included, at most"
        add(what, "%", "upload", "real_most_percent", "limit_percent", "real_percent_met")
    add("cold start of all kernels", " s", "compile", "cold.all_s", "cold_limit_s", "cold_met")
    add("cached start, more than without numba", " s", "compile", "start_more_s", "start_limit_s", "start_met")
    add("first frame over the steady one, at most", " x", "first_frame", "most_ratio", "limit")
    add("all threads over one, at least", " x", "threads", "least_ratio", "limit")
    add("more for a new window, transfer function or light, at most", " ms", "new_look", "most_ms", "limit_ms")
    add("delay of an MPR by a huge frame, at most", " ms", "fairness", "delay_max_ms", "limit_ms")
    return _table(["", "measured", "limit"], lines) if lines else ""


def stream_parts(report: Mapping[str, Any]) -> list[str]:
    """Return the parts of a report of the stream: the machine, the links beside trame, and what else has a floor."""
    return [machine_line(report), links_table(report["rows"]), stream_floors_table(report["rows"])]


def links_table(rows: Sequence[Row]) -> str:
    """Return what was reached through each link, trame's beside it where it was measured; "" if nothing was."""
    links = [row for row in rows if row["kind"] == "link"]
    lines = []
    for row in (row for row in links if row["client"] == "voxelcast"):
        beside = [
            other
            for other in links
            if other["client"] == "trame" and all(other[key] == row[key] for key in ("mbit_s", "rtt_ms", "work"))
        ]
        peer = [f"{_ms(beside[0]['p95_ms'])} / {_ms(beside[0]['fps'])}"] if beside else [""]
        kept = row["met"] and row.get("met_beside_trame", True)
        if "p95_limit_ms" in row:
            floor = f"p95 {row['p95_limit_ms']:g}"
        else:
            floor = f"{_ms(row['build_up'])} of 1.25 x, 5 frames/s"
        lines.append(
            [
                f"{row['mbit_s']:g} Mbit/s, {row['rtt_ms']:g} ms",
                row["work"].upper(),
                f"{_ms(row['p50_ms'])} / {_ms(row['p95_ms'])}",
                floor,
                _ms(row["fps"]),
                _ms(row["kbit_per_frame"]),
                *peer,
                f"{_ms(row['settle_ms'])} of {500 + row['transfer_ms']:.0f}",
                "kept" if kept else "missed",
            ]
        )
    head = [
        "link",
        "",
        "p50 / p95, ms",
        "floor",
        "frames/s",
        "kbit a frame",
        "trame: p95 / frames/s",
        "settled, ms",
        "",
    ]
    return _table(head, lines) if lines else ""


def stream_floors_table(rows: Sequence[Row]) -> str:
    """Return what was measured of drops, loopback and many sessions; "" if nothing was."""
    lines = []
    for row in rows:
        kept = "" if row.get("met", True) else " (missed)"
        match row["kind"]:
            case "drop":
                what = f"{row['mbit_s']:g} to {row['drop_to_mbit_s']:g} Mbit/s and back, {row['work'].upper()}"
                drop, back = _s(row["latency_back_after_drop_ms"]), _s(row["latency_back_after_return_ms"])
                measured = f"lag after {drop} and {back}, quality after {_s(row['quality_back_ms'])}"
                lines.append([what, measured, f"2 s, 2 s, 5 s{kept}"])
            case "loopback":
                measured = f"{row['added_ms']:g} ms more than rendering and encoding ({row['server_ms']:g} ms)"
                lines.append([f"loopback, {row['work'].upper()}", measured, f"2 ms{kept}"])
            case "sessions":
                measured = (
                    f"{row['fps']:g} frames/s together, p50 / p95 {_ms(row['p50_ms'])} / {_ms(row['p95_ms'])} ms, "
                    f"fairness {row['fairness']:g}, {row['session_bytes'] / 2**20:.1f} MiB a session"
                )
                lines.append([f"{row['sessions']} sessions", measured, f"fairness 0.7{kept}"])
            case "cost":
                pace = f"at {row['hz']:g} views/s" if row["hz"] else "as fast as it goes"
                measured = (
                    f"{row['fps_slowest']:g} frames/s of the slowest, {row['fps']:g} together, "
                    f"p50 / p95 {_ms(row['p50_ms'])} / {_ms(row['p95_ms'])} ms, "
                    f"{row['server_cpu_ms']:g} ms of processor each"
                )
                lines.append([f"nothing drawn, {row['sessions']} sessions, {pace}", measured, ""])
    return _table(["", "measured", "floor"], lines) if lines else ""


def _ms(value: float | None) -> str:
    return "" if value is None else _number(value)


def _s(value: float | None) -> str:
    return "never" if value is None else f"{value / 1e3:.1f} s"


def _ratio(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return _number(statistics.median(known)) if known else ""


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 3 else f"{value:.1f}" if value < 10 else f"{value:.0f}"


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def main(arguments: list[str] | None = None) -> int:
    """Print a report's tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.table", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="what benchmarks.cpu or benchmarks.stream wrote")
    options = parser.parse_args(arguments)
    print(markdown(json.loads(options.file.read_text("utf-8"))), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The stream through slow links, beside trame: ``python -m benchmarks.stream [--quick] --json FILE``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.machine import begun_report, write_report
from benchmarks.stream_cost import cost_rows
from benchmarks.stream_rows import FULL, QUICK, TINY, StreamBench, StreamPlan, start_bench
from benchmarks.stream_script import WORKS
from render.backends.cpu import CpuRenderer


def names(plan: StreamPlan) -> list[str]:
    """Return what ``--only`` knows: ``KIND:WORK``, with ``:MBIT/RTT`` where there is a link."""
    links = [f"link:{work}:{mbit:g}/{rtt:g}" for mbit, rtt in plan.links for work in WORKS]
    peers = [f"trame:{work}:{mbit:g}/{rtt:g}" for mbit, rtt in plan.peer_links for work in WORKS]
    drops = [f"drop:{work}" for work in (WORKS if plan.seconds >= FULL.seconds else WORKS[:1])]
    # A peer's row is measured next to ours of the same link.
    ordered = [each for link in links for each in (link, link.replace("link", "trame", 1)) if each in links + peers]
    return [*ordered, *drops, *(f"loopback:{work}" for work in WORKS)]


def run(
    plan: StreamPlan,
    *,
    only: Sequence[str] | None = None,
    with_sessions: bool = False,
    with_cost: bool = False,
    with_peer: bool = True,
    save: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Measure, telling of each row on standard output.

    Parameters
    ----------
    plan
        How much.
    only
        Of `names`, these.
    with_sessions
        Many clients at once, and nothing else.
    with_cost
        What a frame costs besides drawing, and nothing else.
    with_peer
        Whether trame takes part.
    save
        Given the report as it grows, after each row.
    """
    began = time.perf_counter()
    renderer = CpuRenderer(threads=plan.threads)
    report = begun_report("stream", renderer, "trame", "trame-rca", "websockets")
    report |= {"seconds_moved": plan.seconds, "side_px": plan.side_px, "rows": []}
    renderer.close()
    server, bench = start_bench(plan, still=with_cost)
    with server:
        if with_cost:
            rows = cost_rows(server, plan.sessions, plan.seconds, plan.side_px)
        else:
            rows = _crowds(plan, bench) if with_sessions else _rows(plan, bench, only, with_peer)
        for row in rows:
            report["rows"].append(row)
            print(json.dumps(row), flush=True)
            compare(report["rows"])
            report["seconds"] = round(time.perf_counter() - began, 1)
            save(report)
    return report


def _crowds(plan: StreamPlan, bench: StreamBench) -> Iterator[dict[str, Any]]:
    for count in plan.sessions:
        yield bench.sessions(count)


def _rows(
    plan: StreamPlan, bench: StreamBench, only: Sequence[str] | None, with_peer: bool
) -> Iterator[dict[str, Any]]:
    for name in names(plan):
        if only is not None and name not in only:
            continue
        kind, work, *link = name.split(":")
        rate, rtt = map(float, link[0].split("/")) if link else (0.0, 0.0)
        match kind:
            case "link":
                yield bench.link(rate, rtt, work)
            case "drop":
                yield bench.drop(work)
            case "loopback":
                yield bench.loopback(work)
            case "trame" if with_peer:
                from benchmarks.stream_trame import measure

                yield measure(plan, rate, rtt, work)


def compare(rows: list[dict[str, Any]]) -> None:
    """Give each of our rows that has trame's beside it what is to be reached beside it."""
    for ours in rows:
        same = [
            row
            for row in rows
            if row["kind"] == ours["kind"] == "link"
            and (row["client"], ours["client"]) == ("trame", "voxelcast")
            and all(row[name] == ours[name] for name in ("mbit_s", "rtt_ms", "work"))
        ]
        if not same or None in (ours["p95_ms"], same[0]["p95_ms"]) or not same[0]["fps"]:
            continue
        ours["p95_to_trame"] = round(ours["p95_ms"] / same[0]["p95_ms"], 3)
        ours["fps_to_trame"] = round(ours["fps"] / same[0]["fps"], 3)
        lag, fps = ours["p95_to_trame"], ours["fps_to_trame"]
        ours["met_beside_trame"] = lag <= 1.05 and fps >= 0.95 if ours["mbit_s"] >= 20 else lag < 1 and fps > 1


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stream", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="15 s a row, five links: at most 8 minutes")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the report goes")
    parser.add_argument("--only", metavar="ROW[,ROW]", help="these alone, as link:mpr:20/40,trame:vr:2/40,drop:mpr")
    parser.add_argument("--sessions", action="store_true", help="1, 8 and 64 clients at once, and nothing else")
    parser.add_argument("--cost", action="store_true", help="what a frame costs besides drawing, and nothing else")
    parser.add_argument("--no-peer", action="store_true", help="without trame")
    parser.add_argument("--seconds", type=float, help="that the hand moves in each row (30; quick 15)")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # to try the machinery, not to measure
    options = parser.parse_args(arguments)
    plan = TINY if options.tiny else QUICK if options.quick else FULL
    only = options.only.split(",") if options.only else None
    for name in only or ():
        if name not in names(plan):
            parser.error(f"no row {name!r}; there are {', '.join(names(plan))}")
    if options.seconds:
        plan = replace(plan, seconds=options.seconds)
    run(
        plan,
        only=only,
        with_sessions=options.sessions,
        with_cost=options.cost,
        with_peer=not options.no_peer,
        save=lambda report: write_report(options.json, report | {"quick": options.quick}),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

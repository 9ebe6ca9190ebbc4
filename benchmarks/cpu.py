"""The CPU renderer against VTK, frame by frame in alternation: ``python -m benchmarks.cpu [--quick] --json FILE``."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.cpu_fresh import compile_and_start, first_frame, opengl, scalar
from benchmarks.cpu_rows import RowBench, summary
from benchmarks.cpu_sections import Bench, fairness, new_look, sizes, threads, upload
from benchmarks.machine import begun_report, versions, write_report
from benchmarks.plan import FULL, QUICK, SECTIONS, TINY, Plan
from benchmarks.subjects import WORKS, Subject, Work, data_folder, noise, real_subjects, torso, viewpoints_of
from render.backends.cpu import CpuRenderer

THREADS = 2

MEASURES: dict[str, Callable[[Bench], dict[str, Any]]] = {
    "sizes": sizes,
    "threads": threads,
    "upload": upload,
    "compile": compile_and_start,
    "first_frame": first_frame,
    "new_look": new_look,
    "fairness": fairness,
    "scalar": scalar,
    "opengl": opengl,
}


def run(
    plan: Plan,
    *,
    works: Sequence[Work] = WORKS,
    sections: Sequence[str] | None = None,
    thread_count: int = THREADS,
    with_peer: bool = True,
    save: Callable[[dict[str, Any]], None] = lambda report: None,
) -> dict[str, Any]:
    """Measure, telling of each row and section on standard output.

    Parameters
    ----------
    plan
        How much.
    works, sections
        Only these; None takes the plan's sections.
    thread_count
        Of both sides.
    with_peer
        Whether VTK takes part.
    save
        Given the report as it grows, after each section.

    Returns
    -------
    dict
        The report; README.md beside this file describes it.
    """
    chosen = plan.sections if sections is None else sections
    began = time.perf_counter()
    renderer = CpuRenderer(threads=thread_count)
    report = begun_report("cpu", renderer) | {"frames": plan.frames, "rays": [plan.side_px, plan.side_px]}
    subject = torso(plan.torso_shape)
    if "rows" in chosen:
        report["rows"] = []
        for row in _rows(plan, works, renderer, subject, with_peer):
            report["rows"].append(row)
            print(_told(row), flush=True)
        report["summary"] = summary(report["rows"], report["machine"]["lanes"])
        save(report)
    resident = renderer.upload(subject.volume)
    bench = Bench(plan, works, thread_count, renderer, resident, subject)
    for name, measure in MEASURES.items():
        if name in chosen and (with_peer or name != "opengl"):
            report[name] = measure(bench)
            print(f"{name}: {json.dumps(report[name])}", flush=True)
            save(report)
    renderer.release(resident)
    renderer.close()
    report["seconds"] = round(time.perf_counter() - began, 1)
    save(report)
    return report


def _rows(
    plan: Plan, works: Sequence[Work], renderer: CpuRenderer, subject: Subject, with_peer: bool
) -> Iterator[dict[str, Any]]:
    for each in _subjects(plan, subject):
        peer = None
        if with_peer:
            from benchmarks.vtk_peer import VtkPeer

            peer = VtkPeer(each.volume, renderer.threads)
        resident = renderer.upload(each.volume)
        bench = RowBench(renderer, resident, peer, each, plan)
        for work in works:
            for viewpoint in viewpoints_of(work, plan.viewpoints):
                yield bench.measure(work, viewpoint)
        renderer.release(resident)


def _subjects(plan: Plan, subject: Subject) -> Iterator[Subject]:
    yield subject
    if plan.takes_real:
        yield from real_subjects(data_folder())
    if plan.takes_noise:
        yield noise(plan.noise_side)


def _told(row: dict[str, Any]) -> str:
    peer = f"{row['peer']} {row['peer_ms']:8.1f} ms   ratio {row['ratio']:6.2f}   " if "peer" in row else ""
    return (
        f"{row['volume']:24} {row['work']:12} {row['view']:17} ours {row['ours_ms']:8.1f} ms   "
        f"{peer}agreement {row['agreement']:.3f}"
    )


def _chosen(names: str, known: Sequence[str], what: str) -> list[str]:
    chosen = names.split(",")
    for name in chosen:
        if name not in known:
            raise argparse.ArgumentTypeError(f"no {what} {name!r}; there are {', '.join(known)}")
    return chosen


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two views of each work, fewer sections: a few minutes")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the report goes")
    parser.add_argument("--threads", type=int, default=THREADS, help="of both sides (default: %(default)s)")
    parser.add_argument(
        "--only",
        type=lambda names: _chosen(names, [work.name for work in WORKS], "work"),
        metavar="WORK[,WORK]",
        help="these works alone",
    )
    parser.add_argument(
        "--sections",
        type=lambda names: _chosen(names, SECTIONS, "section"),
        metavar="SECTION[,SECTION]",
        help=f"these alone, of {', '.join(SECTIONS)}",
    )
    parser.add_argument("--no-peer", action="store_true", help="without VTK: no ratios")
    parser.add_argument("--tiny", action="store_true", help=argparse.SUPPRESS)  # to try the machinery, not to measure
    options = parser.parse_args(arguments)
    if not options.no_peer and versions()["vtk"] is None:
        parser.error("VTK is not installed: pip install '.[bench]', or --no-peer")
    run(
        TINY if options.tiny else QUICK if options.quick else FULL,
        works=[work for work in WORKS if options.only is None or work.name in options.only],
        sections=options.sections,
        thread_count=options.threads,
        with_peer=not options.no_peer,
        save=lambda report: write_report(options.json, report | {"quick": options.quick}),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The CPU renderer against VTK, frame by frame in alternation: ``python -m benchmarks.cpu [--quick] --json FILE``."""

from __future__ import annotations

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numpy as np

import render
from benchmarks.subjects import WORKS, Subject, Work, data_folder, subjects, view_names, view_of
from benchmarks.vtk_peer import VtkPeer
from render.backends.base import ResidentVolume
from render.backends.cpu.renderer import CpuRenderer
from render.frame import Frame
from render.volume import Volume
from tests.comparison import COLOR_TOLERANCE, agreement, value_tolerance
from tests.reference import render_reference

THREADS = 2
FRAMES, QUICK_FRAMES = 7, 3
CHECKED_RAYS = 1000


def measure(
    renderer: CpuRenderer, resident: ResidentVolume, peer: VtkPeer, subject: Subject, work: Work, name: str, frames: int
) -> dict[str, Any]:
    """Time one work and view: a row of the report."""
    volumes = {subject.volume.id: resident}
    views = [view_of(subject, work, name, number) for number in range(frames + 1)]
    frame = renderer.render(views[0], volumes)  # the warm-up
    step_mm = frame.step_mm
    if work.is_flat:
        # The lattice has no sample in the plane: an even number, as many as lie within the slab.
        samples = 2 * max(1, int(work.slab_mm / step_mm / 2 + 0.5)) if work.slab_mm else 1
        theirs: Any = peer.plane(views[0], step_mm, samples)
    else:
        theirs = peer.rays(views[0], step_mm)
    ours_ms, peer_ms = [], []
    for view in views[1:]:
        start = time.perf_counter()
        frame = renderer.render(view, volumes)
        ours_ms.append((time.perf_counter() - start) * 1e3)
        theirs.aim(view)
        peer_ms.append(_timed_ms(theirs.draw))
    ours, other = statistics.median(ours_ms), statistics.median(peer_ms)
    return {
        "work": work.name,
        "volume": subject.name,
        "view": name,
        "ours_ms": round(ours, 3),
        "peer": theirs.peer,
        "peer_ms": round(other, 3),
        "ratio": round(other / ours, 3),
        "step_mm": round(step_mm, 4),
        "agreement": round(checked(frame, subject.volume), 5),
    }


def _timed_ms(draw: Callable[[], None]) -> float:
    start = time.perf_counter()
    draw()
    return (time.perf_counter() - start) * 1e3


def checked(frame: Frame, volume: Volume) -> float:
    """Return the fraction of a thousand of the frame's rays that agree with the float64 reference."""
    viewport = frame.view.viewport
    generator = np.random.default_rng(7)
    rows, columns = (generator.integers(0, n, CHECKED_RAYS) for n in (viewport.height_px, viewport.width_px))
    reference = render_reference(frame.view, volume, pixels=np.stack([rows, columns], axis=1))
    picture: Any = frame.values if frame.color is None else frame.color
    tolerance = value_tolerance(volume) if frame.color is None else COLOR_TOLERANCE
    agrees, _ = agreement(reference, picture[rows, columns], tolerance)
    return float(agrees.mean())


def machine(renderer: CpuRenderer) -> dict[str, Any]:
    """Return what the figures depend on."""
    features = llvmlite.binding.get_host_cpu_features()
    bits = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "simd_bits": bits,
        "threads": renderer.threads,
    }


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or llvmlite.binding.get_host_cpu_name()


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table, write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one view of each, median of 3: a few minutes")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the report goes")
    parser.add_argument("--threads", type=int, default=THREADS, help="of both sides (default: %(default)s)")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    renderer = CpuRenderer(threads=options.threads)
    report: dict[str, Any] = {
        "benchmark": "cpu",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": machine(renderer),
        "versions": {
            "python": platform.python_version(),
            "voxelcast": render.__version__,
            **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "llvmlite", "vtk")},
        },
        "rays": [512, 512],
        "rows": [],
    }
    for subject in subjects(data_folder()):
        resident = renderer.upload(subject.volume)
        peer = VtkPeer(subject.volume, options.threads)
        for work in WORKS:
            for name in view_names(work, quick=options.quick):
                row = measure(renderer, resident, peer, subject, work, name, QUICK_FRAMES if options.quick else FRAMES)
                report["rows"].append(row)
                print(
                    f"{row['volume']:24} {row['work']:12} {row['view']:12} ours {row['ours_ms']:8.1f} ms   "
                    f"{row['peer']} {row['peer_ms']:8.1f} ms   ratio {row['ratio']:6.2f}   "
                    f"agreement {row['agreement']:.3f}",
                    flush=True,
                )
        renderer.release(resident)
    renderer.close()
    report["seconds"] = round(time.perf_counter() - began, 1)
    options.json.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

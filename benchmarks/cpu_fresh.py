"""What needs processes of its own: compiling, starting, first frames, scalar kernels, and VTK on OpenGL."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cpu_sections import Bench
from benchmarks.plan import spread
from benchmarks.subjects import OBLIQUE

MOST_COLD_S = 45.0
MOST_START_S = 1.5
MOST_FIRST_RATIO = 1.5

SCALAR = {"VOXELCAST_LANES": "1"}
SOFTWARE_OPENGL = {"LIBGL_ALWAYS_SOFTWARE": "1"}
LONGEST_S = 600.0
OPENGL_FRAMES = 1
"""Timed, after one that warms up: a shaded one takes ten seconds and more."""


class TaskError(Exception):
    """A task of `benchmarks.fresh` failed; the text ends with the last line of what it said."""


def run(task: str, *arguments: object, environment: Mapping[str, str] | None = None) -> tuple[dict[str, Any], float]:
    """Run a task of `benchmarks.fresh`; return its answer, and the seconds from the process's start to its end.

    Raises
    ------
    TaskError
        If it ends with anything but 0, or takes more than `LONGEST_S`.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        command = [sys.executable, "-m", "benchmarks.fresh", task, *map(str, arguments), str(answer)]
        began = time.perf_counter()
        try:
            done = subprocess.run(
                command,
                env={**os.environ, **(environment or {})},
                cwd=Path(__file__).resolve().parents[1],
                capture_output=True,
                text=True,
                timeout=LONGEST_S,
            )
        except subprocess.TimeoutExpired:
            raise TaskError(f"{task}: not done in {LONGEST_S:g} s") from None
        seconds = time.perf_counter() - began
        if done.returncode != 0:
            last = done.stderr.strip().rpartition("\n")[2]
            raise TaskError(f"{task}: exit status {done.returncode}: {last}")
        result: dict[str, Any] = json.loads(answer.read_text("utf-8"))
        return result, seconds


@contextmanager
def _torso_file(bench: Bench) -> Iterator[Path]:
    """Write the torso's voxels for a process that would take seconds to make them."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "torso.npy"
        np.save(path, bench.torso.volume.codes)
        yield path


def compile_and_start(bench: Bench) -> dict[str, Any]:
    """Time a cold start of all kernels, then starts with what it has left in the cache.

    A cached start is a whole process, from its start to its end, that draws the first MPR of a small volume; what it
    takes without numba, one that makes the same volume and View with the modules that need no numba.
    """
    with tempfile.TemporaryDirectory() as cache:
        environment = {"XDG_CACHE_HOME": cache}
        cold, _ = run("kernels", environment=environment)
        loaded, _ = run("kernels", environment=environment)
        with_s, without_s = [], []
        for _ in range(bench.plan.processes):
            with_s.append(run("start_with_numba", environment=environment)[1])
            without_s.append(run("start_without_numba", environment=environment)[1])
    more_s = statistics.median(with_s) - statistics.median(without_s)
    return {
        "cold": cold,
        "cold_limit_s": MOST_COLD_S,
        "cold_met": cold["all_s"] <= MOST_COLD_S,
        "cached": loaded,
        "start_s": round(statistics.median(with_s), 3),
        "start_without_numba_s": round(statistics.median(without_s), 3),
        "start_more_s": round(more_s, 3),
        "start_limit_s": MOST_START_S,
        "start_met": more_s <= MOST_START_S,
    }


def first_frame(bench: Bench) -> dict[str, Any]:
    """Time each method's first frame in a process that has loaded all kernels from the cache, as a server does.

    The ratio is to the median of the frames that follow in the same process; of several processes, the median.
    """
    run("kernels")  # the cache is warm
    result: dict[str, Any] = {"limit": MOST_FIRST_RATIO}
    worst = 0.0
    with _torso_file(bench) as torso:
        for work in bench.works:
            answers = [
                run("first_frame", torso, work.name, bench.plan.side_px, bench.threads, bench.plan.frames)[0]
                for _ in range(bench.plan.processes)
            ]
            steady = [statistics.median(answer["following_ms"]) for answer in answers]
            first = [answer["first_ms"] for answer in answers]
            ratio = statistics.median(f / s for f, s in zip(first, steady, strict=True))
            worst = max(worst, ratio)
            result[work.name] = {**spread("first", first), **spread("steady", steady), "ratio": round(ratio, 3)}
    return result | {"most_ratio": round(worst, 3), "met": worst <= MOST_FIRST_RATIO}


def scalar(bench: Bench) -> dict[str, Any]:
    """Time each work with lanes and with scalar kernels (``VOXELCAST_LANES=1``)."""
    works = ",".join(work.name for work in bench.works)
    with _torso_file(bench) as torso:
        arguments = (torso, works, bench.plan.side_px, bench.threads, bench.plan.repeats)
        lanes, _ = run("frames", *arguments)
        scalars, _ = run("frames", *arguments, environment=SCALAR)
    result: dict[str, Any] = {
        "volume": bench.torso.name,
        "view": OBLIQUE.name,
        "kernels": [scalars["kernels"], lanes["kernels"]],
        "simd_lanes": [scalars["simd_lanes"], lanes["simd_lanes"]],
    }
    for work in bench.works:
        ours, plain = lanes["ms"][work.name], scalars["ms"][work.name]
        ratio = statistics.median(plain) / statistics.median(ours)
        result[work.name] = {**spread("scalar", plain), **spread("lanes", ours), "ratio": round(ratio, 3)}
    return result


def opengl(bench: Bench) -> dict[str, Any]:
    """Time VTK's mapper for graphics cards on software OpenGL, once, for the record; `failure` where there is none."""
    works = [work.name for work in bench.works if not work.is_flat]
    if not works:
        return {"failure": "no MIP and no volume rendering among the works"}
    with _torso_file(bench) as torso:
        try:
            answer, _ = run(
                "opengl",
                torso,
                ",".join(works),
                bench.plan.side_px,
                bench.threads,
                OPENGL_FRAMES,
                environment={**SOFTWARE_OPENGL, "LP_NUM_THREADS": str(bench.threads)},
            )
        except TaskError as error:
            return {"failure": str(error)}
    result = {key: answer[key] for key in ("peer", "device", "step_mm")} | {"view": OBLIQUE.name}
    return result | {work: {"peer_ms": round(times[0], 3)} for work, times in answer["ms"].items()}

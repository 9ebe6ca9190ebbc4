"""What is measured of our renderer alone, within this process."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.plan import Plan, spread, timed_ms
from benchmarks.subjects import OBLIQUE, WORKS, Subject, Work, data_folder, real_subjects, view_of
from render.backends.base import ResidentVolume
from render.backends.cpu import CpuRenderer
from render.errors import RenderCancelledError
from render.geometry import VolumeGeometry
from render.transfer import Shading, TransferFunction, Window
from render.view import Layer, View
from render.volume import Volume

LEAST_THREADS_RATIO = 1.8
MOST_UPLOAD_MS = 60.0
"""A 100 million voxels."""
MOST_UPLOAD_PERCENT = 5.0
MOST_NEW_LOOK_MS = 2.0
MOST_DELAY_MS = 30.0

NEW_LOOK_SIDE_PX = 128
"""A new look costs as much however large the picture; a small one lets 2 ms be seen."""
NEW_LOOK_PAIRS = 5
"""Pairs of frames for each of the plan's repeats."""
LIGHT_PAUSE_S = 0.01
"""Between two of the light frames: they arrive at any moment of the heavy one."""

THIN, SHADED = WORKS[0], WORKS[-1]


@dataclass(frozen=True)
class Bench:
    """What the sections share: the torso, resident.

    Attributes
    ----------
    plan
        How much to measure.
    works
        Those that were asked for.
    threads
        Of the renderer.
    renderer, resident, torso
        Ours, the volume in it, and the volume.
    """

    plan: Plan
    works: Sequence[Work]
    threads: int
    renderer: CpuRenderer
    resident: ResidentVolume
    torso: Subject

    def view(self, work: Work, number: int, side_px: int | None = None) -> View:
        """Return the oblique View of the frame of this number."""
        return view_of(self.torso, work, OBLIQUE, number, side_px or self.plan.side_px)

    def draw(self, view: View) -> None:
        """Draw a View of the torso."""
        self.renderer.render(view, {self.torso.volume.id: self.resident})


def sizes(bench: Bench) -> dict[str, Any]:
    """Time each work at several sizes; ms a frame."""
    result: dict[str, Any] = {"volume": bench.torso.name, "view": OBLIQUE.name}
    for work in bench.works:
        bench.draw(bench.view(work, 0))
        result[work.name] = {
            str(side): round(
                statistics.median(
                    timed_ms(partial(bench.draw, bench.view(work, 1 + number, side)))
                    for number in range(bench.plan.repeats)
                ),
                3,
            )
            for side in bench.plan.sides_px
        }
    return result


def threads(bench: Bench) -> dict[str, Any]:
    """Time each work with one thread and with all, in alternation: of each view one, so that none is in the cache."""
    single = CpuRenderer(threads=1)
    volumes = {bench.torso.volume.id: single.upload(bench.torso.volume)}
    result: dict[str, Any] = {"threads": [1, bench.threads], "limit": LEAST_THREADS_RATIO}
    ratios = []
    for work in bench.works:
        bench.draw(bench.view(work, 0))
        one_ms, all_ms = [], []
        for number in range(bench.plan.frames):
            one_ms.append(timed_ms(partial(single.render, bench.view(work, 1 + 2 * number), volumes)))
            all_ms.append(timed_ms(partial(bench.draw, bench.view(work, 2 + 2 * number))))
        ratios.append(statistics.median(one_ms) / statistics.median(all_ms))
        result[work.name] = {**spread("one", one_ms), **spread("all", all_ms), "ratio": round(ratios[-1], 3)}
    single.close()
    return result | {"least_ratio": round(min(ratios), 3), "met": min(ratios) >= LEAST_THREADS_RATIO}


def upload(bench: Bench) -> dict[str, Any]:
    """Time the upload of a large volume of the torso's voxels, as int16 and as float32, and of the real series."""
    shape = bench.plan.upload_shape
    geometry = VolumeGeometry.from_axes(shape, (0, 0, 0), (0.7, 0, 0), (0, 0.7, 0), (0, 0, 1))
    codes: npt.NDArray[Any] = np.resize(bench.torso.volume.codes, shape)
    result: dict[str, Any] = {"voxels": codes.size, "limit_ms": MOST_UPLOAD_MS, "limit_percent": MOST_UPLOAD_PERCENT}
    for dtype in (np.int16, np.float32):
        name = np.dtype(dtype).name
        volume = Volume("upload", geometry, codes.astype(dtype))
        result[name] = _uploaded(bench, Subject("upload", volume, bench.torso.transfer_function))
        result[f"{name}_ms_met"] = result[name]["per_100m_voxels_ms"] <= MOST_UPLOAD_MS
        result[f"{name}_percent_met"] = result[name]["with_tables_percent"] <= MOST_UPLOAD_PERCENT
    del codes, volume
    real = {each.name: _uploaded(bench, each) for each in real_subjects(data_folder())} if bench.plan.takes_real else {}
    if real:
        result["real"] = real
        most_ms = max(each["per_100m_voxels_ms"] for each in real.values())
        most_percent = max(each["with_tables_percent"] for each in real.values())
        result |= {"real_most_ms": most_ms, "real_ms_met": most_ms <= MOST_UPLOAD_MS}
        result |= {"real_most_percent": most_percent, "real_percent_met": most_percent <= MOST_UPLOAD_PERCENT}
    return result


def _uploaded(bench: Bench, subject: Subject) -> dict[str, Any]:
    """Time the upload of a volume, and tell what it takes: bricks and cells alone, and with a transfer function."""
    volume = subject.volume
    renderer = CpuRenderer(bench.threads)  # which remembers no transfer function yet
    renderer.release(renderer.upload(volume))  # the warm-up
    times_ms = []
    for _ in range(bench.plan.repeats):
        start = time.perf_counter()
        resident = renderer.upload(volume)
        times_ms.append((time.perf_counter() - start) * 1e3 * 1e8 / volume.codes.size)
        renderer.release(resident)
    resident = renderer.upload(volume)
    with resident.in_use() as (_, grid):
        bricks = grid.nbytes
    for work in WORKS[-2:]:
        renderer.render(view_of(subject, work, OBLIQUE, 0, bench.plan.side_px), {volume.id: resident})
    tables = renderer.looks_nbytes
    renderer.close()
    return {
        "shape": volume.codes.shape,
        **spread("per_100m_voxels", times_ms),
        "voxels_bytes": volume.nbytes,
        "resident_bytes": resident.nbytes,
        "tables_bytes": tables,
        "bricks_percent": round(100 * bricks / volume.nbytes, 3),
        "over_voxels_percent": round(100 * (resident.nbytes / volume.nbytes - 1), 3),
        "with_tables_percent": round(100 * ((resident.nbytes + tables) / volume.nbytes - 1), 3),
    }


def new_look(bench: Bench) -> dict[str, Any]:
    """Time a frame whose window, transfer function or light is new against the same frame as it was before.

    The new transfer function is the old one, moved by next to nothing: what is drawn stays the same work.
    """
    shading = bench.torso.transfer_function.shading or Shading()
    looks: tuple[tuple[str, Work, Callable[[Layer, int], Layer]], ...] = (
        ("window", THIN, lambda layer, number: replace(layer, window=Window(40.0 + number, 400.0))),
        ("transfer_function", WORKS[4], lambda layer, n: _with(layer, lambda f: f.shifted(1e-3 * n))),
        ("transfer_function_shaded", SHADED, lambda layer, n: _with(layer, lambda f: f.shifted(1e-3 * n))),
        (
            "light",
            SHADED,
            lambda layer, n: _with(layer, lambda f: replace(f, shading=replace(shading, shininess=10 + 1e-3 * n))),
        ),
    )
    side = min(NEW_LOOK_SIDE_PX, bench.plan.side_px)
    result: dict[str, Any] = {"side_px": side, "limit_ms": MOST_NEW_LOOK_MS}
    worst = -float("inf")
    for name, work, change in looks:
        view = bench.view(work, 0, side)
        bench.draw(view)
        same_ms, new_ms = [], []
        for number in range(1, 1 + NEW_LOOK_PAIRS * bench.plan.repeats):
            changed = replace(view, layers=(change(view.layers[0], number),))
            same_ms.append(timed_ms(partial(bench.draw, view)))
            new_ms.append(timed_ms(partial(bench.draw, changed)))
        more = statistics.median(new - same for new, same in zip(new_ms, same_ms, strict=True))
        worst = max(worst, more)
        result[name] = {
            "work": work.name,
            **spread("same", same_ms),
            **spread("new", new_ms),
            "more_ms": round(more, 3),
        }
    return result | {"most_ms": round(worst, 3), "met": worst <= MOST_NEW_LOOK_MS}


def _with(layer: Layer, change: Callable[[TransferFunction], TransferFunction]) -> Layer:
    assert layer.transfer_function is not None
    return replace(layer, transfer_function=change(layer.transfer_function))


def fairness(bench: Bench) -> dict[str, Any]:
    """Time thin MPRs alone, and while another thread draws huge shaded frames one after the other."""
    heavy = bench.view(SHADED, 0, bench.plan.heavy_side_px)
    volumes = {bench.torso.volume.id: bench.resident}
    stopped, started = threading.Event(), threading.Event()
    heavy_ms: list[float] = []
    failures: list[BaseException] = []

    def is_stopped() -> bool:
        started.set()  # asked before each tile: from here on tiles are being drawn
        return stopped.is_set()

    def draw_heavy() -> None:
        try:
            while not stopped.is_set():
                heavy_ms.append(timed_ms(partial(bench.renderer.render, heavy, volumes, cancelled=is_stopped)))
        except RenderCancelledError:
            pass
        except BaseException as error:  # raised again by the thread that measures
            failures.append(error)
            started.set()

    bench.draw(bench.view(SHADED, 0))  # compiles, if need be
    bench.draw(bench.view(THIN, 0))
    alone_ms = _light_ms(bench)
    thread = threading.Thread(target=draw_heavy, name="heavy")
    thread.start()
    started.wait()
    beside_ms = _light_ms(bench)
    stopped.set()
    thread.join()
    if failures:
        raise failures[0]
    delays = np.array(beside_ms) - statistics.median(alone_ms)
    return {
        "heavy": f"{SHADED.name}, {bench.plan.heavy_side_px} x {bench.plan.heavy_side_px}",
        "light": f"{THIN.name}, {bench.plan.side_px} x {bench.plan.side_px}",
        "frames": len(beside_ms),
        "heavy_frames_done": len(heavy_ms),
        **spread("alone", alone_ms),
        **spread("beside", beside_ms),
        "delay_median_ms": round(float(np.median(delays)), 3),
        "delay_p95_ms": round(float(np.percentile(delays, 95)), 3),
        "delay_max_ms": round(float(delays.max()), 3),
        "limit_ms": MOST_DELAY_MS,
        "met": bool(delays.max() <= MOST_DELAY_MS),
    }


def _light_ms(bench: Bench) -> list[float]:
    times = []
    for number in range(bench.plan.light_frames):
        time.sleep(LIGHT_PAUSE_S)
        times.append(timed_ms(partial(bench.draw, bench.view(THIN, number))))
    return times

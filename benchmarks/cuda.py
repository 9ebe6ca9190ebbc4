"""The CUDA renderer beside what a card can do at most: ``python -m benchmarks.cuda [--quick] [--shim] --json FILE``."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from benchmarks.cuda_card import Card, CupyClock, HostClock
from benchmarks.cuda_peers import peers
from benchmarks.cuda_sections import FULL, QUICK, TINY, CudaPlan, ceilings, jpeg, registers, rows, sessions, upload
from benchmarks.machine import versions
from benchmarks.subjects import Subject, torso
from render.backends.cpu import CpuRenderer
from render.backends.cuda.device import Device
from render.backends.cuda.probe import probe
from render.backends.cuda.selftest import disagreement
from render.geometry import VolumeGeometry

BUDGET_SHARE = 0.8
"""Of the card's free memory: for volumes."""
GOALS: dict[str, tuple[float, bool]] = {
    "dense_mip_ceiling_percent": (60.0, True),
    "shaded_jpeg_copy_ms": (3.0, False),
    "sessions_64_frames_per_s_each": (30.0, True),
    "mpr_over_affine_transform": (10.0, True),
}
"""What is aimed at on an H100 or H200, and whether more is better."""


class Run:
    """One run: sections that fail or have no time left leave a line of why, and the report is saved after each.

    Parameters
    ----------
    plan
        How much.
    card
        On what.
    architecture
        ``sm_90``.
    save
        Given the report as it grows.
    clock
        Seconds.
    """

    def __init__(
        self,
        plan: CudaPlan,
        card: Card,
        architecture: str,
        save: Callable[[dict[str, Any]], None] = lambda report: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.report: dict[str, Any] = {
            "benchmark": "cuda",
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "device": {
                "name": card.device.name,
                "description": card.device.description,
                "architecture": architecture,
                "clock": card.clock.name,
                "total_bytes": card.device.memory().total,
            },
            "versions": versions() | {"cupy": probe().cupy},
        }
        self._plan, self._card, self._architecture = plan, card, architecture
        self._save, self._clock = save, clock
        self._began = clock()

    def run(self) -> dict[str, Any]:
        """Measure everything."""
        plan, card = self._plan, self._card
        subject = torso(plan.torso_shape)
        self._section("self_test", self._self_test)
        self._section("registers", lambda: registers(self._architecture))
        with card.holding(subject) as resident:
            self._section("ceilings", lambda: ceilings(card, resident, plan))
            self._section("jpeg", lambda: jpeg(card, subject, resident, plan))
            self._section("sessions", lambda: sessions(card, subject, resident, plan))
            self._section("upload", lambda: upload(card, subject, plan))
            self._rows("rows", subject, resident)
            self._section("peers", lambda: peers(card, subject, resident, plan))
        if plan.large_shape is not None and self._left_s() > 0:
            large = repeated(subject, plan.large_shape)
            self._section("large_upload", lambda: upload(card, large, replace(plan, repeats=1)))
            try:
                with card.holding(large) as resident:
                    self._rows("large_rows", large, resident)
            except Exception as error:
                self._note("large_rows", {"failure": first_line(error)})
        self.report["goals"] = goals(self.report)
        self.report["seconds"] = round(self._clock() - self._began, 1)
        self._note("goals", self.report["goals"])
        return self.report

    def _self_test(self) -> dict[str, Any]:
        with contextlib.closing(CpuRenderer(1)) as judge:
            wrong = disagreement(self._card.exact, judge)
        return {"equals_cpu": not wrong, "wrong": wrong}

    def _rows(self, name: str, subject: Subject, resident: Any) -> None:
        def measured() -> list[dict[str, Any]]:
            found = []
            for row in rows(self._card, subject, resident, self._plan):
                found.append(row)
                print(told(row), flush=True)
                if self._left_s() <= 0:
                    found.append({"skipped": "no time left for more rows"})
                    break
            return found

        self._section(name, measured)

    def _section(self, name: str, measure: Callable[[], Any]) -> None:
        if self._left_s() <= 0:
            self._note(name, {"skipped": f"no time left of {self._plan.seconds:.0f} s"})
            return
        try:
            self._note(name, measure())
        except Exception as error:  # the other sections are worth having
            self._note(name, {"failure": f"{type(error).__name__}: {first_line(error)}"})

    def _note(self, name: str, found: Any) -> None:
        self.report[name] = found
        if name not in ("rows", "large_rows") or not isinstance(found, list):
            print(f"{name}: {json.dumps(found)}", flush=True)
        self._save(self.report)

    def _left_s(self) -> float:
        return self._plan.seconds - (self._clock() - self._began)


def repeated(subject: Subject, shape: tuple[int, int, int]) -> Subject:
    """Return a volume on a finer grid of this shape, each voxel repeated; the last ones where it does not divide."""
    codes = subject.volume.codes
    for axis, count in enumerate(shape):
        nearest = np.minimum(np.arange(count) * codes.shape[axis] // count, codes.shape[axis] - 1)
        codes = np.take(codes, nearest, axis=axis)
    affine = subject.volume.geometry.patient_from_voxel.copy()
    for axis, (fine, coarse) in enumerate(zip(shape[::-1], subject.volume.codes.shape[::-1], strict=True)):
        affine[:3, axis] *= coarse / fine
    name = f"{subject.name}_{shape[2]}x{shape[1]}x{shape[0]}"
    volume = replace(subject.volume, id=name, geometry=VolumeGeometry(shape, affine), codes=codes)
    return replace(subject, name=name, volume=volume)


def goals(report: dict[str, Any]) -> dict[str, Any]:
    """Return what is reached of `GOALS`, as far as it was measured; on the host none is, whatever the figures."""
    found: dict[str, float] = {}
    rows_of = [row for name in ("rows", "large_rows") for row in _list(report.get(name)) if "work" in row]
    dense = [
        row["ceiling_percent"]
        for row in rows_of
        if (row["work"], row["sampling"], row["skipping"]) == ("mip", "texture", "dense") and "ceiling_percent" in row
    ]
    if dense:
        found["dense_mip_ceiling_percent"] = min(dense)
    if isinstance(report.get("jpeg"), dict) and "draw_jpeg_copy_ms" in report["jpeg"]:
        found["shaded_jpeg_copy_ms"] = report["jpeg"]["draw_jpeg_copy_ms"]
    for row in _list(report.get("sessions")):
        if row["sessions"] == 64:
            found["sessions_64_frames_per_s_each"] = row["slowest_session_frames_per_s"]
    ratios = [row["ratio"] for row in _list(report.get("peers")) if "ratio" in row and row["peer"].startswith("cupyx")]
    if ratios:
        found["mpr_over_affine_transform"] = min(ratios)
    if report.get("device", {}).get("clock") == HostClock.name:
        found = {}
    return {
        name: {"goal": goal, "measured": found.get(name), "met": _is_met(found.get(name), goal, more)}
        for name, (goal, more) in GOALS.items()
    }


def _is_met(measured: float | None, goal: float, more_is_better: bool) -> bool | None:
    if measured is None:
        return None
    return measured >= goal if more_is_better else measured <= goal


def _list(found: Any) -> list[dict[str, Any]]:
    return found if isinstance(found, list) else []


def told(row: dict[str, Any]) -> str:
    """Return a row as a line."""
    frame = f"   frame {row['frame_ms']:8.3f} ms" if "frame_ms" in row else ""
    ceiling = f"{row['ceiling_percent']:6.1f}%" if "ceiling_percent" in row else ""
    return (
        f"{row['volume']:24} {row['work']:12} {row['side_px']:5} {row['sampling']:8} {row['skipping']:8} "
        f"{row['draw_ms']:9.3f} ms {row['gsamples_per_s']:9.2f} Gsamples/s {ceiling}{frame}"
    )


def first_line(error: Exception) -> str:
    """Return what an error says, in one line."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def shim_device(directory: Path) -> Device:
    """Return a device that runs the kernels on the host, compiled by g++: to try the machinery, not to measure."""
    from tests.backends.cuda.fake_device import FakeDevice
    from tests.backends.cuda.host_shim import build

    kernels = functools.cache(lambda dtype, texture: build(directory, dtype, texture=texture))
    device: Device = cast(Any, FakeDevice(kernels))  # of its own kinds of buffers and streams
    return device


def _architecture(index: int) -> str:
    import cupy

    return f"sm_{cupy.cuda.Device(index).compute_capability}"


def _make_current(index: int) -> None:
    """Let the clock and the peers, which know of no other card, use this one."""
    import cupy

    cupy.cuda.Device(index).use()


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cuda", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the torso alone, 512 x 512, up to 8 sessions")
    parser.add_argument("--shim", action="store_true", help="the kernels on the host, tiny: no figures worth having")
    parser.add_argument(
        "--device", type=int, metavar="N", help="which card; that with the most free memory if not given"
    )
    parser.add_argument("--json", type=Path, required=True, metavar="FILE", help="where the report goes")
    chosen = parser.parse_args(arguments)

    def save(report: dict[str, Any]) -> None:
        text = json.dumps(report | {"quick": chosen.quick, "shim": chosen.shim}, indent=1)
        chosen.json.write_text(text + "\n", "utf-8")

    if chosen.shim:
        with tempfile.TemporaryDirectory() as directory:
            device = shim_device(Path(directory))
            plan = replace(TINY, large_shape=None) if chosen.quick else TINY
            Run(plan, Card.on(device, HostClock(device), 1 << 29), "sm_90", save).run()
        return 0
    found = probe()
    cards = [card for card in found.cards if chosen.device in (None, card.index) and not card.reason]
    if not cards:
        parser.error(found.reason or f"no card {chosen.device} that can be used")
    from render.backends.cuda.cupy_device import CupyDevice

    best = max(cards, key=lambda card: card.free_bytes)
    _make_current(best.index)
    card = Card.on(CupyDevice(best.index), CupyClock(), int(BUDGET_SHARE * best.free_bytes))
    Run(QUICK if chosen.quick else FULL, card, _architecture(best.index), save).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())

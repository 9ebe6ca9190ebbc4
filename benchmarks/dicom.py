"""Slices a second from files to values, beside pylibjpeg: ``python -m benchmarks.dicom [--json FILE]``.

Slices of a real CT where ``VOXELCAST_TEST_DATA`` names the folder of real series, else of the demo torso, are written
in each transfer syntax and decoded frame by frame in a pool of threads, by our codecs and by pydicom with pylibjpeg's,
in alternation; their values must be equal. pylibjpeg is measured where it is installed: its JPEG plugin is under the
GPL, so nothing here depends on it. Then a long series is made of the slices and opened through the engine, as
`benchmarks.dicom_load` says.

    pip install pylibjpeg pylibjpeg-openjpeg pylibjpeg-libjpeg pylibjpeg-rle
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.pixels import get_decoder
from pydicom.uid import UID, HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from benchmarks.dicom_load import MEMORY_ALLOWANCE_BYTES, progressive
from benchmarks.machine import machine, versions
from render.backends.cpu import CpuRenderer
from render.dicom.access import PixelFiles
from render.dicom.header import quiet_pydicom
from render.dicom.ingest import Ingest
from render.dicom.pixels import load_volume, read_stored
from render.dicom.plan import VolumePlan
from render.dicom.series import select
from render.dicom.source import scan
from tests.dicom.synthetic import write_series

SYNTAXES = (JPEGLosslessSV1, JPEG2000Lossless, JPEGLSLossless, HTJ2KLossless, RLELossless)
ROUNDS = 3
LONG_SERIES = 3500
"""Slices of a CT from head to foot, a third of a millimetre to a half apart."""


def real_series() -> Path | None:
    """Return the folder of the real CT; None where it is not there."""
    folder = Path(os.environ.get("VOXELCAST_TEST_DATA", "")) / "petct_acrin_fusion" / "ct"
    return folder if os.environ.get("VOXELCAST_TEST_DATA") and folder.is_dir() else None


def subject(slices: int) -> tuple[str, npt.NDArray[Any]]:
    """Return stored values, int16, shape (slices, rows, columns), and what they are."""
    folder = real_series()
    if folder is not None:
        volume = load_volume(select(scan(folder)))
        name = "petct_acrin_fusion/ct"
    else:
        from render.demo import torso_volume

        volume, name = torso_volume(), "demo_torso"
    first = max((len(volume.codes) - slices) // 2, 0)
    return name, np.ascontiguousarray(volume.codes[first : first + slices])


def ours(plan: VolumePlan) -> Callable[[int], npt.NDArray[Any]]:
    """Return what decodes a slice of a plan by its index."""

    def decode(index: int) -> npt.NDArray[Any]:
        with PixelFiles(plan.root) as files:
            return read_stored(files, plan.slices[index])

    return decode


def pylibjpegs(plan: VolumePlan, syntax: str) -> Callable[[int], npt.NDArray[Any]] | None:
    """Return the same by pydicom with pylibjpeg's plugins; None where they are not installed."""
    decoder = get_decoder(UID(syntax))
    if importlib.util.find_spec("pylibjpeg") is None or "pylibjpeg" not in decoder.available_plugins:
        return None

    def decode(index: int) -> npt.NDArray[Any]:
        dataset = dcmread(plan.root / plan.slices[index].instance.path)
        return decoder.as_array(dataset, decoding_plugin="pylibjpeg", raw=True)[0]

    return decode


def slices_a_second(decode: Callable[[int], Any], count: int, pool: ThreadPoolExecutor) -> float:
    """Decode all slices once."""
    began = time.perf_counter()
    list(pool.map(decode, range(count)))
    return count / (time.perf_counter() - began)


def compare(plan: VolumePlan, syntax: str, pool: ThreadPoolExecutor) -> dict[str, Any]:
    """Return medians of `ROUNDS` rounds of each side."""
    our, peer = ours(plan), pylibjpegs(plan, syntax)
    count = len(plan.slices)
    rates: dict[str, list[float]] = {"ours": [], "pylibjpeg": []}
    if peer is not None:
        np.testing.assert_array_equal(our(0), peer(0))
    for _ in range(ROUNDS):
        rates["ours"].append(slices_a_second(our, count, pool))
        if peer is not None:
            rates["pylibjpeg"].append(slices_a_second(peer, count, pool))
    medians = {name: round(statistics.median(found), 1) if found else None for name, found in rates.items()}
    ratio = medians["ours"] / medians["pylibjpeg"] if medians["ours"] and medians["pylibjpeg"] else None
    return {
        "ours_slices_a_second": medians["ours"],
        "pylibjpeg_slices_a_second": medians["pylibjpeg"],
        "ratio": round(ratio, 2) if ratio is not None else None,
    }


def load_rates(plan: VolumePlan, threads: int) -> dict[str, Any]:
    """Return slices a second of whole loads: in this process, and in workers that are already there."""
    count = len(plan.slices)
    began = time.perf_counter()
    load_volume(plan, threads=threads)
    in_process = count / (time.perf_counter() - began)
    with Ingest(threads) as ingest:
        ingest.load(plan)
        began = time.perf_counter()
        ingest.load(plan)
        in_workers = count / (time.perf_counter() - began)
    return {"threads_slices_a_second": round(in_process, 1), "workers_slices_a_second": round(in_workers, 1)}


def peak_bytes(folder: Path, threads: int) -> dict[str, Any]:
    """Load a folder's volume in a process of its own and return the memory it took above what it had before."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.dicom", "--load", str(folder), "--threads", str(threads)],
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    limit = answer["volume_bytes"] + threads * answer["slice_bytes"] + MEMORY_ALLOWANCE_BYTES
    return {**answer, "limit_bytes": limit, "met": answer["peak_bytes"] <= limit}


def measure_load(folder: Path, threads: int) -> dict[str, int]:
    """Load, and return the growth of this process's resident memory at its peak."""
    plan = select(scan(folder))
    before = _status_bytes("VmRSS")
    load_volume(plan, threads=threads)
    return {
        "peak_bytes": _status_bytes("VmHWM") - before,
        "volume_bytes": plan.estimated_bytes,
        "slice_bytes": plan.estimated_bytes // plan.shape[0],
    }


def _status_bytes(name: str) -> int:
    """Return a figure of this process from the kernel (Linux); a peak of rusage would be the parent's at first."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) << 10
    raise LookupError(name)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print a line for each transfer syntax and each long series, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=48, help="of each transfer syntax; 0 for none")
    parser.add_argument("--long-series", type=int, default=LONG_SERIES, help="slices of it; 0 for none")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.load is not None:
        print(json.dumps(measure_load(options.load, options.threads)))
        return
    renderer = CpuRenderer(options.threads)
    report: dict[str, Any] = {
        "benchmark": "dicom",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(renderer),
        "versions": versions(
            "pydicom", "imagecodecs", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pylibjpeg-rle"
        ),
        "threads": options.threads,
    }
    renderer.close()
    if options.slices:
        report |= measure_syntaxes(options.slices, options.threads)
    if options.long_series:
        report["long_series"] = measure_long_series(options.long_series, options.threads)
    if options.json is not None:
        options.json.write_text(json.dumps(report, indent=2) + "\n", "utf-8")


def measure_syntaxes(slices: int, threads: int) -> dict[str, Any]:
    """Return what was decoded, and a row for each transfer syntax."""
    name, stored = subject(slices)
    rows: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(threads) as pool, quiet_pydicom():
        for syntax in SYNTAXES:
            root = Path(folder, syntax)
            write_series(root, stored, transfer_syntax=syntax)
            plan = select(scan(root))
            row = {**compare(plan, syntax, pool), **load_rates(plan, threads)}
            row["memory"] = peak_bytes(root, threads)
            rows[UID(syntax).name] = row
            print(UID(syntax).name, json.dumps(row), flush=True)
    return {"subject": name, "shape": stored.shape, "syntaxes": rows}


def measure_long_series(slices: int, threads: int) -> list[dict[str, Any]]:
    """Return rows of the long series, uncompressed and, where it is real, as its files are."""
    real = real_series()
    rows = []
    for native in (True, False) if real is not None else (True,):
        with tempfile.TemporaryDirectory() as folder:
            rows.append(progressive(Path(folder, "series"), slices, threads, real=real, native=native))
        print("long series", json.dumps(rows[-1]), flush=True)
    return rows


if __name__ == "__main__":
    main()

"""What the figures depend on: the machine, and the versions of what ran on it; and the report that says so."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import llvmlite.binding

import render
from render.backends.cpu import CpuRenderer
from render.backends.cpu.operations import KERNEL_SET


def begun_report(benchmark: str, renderer: CpuRenderer, *more: str) -> dict[str, Any]:
    """Return what every report begins with; `more` as `versions` has it."""
    return {
        "benchmark": benchmark,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine(renderer),
        "versions": versions(*more),
    }


def write_report(path: Path, report: dict[str, Any]) -> None:
    """Write a report, as far as it is."""
    path.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def machine(renderer: CpuRenderer) -> dict[str, Any]:
    """Return the machine, as the renderer uses it, and how busy it was."""
    features = llvmlite.binding.get_host_cpu_features()
    bits = 512 if features.get("avx512f") else 256 if features.get("avx2") else 128
    return {
        "cpu": _cpu_name(),
        "llvm_cpu": llvmlite.binding.get_host_cpu_name(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "simd_bits": bits,
        "simd_lanes": renderer.simd_lanes,
        "kernels": KERNEL_SET.name,
        "lanes": lanes_name(renderer.simd_lanes, bits),
        "threads": renderer.threads,
        "load_average": [round(load, 2) for load in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def lanes_name(simd_lanes: int, simd_bits: int) -> str:
    """Return what the lanes are made of: a vector of 32-bit lanes, in the registers that hold it or in parts.

    ``AVX-512`` or ``AVX2``, which have floors; ``scalar`` or ``128-bit``, which have none.
    """
    if simd_lanes == 1:
        return "scalar"
    return {512: "AVX-512", 256: "AVX2"}.get(min(simd_bits, max(simd_lanes * 32, 256)), "128-bit")


def versions(*more: str) -> dict[str, str | None]:
    """Return the versions of Python, of Voxelcast, of what it stands on and of `more`; None for what is missing."""
    found: dict[str, str | None] = {"python": platform.python_version(), "voxelcast": render.__version__}
    for name in ("numpy", "numba", "llvmlite", "vtk", *more):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _cpu_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or str(llvmlite.binding.get_host_cpu_name())

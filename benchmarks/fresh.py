"""What runs in a process of its own: ``python -m benchmarks.fresh TASK [ARGUMENTS] ANSWER``, a file of JSON.

Imports are part of what is measured, so each task imports what it needs.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

SMALL_SIDE = 32
"""Voxels along each side of the volume of the tasks `start_*`."""


def kernels() -> dict[str, Any]:
    """Compile all kernels, or load them from the cache; seconds each."""
    began = time.perf_counter()
    from render.backends.cpu import compile_kernels

    seconds: dict[str, float] = {}
    imported = time.perf_counter()
    current, since = "", imported

    def progress(name: str, done: int, total: int) -> None:
        nonlocal current, since
        now = time.perf_counter()
        if current:
            seconds[current] = round(now - since, 3)
        current, since = name, now

    compile_kernels(progress)
    return {
        "import_s": round(imported - began, 3),
        "all_s": round(time.perf_counter() - imported, 3),
        "kernels_s": seconds,
    }


def start_with_numba() -> dict[str, Any]:
    """Draw the first MPR of a small volume."""
    volume, view = _small()
    from render.backends.cpu import CpuRenderer

    renderer = CpuRenderer(threads=2)
    frame = renderer.render(view, {volume.id: renderer.upload(volume)})
    renderer.close()
    assert frame.values is not None
    return {}


def start_without_numba() -> dict[str, Any]:
    """Make the same volume and View, by the same modules as far as they need no numba, and draw nothing."""
    _small()
    import render.backends.base  # noqa: F401 # the renderer's contract

    assert "numba" not in sys.modules
    return {}


def _small() -> Any:
    import numpy as np

    from render.geometry import VolumeGeometry
    from render.view import Layer, Orientation, View, Viewport, oriented_camera
    from render.volume import Volume

    shape = (SMALL_SIDE,) * 3
    geometry = VolumeGeometry.from_axes(shape, (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    volume = Volume("small", geometry, np.arange(SMALL_SIDE**3, dtype=np.int16).reshape(shape))
    viewport = Viewport(SMALL_SIDE, SMALL_SIDE)
    return volume, View(oriented_camera(Orientation.FEET, geometry, viewport), viewport, (Layer("small"),))


def first_frame(torso: str, work: str, side_px: str, threads: str, repeats: str) -> dict[str, Any]:
    """Time one method's first frame in this process, all kernels loaded, and those that follow."""
    from render.backends.cpu import compile_kernels

    compile_kernels()  # as a server does at its start
    first, *following = _frames_ms(torso, (work,), int(side_px), int(threads), int(repeats))[work]
    return {"first_ms": first, "following_ms": following}


def frames(torso: str, works: str, side_px: str, threads: str, repeats: str) -> dict[str, Any]:
    """Time each work with the kernels that this process has."""
    from render.backends.cpu.operations import KERNEL_SET, WIDTH

    ms = _frames_ms(torso, works.split(","), int(side_px), int(threads), int(repeats))
    following = {work: times[1:] for work, times in ms.items()}
    return {"kernels": KERNEL_SET.name, "simd_lanes": WIDTH, "ms": following}


def opengl(torso: str, works: str, side_px: str, threads: str, repeats: str) -> dict[str, Any]:
    """Time VTK's mapper of volumes on OpenGL."""
    from benchmarks.plan import timed_ms
    from benchmarks.subjects import OBLIQUE, WORKS, view_of
    from benchmarks.vtk_peer import VtkPeer

    subject = _torso(torso)
    peer = VtkPeer(subject.volume, int(threads))
    step_mm = subject.volume.geometry.smallest_spacing_mm / 2
    result: dict[str, Any] = {}
    for work in WORKS:
        if work.is_flat or work.name not in works.split(","):
            continue
        views = [view_of(subject, work, OBLIQUE, number, int(side_px)) for number in range(1 + int(repeats))]
        theirs = peer.opengl(views[0], step_mm)
        times = []
        for view in views[1:]:
            theirs.aim(view)
            times.append(timed_ms(theirs.draw))
        result[work.name] = times
        device = theirs.device
    return {"peer": theirs.peer, "device": device, "step_mm": step_mm, "ms": result}


def _torso(path: str) -> Any:
    """Return the torso whose voxels the parent has written, in the same geometry and look."""
    import numpy as np

    from benchmarks.subjects import TORSO, Subject
    from render.demo.torso import EXTENT_MM
    from render.geometry import VolumeGeometry
    from render.transfer import load_preset
    from render.volume import Volume, VolumeInfo

    codes = np.load(path)
    k, j, i = (extent / n for extent, n in zip(EXTENT_MM[::-1], codes.shape, strict=True))
    geometry = VolumeGeometry.from_axes(codes.shape, (0, 0, 0), (i, 0, 0), (0, j, 0), (0, 0, k))
    return Subject(TORSO, Volume("torso", geometry, codes, info=VolumeInfo("CT", "HU")), load_preset("CT-AAA"))


def _frames_ms(torso: str, works: Sequence[str], side_px: int, threads: int, repeats: int) -> dict[str, list[float]]:
    """Time the first frame of each work and `repeats` that follow, oblique, the camera turned each time."""
    from benchmarks.plan import timed_ms
    from benchmarks.subjects import OBLIQUE, WORKS, view_of
    from render.backends.cpu import CpuRenderer

    subject = _torso(torso)
    renderer = CpuRenderer(threads=threads)
    volumes = {subject.volume.id: renderer.upload(subject.volume)}
    times = {}
    for work in WORKS:
        if work.name in works:
            views = [view_of(subject, work, OBLIQUE, number, side_px) for number in range(1 + repeats)]
            times[work.name] = [timed_ms(partial(renderer.render, view, volumes)) for view in views]
    renderer.close()
    return times


TASKS = {task.__name__: task for task in (kernels, start_with_numba, start_without_numba, first_frame, frames, opengl)}


def main(arguments: list[str]) -> int:
    """Do the task that is named, and write its answer to the file named last."""
    task, *rest, answer = arguments
    Path(answer).write_text(json.dumps(TASKS[task](*rest)), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How much is measured: the whole, the quick part, or next to nothing for the tests."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.subjects import QUICK_VIEWPOINTS, VIEWPOINTS, Viewpoint

SECTIONS = (
    "rows",
    "sizes",
    "threads",
    "upload",
    "compile",
    "first_frame",
    "new_look",
    "fairness",
    "scalar",
    "opengl",
)
QUICK_SECTIONS = ("rows", "threads", "upload", "first_frame", "new_look", "fairness")


@dataclass(frozen=True)
class Plan:
    """What a run takes.

    Attributes
    ----------
    sections
        Unless ``--sections`` names others.
    viewpoints
        Of the rows.
    frames
        Timed, of each side of each row. Odd: a median is then one of them.
    repeats
        Timed, of the sections' smaller measurements.
    side_px
        Of the pictures.
    checked_rays
        Of each row's picture, compared with the reference.
    torso_shape, noise_side
        Voxels of these volumes.
    takes_real, takes_noise
        Whether the real series and noise are among the rows.
    sides_px
        Of the section `sizes`.
    upload_shape
        Voxels of the volume that is uploaded.
    heavy_side_px, light_frames
        Of the section `fairness`: the heavy picture's side, and how often the light one is drawn.
    processes
        How often each measurement is made that needs a process of its own.
    """

    sections: tuple[str, ...] = SECTIONS
    viewpoints: tuple[Viewpoint, ...] = VIEWPOINTS
    frames: int = 7
    repeats: int = 5
    side_px: int = 512
    checked_rays: int = 1000
    torso_shape: tuple[int, int, int] = (300, 512, 512)
    noise_side: int = 256
    takes_real: bool = True
    takes_noise: bool = True
    sides_px: tuple[int, ...] = (256, 512, 1024, 2048)
    upload_shape: tuple[int, int, int] = (400, 500, 500)
    heavy_side_px: int = 2048
    light_frames: int = 300
    processes: int = 3


FULL = Plan()
QUICK = Plan(sections=QUICK_SECTIONS, viewpoints=QUICK_VIEWPOINTS, takes_noise=False, light_frames=100, processes=1)
TINY = Plan(
    sections=("rows", "sizes", "threads", "upload", "new_look", "fairness"),
    viewpoints=QUICK_VIEWPOINTS,
    frames=1,
    repeats=1,
    side_px=24,
    checked_rays=50,
    torso_shape=(16, 24, 24),
    noise_side=16,
    takes_real=False,
    sides_px=(16, 24),
    upload_shape=(16, 20, 20),
    heavy_side_px=48,
    light_frames=3,
    processes=1,
)


def timed_ms(run: Callable[[], object]) -> float:
    """Return the wall time of a call, ms."""
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def spread(prefix: str, times_ms: Sequence[float]) -> dict[str, float]:
    """Return median, least and greatest of some times, as a row holds them."""
    return {
        f"{prefix}_ms": round(statistics.median(times_ms), 3),
        f"{prefix}_min_ms": round(min(times_ms), 3),
        f"{prefix}_max_ms": round(max(times_ms), 3),
    }

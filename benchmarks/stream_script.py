"""What the scripted hand does: at each moment, which view it wants to see; and what came of it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from render.v1.frame_pb2 import FrameHeader
from voxelcast import View
from voxelcast.geometry import VolumeGeometry

INPUT_HZ = 60.0
"""Views a second, as a browser has pointer events."""
CYCLE_S = 5.0
"""After which the hand does the same again: each third of a run of 15 s, or 30, is the same work."""
TURN_DEG_PER_S = 60.0
SCROLL_HZ = 0.41
"""No divisor of the input's: two views around a turn would be the same."""
WORKS = ("mpr", "vr")

Script: TypeAlias = Callable[[float], View]
"""Seconds from the beginning to the view."""


@dataclass(frozen=True)
class Subject:
    """A volume, as far as views need it."""

    id: str
    geometry: VolumeGeometry


def script(volume: Subject, work: str, side_px: int) -> Script:
    """Return the movement of a work: rotate, scroll (zoom, in 3D), drag, one third of each cycle each.

    Parameters
    ----------
    volume
        What is shown.
    work
        ``mpr``, a thin plane, or ``vr``, shaded volume rendering.
    side_px
        Of the picture.
    """
    size = side_px, side_px
    if work == "mpr":
        first = View.axial(volume, size_px=size)
    else:
        first = View.volume_rendering(volume, "CT-AAA", size_px=size)
    extent_mm = float(min(volume.geometry.corners_mm.max(axis=0) - volume.geometry.corners_mm.min(axis=0)))
    middle_mm = first.camera.look_at[2]

    def at(seconds: float) -> View:
        cycle, within = divmod(seconds, CYCLE_S)
        part, moment = int(3 * within / CYCLE_S), within % (CYCLE_S / 3)
        wave = math.sin(2 * math.pi * SCROLL_HZ * moment)
        turned = first.rotated(TURN_DEG_PER_S * (cycle * CYCLE_S / 3 + moment), 20.0)
        if part == 0:
            return turned
        if part == 1:
            return (
                first.with_slice(middle_mm + 0.35 * extent_mm * wave)
                if work == "mpr"
                else turned.zoomed(1 + 0.5 * wave)
            )
        return turned.panned(0.2 * extent_mm * wave, 0.1 * extent_mm * (1 - math.cos(4 * moment)))

    return at


@dataclass(frozen=True)
class Paint:
    """A picture on the screen.

    Attributes
    ----------
    at_s
        From the first input.
    lag_ms
        Since the input that it answers.
    size
        Bytes of the payload.
    detail
        ``(width_px, jpeg_quality)``, which grow with quality; ``(width_px, 101)`` if lossless.
    server_ms, client_ms
        Rendering and encoding; writing the view, reading the header and decoding. Nothing where it is not known.
    """

    at_s: float
    lag_ms: float
    size: int
    detail: tuple[int, int] = (0, 0)
    server_ms: float = 0.0
    client_ms: float = 0.0


@dataclass
class Record:
    """What the client of one run saw.

    Attributes
    ----------
    paints
        While the hand moved, and afterwards.
    moved_s
        When the last input was made.
    final_header, final_payload
        The frame that it came to rest with, and
    final_at_s
        when; None if there was none.
    final_view
        What it shows.
    steps
        Of `StreamClient.step`, one paint each.
    """

    paints: list[Paint] = field(default_factory=list)
    moved_s: float = 0.0
    final_header: FrameHeader | None = None
    final_payload: bytes = b""
    final_at_s: float | None = None
    final_view: View | None = None
    steps: list[Paint] = field(default_factory=list)

    @property
    def moving(self) -> list[Paint]:
        """Those while the hand moved."""
        return [paint for paint in self.paints if paint.at_s <= self.moved_s]

    def lags(self, begin_s: float, end_s: float) -> list[float]:
        """Return the lags of what was painted between two moments, ms."""
        return [paint.lag_ms for paint in self.paints if begin_s <= paint.at_s < end_s]


def p95(values: Sequence[float]) -> float | None:
    """Return the 95th percentile, the nearest of the values at or above it; None of nothing."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1] if values else None


def lag_figures(record: Record) -> dict[str, Any]:
    """Return a row's figures of the time in which the hand moved."""
    moving, moved_s = record.moving, record.moved_s
    lags = [paint.lag_ms for paint in moving]
    thirds = [p95(record.lags(part * moved_s / 3, (part + 1) * moved_s / 3)) for part in range(3)]
    return {
        "p50_ms": rounded(statistics.median(lags) if lags else None),
        "p95_ms": rounded(p95(lags)),
        "first_third_p95_ms": rounded(thirds[0]),
        "last_third_p95_ms": rounded(thirds[2]),
        "fps": round(len(moving) / moved_s, 2) if moved_s else 0.0,
        "kbit_per_frame": rounded(statistics.fmean(paint.size for paint in moving) / 125 if moving else None),
    }


def latency_back_ms(record: Record, begin_s: float, end_s: float, floor_ms: float) -> float | None:
    """Return after how long the p95 of all that is painted until `end_s` is within a floor; None if it never is."""
    late = [paint for paint in record.paints if begin_s <= paint.at_s < end_s]
    while late:
        worst = p95([paint.lag_ms for paint in late])
        if worst is not None and worst <= floor_ms:
            return (late[0].at_s - begin_s) * 1e3
        late.pop(0)
    return None


def quality_back_ms(record: Record, before_s: float, begin_s: float, end_s: float) -> float | None:
    """Return after how long a picture is as detailed as the median one before `before_s`; None if none is."""
    usual = sorted(paint.detail for paint in record.paints if before_s / 2 <= paint.at_s < before_s)
    if not usual:
        return None
    wanted = usual[len(usual) // 2]
    back = (p.at_s for p in record.paints if begin_s <= p.at_s < end_s and p.detail >= wanted)
    first = next(back, None)
    return None if first is None else (first - begin_s) * 1e3


def rounded(value: float | None) -> float | None:
    """Return a figure as rows have it."""
    return None if value is None else round(value, 1)

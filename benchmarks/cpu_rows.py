"""The rows: one work, one volume, one viewpoint, ours and the peer's frames in alternation; and what they sum up to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.plan import Plan, spread, timed_ms
from benchmarks.subjects import NOISE, Subject, Viewpoint, Work, view_of
from render.backends.base import ResidentVolume
from render.backends.cpu import CpuRenderer
from render.frame import Frame
from render.volume import Volume
from tests.comparison import COLOR_TOLERANCE, agreement, value_tolerance
from tests.reference import render_reference

if TYPE_CHECKING:
    from benchmarks.vtk_peer import VtkPeer

FLOORS = {
    "AVX-512": {"thin_mpr": 5, "slab_max": 10, "slab_mean": 10, "mip": 8, "vr_unshaded": 6, "vr_shaded": 5},
    "AVX2": {"thin_mpr": 3, "slab_max": 5, "slab_mean": 5, "mip": 5, "vr_unshaded": 4, "vr_shaded": 3},
}
"""What the median ratio has to reach, by what the lanes are."""
NEXT_FLOORS = {"AVX-512": {"mip": 15}, "AVX2": {"mip": 8}}
"""What it has to reach once that is reached."""


class RowBench:
    """One volume, resident on both sides.

    Parameters
    ----------
    renderer
        Ours.
    resident
        The volume in it.
    peer
        VTK with the same volume, or None to time ours alone.
    subject
        The volume, and how it looks.
    plan
        How many frames, of which size.
    """

    def __init__(
        self, renderer: CpuRenderer, resident: ResidentVolume, peer: VtkPeer | None, subject: Subject, plan: Plan
    ) -> None:
        self._renderer = renderer
        self._volumes = {subject.volume.id: resident}
        self._peer = peer
        self._subject = subject
        self._plan = plan
        self._ray_caster: tuple[Work, Any] | None = None

    def measure(self, work: Work, viewpoint: Viewpoint) -> dict[str, Any]:
        """Time one work from one viewpoint: a row of the report."""
        subject, plan = self._subject, self._plan
        views = [view_of(subject, work, viewpoint, number, plan.side_px) for number in range(plan.frames + 1)]
        frame = self._renderer.render(views[0], self._volumes)  # the warm-up
        theirs = self._drawer(work, views[0], frame.step_mm)
        ours_ms, peer_ms = [], []
        for view in views[1:]:
            start = time.perf_counter()
            frame = self._renderer.render(view, self._volumes)
            ours_ms.append((time.perf_counter() - start) * 1e3)
            if theirs is not None:
                theirs.aim(view)
                peer_ms.append(timed_ms(theirs.draw))
        row = {
            "work": work.name,
            "volume": subject.name,
            "view": viewpoint.name,
            "projection": viewpoint.projection,
            "axis_aligned": viewpoint.is_axial,
            **spread("ours", ours_ms),
        }
        if theirs is not None:
            row |= {
                "peer": theirs.peer,
                "peer_picture": theirs.picture_is,
                **spread("peer", peer_ms),
                "ratio": round(statistics.median(peer_ms) / statistics.median(ours_ms), 3),
            }
        return row | {
            "step_mm": round(frame.step_mm, 4),
            "samples_taken": frame.samples_taken,
            "samples_skipped": frame.samples_skipped,
            "agreement": round(checked(frame, subject.volume, plan.checked_rays), 5),
        }

    def _drawer(self, work: Work, view: Any, step_mm: float) -> Any:
        """Return the peer's side of a row, warmed up with the view; a ray caster serves all rows of a work."""
        if self._peer is None:
            return None
        if work.is_flat:
            # The lattice has no sample in the plane: an even number, as many as lie within the slab.
            samples = 2 * max(1, int(work.slab_mm / step_mm / 2 + 0.5)) if work.slab_mm else 1
            return self._peer.plane(view, step_mm, samples)
        if self._ray_caster is None or self._ray_caster[0] != work:
            self._ray_caster = work, self._peer.rays(view, step_mm)
        caster = self._ray_caster[1]
        caster.aim(view)
        caster.draw()
        return caster


def checked(frame: Frame, volume: Volume, rays: int) -> float:
    """Return the fraction of some of the frame's rays, chosen at random, that agree with the float64 reference."""
    viewport = frame.view.viewport
    generator = np.random.default_rng(7)
    rows, columns = (generator.integers(0, n, rays) for n in (viewport.height_px, viewport.width_px))
    reference = render_reference(frame.view, volume, pixels=np.stack([rows, columns], axis=1))
    picture: Any = frame.values if frame.color is None else frame.color
    tolerance = value_tolerance(volume) if frame.color is None else COLOR_TOLERANCE
    agrees, _ = agreement(reference, picture[rows, columns], tolerance)
    return float(agrees.mean())


def summary(rows: Sequence[dict[str, Any]], lanes: str) -> dict[str, Any]:
    """Return each work's median ratio over volumes and views, noise apart, beside its floor.

    Parameters
    ----------
    rows
        As `RowBench.measure` makes them.
    lanes
        ``AVX-512`` or ``AVX2``; anything else has no floors.
    """
    works: dict[str, Any] = {}
    for work in dict.fromkeys(row["work"] for row in rows):
        of_work = [row for row in rows if row["work"] == work]
        counted = [row["ratio"] for row in of_work if "ratio" in row and row["volume"] != NOISE]
        apart = [row["ratio"] for row in of_work if "ratio" in row and row["volume"] == NOISE]
        ratio = _median(counted)
        entry: dict[str, Any] = {
            "ratio": ratio,
            "least_ratio": min(counted, default=None),
            "rows": len(counted),
            "noise_ratio": _median(apart),
            "least_agreement": min(row["agreement"] for row in of_work),
        }
        for key, floors in (("floor", FLOORS), ("next_floor", NEXT_FLOORS)):
            floor = floors.get(lanes, {}).get(work)
            if floor is not None and ratio is not None:
                entry |= {key: floor, "met" if key == "floor" else "next_met": ratio >= floor}
        works[work] = entry
    return {"floors_of": lanes if lanes in FLOORS else None, "works": works}


def _median(values: Sequence[float]) -> float | None:
    return round(statistics.median(values), 3) if values else None

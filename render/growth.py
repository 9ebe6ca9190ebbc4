"""A load that is watched while it goes on: what has arrived, and what is wanted next."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np

from render.geometry import VolumeGeometry
from render.view import View
from render.volume import Volume

Span: TypeAlias = tuple[int, int]
"""Slices: the first, and one past the last."""

REMEMBERED_WISHES = 8
"""Of views on one volume: more than a session's panes."""

WIDE_SHARE = 0.5
"""Of the slices: who wants more wants all of them, in no order of its own."""


class Wanted:
    """Which slices views show now. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: deque[Span] = deque(maxlen=REMEMBERED_WISHES)

    def ask(self, span: Span, slices: int) -> None:
        """Note that a view shows these slices, of a volume of so many; they come before all that was wanted before."""
        if span[1] - span[0] > WIDE_SHARE * slices:
            return
        with self._lock:
            if span in self._spans:
                self._spans.remove(span)
            self._spans.append(span)

    def spans(self) -> list[Span]:
        """Return what is wanted, the latest first."""
        with self._lock:
            return list(reversed(self._spans))


@dataclass(frozen=True)
class Growth:
    """Who watches a load.

    Attributes
    ----------
    grown
        Given the volume as far as it is there, and the slices that have arrived since the last time. Called from the
        load's thread, never for a volume that is whole. All these volumes, and the whole one that the load returns,
        share one array, whose missing slices are invalid voxels until they are written.
    wanted
        Asked which slices to decode next.
    """

    grown: Callable[[Volume, Sequence[Span]], None]
    wanted: Wanted = field(default_factory=Wanted)


@runtime_checkable
class GrowingLoader(Protocol):
    """A loader that can be watched, beside being called like any other."""

    def grow(
        self, progress: Callable[[int, int], None], cancelled: Callable[[], bool], growth: Growth
    ) -> tuple[Volume, Sequence[Span]]:
        """Load; return the whole volume, and the slices that have arrived since `growth` was told the last time."""


def joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return spans in ascending order, with those that touch joined."""
    result: list[Span] = []
    for first, last in sorted(spans):
        if result and first <= result[-1][1]:
            result[-1] = result[-1][0], max(last, result[-1][1])
        else:
            result.append((first, last))
    return tuple(result)


def slices_of(view: View, geometry: VolumeGeometry) -> Span:
    """Return which slices of a volume a View shows, as far as the corners of its picture say; all if it has no slab."""
    slices, _, _ = geometry.shape
    if view.slab_mm is None:
        return 0, slices
    plane, viewport = view.plane, view.viewport
    row, column = np.array(plane.row_direction), np.array(plane.column_direction)
    across = row * plane.pixel_spacing_mm[1] * (viewport.width_px - 1)
    along = column * plane.pixel_spacing_mm[0] * (viewport.height_px - 1)
    deep = np.cross(row, column) * view.slab_mm / 2
    corners = [plane.top_left_mm + a * across + b * along + c * deep for a in (0, 1) for b in (0, 1) for c in (-1, 1)]
    to_slice = geometry.voxel_from_patient[2]
    depths = np.array(corners) @ to_slice[:3] + to_slice[3]
    # A sample reads the slices on both sides of it.
    first, last = int(np.floor(depths.min())), int(np.ceil(depths.max())) + 1
    return min(max(first, 0), slices - 1), min(max(last, 1), slices)

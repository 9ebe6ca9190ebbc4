"""A volume while it is decoded: which slices come next, and the volume as far as it is there.

Slices come from the middle outward, since that is where views begin; those that a view shows now come first of all,
and then those beside them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from render.dicom.plan import VolumePlan
from render.dicom.shared_memory import Curtain, SharedMemory
from render.growth import Growth, Span, Wanted, joined
from render.volume import Volume

Codes: TypeAlias = npt.NDArray[Any]

FIRST_AFTER_S = 0.2
"""A volume that is whole by then is not shown in part."""

INTERVAL_S = 0.5
"""Between two states of a volume that grows, and at least `INTERVAL_FACTOR` times what it took to take one up."""
INTERVAL_FACTOR = 5.0

WISH_INTERVAL_S = 0.1
"""The same where slices have come that a view shows."""


class ChunkOrder:
    """The chunks of a volume in the order in which they are to be decoded.

    Parameters
    ----------
    chunks
        Spans of slices, ascending, without gaps.
    wanted
        Asked before each.
    """

    def __init__(self, chunks: Sequence[Span], wanted: Wanted) -> None:
        self.left = list(chunks)
        self._total = chunks[-1][1]
        self._wanted = wanted

    def __iter__(self) -> Iterator[Span]:
        return self

    def __next__(self) -> Span:
        if not self.left:
            raise StopIteration
        chunk = self._choose(self._wanted.spans())
        self.left.remove(chunk)
        return chunk

    def _choose(self, spans: list[Span]) -> Span:
        for span in spans:
            touched = [chunk for chunk in self.left if chunk[0] < span[1] and span[0] < chunk[1]]
            if touched:
                return _nearest(touched, sum(span) / 2)
        return _nearest(self.left, sum(spans[0]) / 2 if spans else self._total / 2)


def _nearest(chunks: Sequence[Span], to: float) -> Span:
    return min(chunks, key=lambda chunk: abs(sum(chunk) / 2 - to))


class Growing:
    """Tells a `Growth` of the volume, now and then, as its slices arrive. Use it in one thread.

    Parameters
    ----------
    plan
        What is loaded.
    memory, codes
        Where the workers write, and a mapping of it.
    growth
        Who is told.
    clock
        Seconds.
    """

    def __init__(
        self,
        plan: VolumePlan,
        memory: SharedMemory,
        codes: Codes,
        growth: Growth,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.revision = 1
        self._plan, self._codes, self._growth, self._clock = plan, codes, growth, clock
        marker = np.float32(np.nan) if plan.values.dtype == "float32" else np.int16(marker_code(plan))
        self._curtain = Curtain(memory, codes, marker)
        self._present = np.zeros(plan.shape[0], np.bool_)
        self._news: list[Span] = []
        self._unmet: list[Span] = []
        now = clock()
        self._due_at = self._wish_at = now + FIRST_AFTER_S

    def __enter__(self) -> Growing:
        return self

    def __exit__(self, *_: object) -> None:
        self._curtain.close()

    @property
    def news(self) -> tuple[Span, ...]:
        """What has arrived since the last state."""
        return joined(self._news)

    def ordered(self, chunks: Sequence[Span]) -> Iterator[Span]:
        """Yield chunks in the order in which they are to be decoded."""
        order = ChunkOrder(chunks, self._growth.wanted)
        for chunk in chunks:
            self._curtain.cover(*chunk)
        for chunk in order:
            self._note_wishes()
            yield chunk

    def add(self, chunk: Span) -> None:
        """Take note that slices have been written; tell of the volume if it is time."""
        self._note_wishes()
        self._curtain.uncover(*chunk)
        self._present[chunk[0] : chunk[1]] = True
        self._news.append(chunk)
        missing = len(self._present) - int(self._present.sum())
        now = self._clock()
        if not missing or not (now >= self._due_at or (now >= self._wish_at and any(map(self._has, self._unmet)))):
            return
        if self.revision == 1 and not any(map(self._has, self._wishes())):
            return  # the first picture should show something
        plan = self._plan
        self._growth.grown(
            Volume(
                id=plan.id,
                geometry=plan.geometry,
                codes=self._codes,
                slope=plan.values.slope,
                intercept=plan.values.intercept,
                invalid_code=None if plan.values.dtype == "float32" else marker_code(plan),
                info=plan.info,
                revision=self.revision,
                missing_slices=missing,
            ),
            self.news,
        )
        self.revision += 1
        self._news.clear()
        self._unmet.clear()
        ended = self._clock()
        self._wish_at = ended + WISH_INTERVAL_S
        self._due_at = ended + max(INTERVAL_S, INTERVAL_FACTOR * (ended - now))

    def _has(self, span: Span) -> bool:
        return bool(self._present[span[0] : span[1]].all())

    def _wishes(self) -> list[Span]:
        """Return the slices that views show, or the two in the middle where none says."""
        slices = len(self._present)
        return self._growth.wanted.spans() or [((slices - 1) // 2, slices // 2 + 1)]

    def _note_wishes(self) -> None:
        # Before slices are noted as present: a wish that they fulfil is to be seen as one.
        self._unmet += [wish for wish in self._wishes() if wish not in self._unmet and not self._has(wish)]


def marker_code(plan: VolumePlan) -> int:
    """Return the int16 code that marks missing slices: that of padding, or one at the end of the range.

    Pixels of 16 bits may have the latter themselves: until the volume is whole these count as missing.
    """
    if plan.values.invalid_code is not None:
        return plan.values.invalid_code
    return 32767 if plan.values.offset else -32768

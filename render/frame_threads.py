"""Frames in threads: shared out among sessions, and drawn once more where the first try was not the frame's fault."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from render.backends.base import Renderer, ResidentVolume
from render.blocking import Calls, Errand
from render.errors import DeviceLostError, DeviceMemoryError, RenderCancelledError
from render.frame import Frame
from render.lease import Lease
from render.residency import VolumeCache
from render.turns import Bands, Turn, Turns

Cancelled: TypeAlias = Callable[[], bool]
Draw: TypeAlias = Callable[[Renderer, dict[str, ResidentVolume], Cancelled], Frame]
"""``draw(renderer, volumes, cancelled)``: blocks."""

THREADS = 16
"""Frames at a time. The renderer deals cores out tile by tile, and a card band by band: these threads wait, and hold a
picture each."""
FINAL_THREADS = 12
"""Of them, those that may draw final frames, which take long: the others are for what somebody is turning just now."""


class _Work:
    """One frame to be drawn, as a thread of the pool does it.

    Parameters
    ----------
    draw
        Draws it.
    renderer, residents
        Where, and its volumes there.
    bands
        Of a card, which are waited for one by one.
    cancelled
        Whether nobody wants it any more.
    asked_at
        When it was asked for, seconds of `time.perf_counter`.

    Attributes
    ----------
    give_up
        Set where nobody waits for it any more.
    """

    def __init__(
        self,
        draw: Draw,
        renderer: Renderer,
        residents: dict[str, ResidentVolume],
        bands: Bands | None,
        cancelled: Cancelled | None,
        asked_at: float,
    ) -> None:
        self.give_up = threading.Event()
        self._draw = draw
        self._renderer = renderer
        self._residents = residents
        self._bands = bands
        self._cancelled = cancelled
        self._asked_at = asked_at

    def __call__(self) -> Frame:
        """Draw it, in the thread that this is called in."""
        queue_ms = (time.perf_counter() - self._asked_at) * 1e3
        if self._is_cancelled():
            raise RenderCancelledError("the frame was given up before it began")
        bands = self._bands
        try:
            frame = self._draw(
                self._renderer, self._residents, self._is_cancelled if bands is None else self._before_band
            )
        finally:
            if bands is not None:
                bands.end()
        return dataclasses.replace(frame, timings_ms={**frame.timings_ms, "queue": queue_ms})

    def _is_cancelled(self) -> bool:
        return self.give_up.is_set() or (self._cancelled is not None and self._cancelled())

    def _before_band(self) -> bool:
        """Wait for the band's turn; a renderer on a card asks before each, in the thread that draws."""
        assert self._bands is not None
        if not self._is_cancelled():
            self._bands.begin()
        return self._is_cancelled()


class _Next(threading.local):
    """What a thread does next, if it wants to be told of it."""

    is_wanted = False
    errand: tuple[Errand[Frame], Turn] | None = None


class FrameThreads:
    """Draws on behalf of one engine. Use it on the cache's event loop.

    Parameters
    ----------
    renderer
        Draws Views of no volume that is leased, which is an error of its own.
    cache
        Told when a card is lost, or full.
    """

    def __init__(self, renderer: Renderer, cache: VolumeCache) -> None:
        self._renderer = renderer
        self._cache = cache
        self._pool = ThreadPoolExecutor(THREADS, "voxelcast-frame")
        # No session has more than half of them, so that there is always one for another.
        self._turns = Turns(THREADS, THREADS // 2, long_at_once=FINAL_THREADS, long_each=FINAL_THREADS // 2)
        self._next = _Next()
        self._calls: Calls | None = None

    async def draw(
        self, draw: Draw, pins: Sequence[Lease], *, key: str, is_final: bool, cancelled: Cancelled | None
    ) -> Frame:
        """Draw a frame when it is its session's turn.

        Where its card is lost it is drawn again where the volumes are then; where the card has no memory left for it,
        all that is not pinned is evicted and it is drawn once more.

        Parameters
        ----------
        draw
            Draws it.
        pins
            Its volumes; they stay pinned by the caller.
        key
            Of the session.
        is_final
            Whether it takes long and can wait.
        cancelled
            Asked between tiles or bands, and before it begins.

        Raises
        ------
        RenderCancelledError
            If `cancelled` said True.
        DeviceMemoryError
            If there is no memory for it even so; the other frames go on.
        """
        asked_at = time.perf_counter()
        is_relieved = False
        while True:
            for pin in pins:
                await pin.settled()
            place = pins[0].place if pins else None
            renderer = self._renderer if place is None else place.renderer
            residents = {pin.volume_id: pin.resident for pin in pins}
            bands = Bands(place.turns, key) if place is not None and place.is_card else None
            work = _Work(draw, renderer, residents, bands, cancelled, asked_at)
            try:
                return await self._in_thread(work, key, is_final)
            except DeviceLostError as error:
                self._cache.lose(renderer, error.message)
            except DeviceMemoryError:
                if is_relieved or not self._cache.relieve(renderer):
                    raise
                is_relieved = True
            del residents, work

    async def close(self) -> None:
        """Wait for the frames in flight to end."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _in_thread(self, work: _Work, key: str, is_final: bool) -> Frame:
        """Return the frame that a thread draws once it is the session's turn."""
        if self._calls is None:
            self._calls = Calls(asyncio.get_running_loop())
        errand = Errand(work, work.give_up, self._calls.soon)
        turn = Turn(key, lambda: self._begin(errand, turn), is_final)
        self._turns.join(turn)
        try:
            return await errand.outcome()
        finally:
            if errand.never_begins:
                self._turns.end(turn)

    def _begin(self, errand: Errand[Frame], turn: Turn) -> None:
        """Have a thread do what has its turn: the one whose turn has just ended, which saves waking another."""
        if self._next.is_wanted:
            self._next.is_wanted = False
            self._next.errand = errand, turn
            return
        try:
            self._pool.submit(self._work_on, errand, turn)
        except RuntimeError as error:  # closed
            if errand.refuse(error):
                self._turns.end(turn)
                errand.tell()

    def _work_on(self, errand: Errand[Frame], turn: Turn) -> None:
        """Do one errand after the other, while there are any whose turn it is."""
        next_one: tuple[Errand[Frame], Turn] | None = errand, turn
        while next_one is not None:
            errand, turn = next_one
            next_one = None
            if errand.do():
                self._next.is_wanted = True
                self._turns.end(turn)
                self._next.is_wanted = False
                errand.tell()
                next_one, self._next.errand = self._next.errand, None

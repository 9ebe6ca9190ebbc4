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
from render.blocking import run_blocking
from render.errors import DeviceLostError, DeviceMemoryError, RenderCancelledError
from render.frame import Frame
from render.lease import Lease
from render.residency import VolumeCache
from render.turns import Bands, Turns

Cancelled: TypeAlias = Callable[[], bool]
Draw: TypeAlias = Callable[[Renderer, dict[str, ResidentVolume], Cancelled], Frame]
"""``draw(renderer, volumes, cancelled)``: blocks."""

THREADS = 16
"""Frames at a time. The renderer deals cores out tile by tile, and a card band by band: these threads wait, and hold a
picture each."""
FINAL_THREADS = 12
"""Of them, those that may draw final frames, which take long: the others are for what somebody is turning just now."""


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
        self._turns = Turns(THREADS, THREADS // 2)
        self._final_turns = Turns(FINAL_THREADS, FINAL_THREADS // 2)

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
        if is_final:
            async with self._final_turns.taken(key), self._turns.taken(key):
                return await self._draw(draw, pins, key, cancelled, asked_at)
        async with self._turns.taken(key):
            return await self._draw(draw, pins, key, cancelled, asked_at)

    async def close(self) -> None:
        """Wait for the frames in flight to end."""
        await asyncio.to_thread(self._pool.shutdown)

    async def _draw(
        self, draw: Draw, pins: Sequence[Lease], key: str, cancelled: Cancelled | None, asked_at: float
    ) -> Frame:
        is_relieved = False
        while True:
            for pin in pins:
                await pin.settled()
            place = pins[0].place if pins else None
            renderer = self._renderer if place is None else place.renderer
            residents = {pin.volume_id: pin.resident for pin in pins}
            bands = Bands(place.turns, key) if place is not None and place.is_card else None
            try:
                return await self._in_thread(draw, renderer, residents, bands, cancelled, asked_at)
            except DeviceLostError as error:
                self._cache.lose(renderer, error.message)
            except DeviceMemoryError:
                if is_relieved or not self._cache.relieve(renderer):
                    raise
                is_relieved = True
            del residents

    async def _in_thread(
        self,
        draw: Draw,
        renderer: Renderer,
        residents: dict[str, ResidentVolume],
        bands: Bands | None,
        cancelled: Cancelled | None,
        asked_at: float,
    ) -> Frame:
        give_up = threading.Event()

        def is_cancelled() -> bool:
            return give_up.is_set() or (cancelled is not None and cancelled())

        def before_band() -> bool:
            """Wait for the band's turn; a renderer on a card asks before each, in the thread that draws."""
            assert bands is not None
            if not is_cancelled():
                bands.begin()
            return is_cancelled()

        def work() -> Frame:
            queue_ms = (time.perf_counter() - asked_at) * 1e3
            if is_cancelled():
                raise RenderCancelledError("the frame was given up before it began")
            try:
                frame = draw(renderer, residents, is_cancelled if bands is None else before_band)
            finally:
                if bands is not None:
                    bands.end()
            return dataclasses.replace(frame, timings_ms={**frame.timings_ms, "queue": queue_ms})

        return await run_blocking(self._pool, work, give_up)

"""Loads on their way: from a source, or from what the host has kept, to a renderer.

`render.residency` decides what is loaded and where, and lands what has been loaded; here it flies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypeAlias

from render.backends.base import GrowingRenderer, Renderer, ResidentVolume
from render.blocking import run_blocking
from render.errors import DeviceLostError, DeviceMemoryError
from render.failover import Failover
from render.growth import GrowingLoader, Growth, Span
from render.lease import Entry, Flight, Size
from render.room import Room
from render.states import States
from render.volume import Volume

Loader: TypeAlias = Callable[[Callable[[int, int], None], Callable[[], bool]], Volume]
"""``load(progress, cancelled)``: blocks, reports (done, total), gives up once `cancelled` says True."""


class Loads:
    """Loads and uploads, in threads of a pool.

    Parameters
    ----------
    pool
        Where they block.
    room
        Told how much a volume really takes.
    failover
        Told of a renderer that is lost on the way, and asked where to go.
    clock
        Seconds; when an entry was used last.
    """

    def __init__(self, pool: ThreadPoolExecutor, room: Room, failover: Failover, clock: Callable[[], float]) -> None:
        self._pool = pool
        self._room = room
        self._failover = failover
        self._clock = clock

    async def fly(self, entry: Entry, flight: Flight, load: Loader, kept: Volume | None) -> None:
        """Load and upload; never raises but when cancelled: the waiters find the error in the flight."""
        loop = asyncio.get_running_loop()
        uploaded: list[ResidentVolume] = []

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(self._report, entry, flight, "decoding", done, total)

        try:
            volume = kept
            states: States | None = None
            rest: Sequence[Span] = ()
            if volume is None and isinstance(load, GrowingLoader) and isinstance(entry.place.renderer, GrowingRenderer):
                states = self._states(entry, flight, entry.place.renderer)
                grow = partial(load.grow, progress, flight.give_up.is_set, Growth(states.add, flight.wanted))
                volume, rest = await run_blocking(self._pool, grow, flight.give_up)
            elif volume is None:
                volume = await run_blocking(self._pool, lambda: load(progress, flight.give_up.is_set), flight.give_up)
            # The source's headers may have said less than what came.
            size = Size(volume.nbytes, volume.codes.dtype.itemsize)
            await self._room.resize(entry, size, entry.place.estimate_bytes(size))
            self._report(entry, flight, "uploading", 0, 1)
            await self._upload(entry, volume, flight, uploaded, states, rest)
            await self._room.resize(entry, size, uploaded[0].nbytes)
            self._report(entry, flight, "uploading", 1, 1)
        except BaseException as error:
            for resident in uploaded:
                entry.place.renderer.release(resident)
            if not isinstance(error, Exception):
                raise  # cancelled: _land cleans up
            flight.error = error
        else:
            entry.resident, entry.is_adrift = uploaded[0], False
            entry.used_at = self._clock()

    async def _upload(
        self,
        entry: Entry,
        volume: Volume,
        flight: Flight,
        uploaded: list[ResidentVolume],
        states: States | None,
        rest: Sequence[Span],
    ) -> None:
        """Upload to the entry's place; once more with that cleared out, and to others as they are lost.

        Where states of it are resident there, only the `rest` is.
        """

        def upload(renderer: Renderer) -> None:
            uploaded.append(states.whole(renderer, volume, rest) if states else renderer.upload(volume))

        is_cleared = False
        while True:
            renderer = entry.place.renderer
            try:
                await run_blocking(self._pool, partial(upload, renderer), flight.give_up)
                return
            except DeviceMemoryError:
                if is_cleared or not self._room.clear_out(entry.place):
                    raise
                is_cleared = True
            except DeviceLostError as error:
                self._failover.lose(renderer, error.message)
                await self._failover.redirect(entry)

    def _states(self, entry: Entry, flight: Flight, renderer: GrowingRenderer) -> States:
        """Return what makes each state of a volume that grows resident, in the thread of its load."""
        loop = asyncio.get_running_loop()

        def show(resident: ResidentVolume) -> None:
            if entry.flight is not flight or flight.give_up.is_set():
                return
            entry.resident = resident
            if not flight.shown.done():
                flight.shown.set_result(None)
            for watcher in entry.watchers:
                watcher.grown()

        lose = partial(self._failover.lose, entry.place.renderer)
        return States(
            renderer,
            lambda resident: loop.call_soon_threadsafe(show, resident),
            lambda why: loop.call_soon_threadsafe(lose, why),
        )

    def _report(self, entry: Entry, flight: Flight, stage: str, done: int, total: int) -> None:
        flight.report(stage, done, total)
        for watcher in entry.watchers:
            watcher.progressed(stage, done, total)

"""What happens to volumes whose card does nothing any more: they move, and those who hold them need not know."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial

from render.backends.base import Renderer, ResidentVolume
from render.blocking import run_blocking
from render.errors import BudgetExceededError, DeviceError, DeviceLostError, DeviceMemoryError
from render.lease import Entry, Reservation, Size
from render.place import Place, Seat
from render.room import Landings, Room

logger = logging.getLogger(__name__)


class Failover:
    """Moves volumes away from lost places; on the cache's event loop, but for the uploads.

    Parameters
    ----------
    room
        Of all places.
    pool
        Where uploads run.
    fallback
        Makes the spare place's renderer; None where there is none.
    settled
        Told of each entry that has moved, or could not.
    """

    def __init__(
        self,
        room: Room,
        pool: Executor,
        fallback: Callable[[], Seat] | None,
        settled: Callable[[Entry], None],
    ) -> None:
        self._room = room
        self._pool = pool
        self._fallback = fallback
        self._settled = settled
        self._moves: set[asyncio.Task[None]] = set()

    def lose(self, renderer: Renderer, why: str) -> None:
        """Take a renderer's place out. Pinned volumes begin to move; the others leave for the host's memory.

        Loads on their way there go elsewhere when they find out.
        """
        place = self._room.place_of(renderer)
        if place is None or place.lost is not None:
            return
        place.lost = why
        logger.error("%s is taken out, its volumes go elsewhere: %s", place.name, why)
        for entry in place.entries():
            if entry.flight is not None or entry.move is not None:
                continue
            if entry.is_pinned:
                self._start(entry)
            else:
                self._room.evict(entry)
        if not self._room.working():
            self._spare()

    async def settle(self, entry: Entry) -> None:
        """Wait until an entry's volume is at a place that works. The move goes on if this is cancelled.

        Raises
        ------
        DeviceLostError
            If there is no such place.
        BudgetExceededError
            If none has room beside what is pinned.
        """
        while entry.move is not None or entry.place.lost is not None or entry.is_adrift:
            if (flight := entry.flight) is not None:  # it finds out by itself, and what is there in part comes whole
                await asyncio.wait([flight.landed])
                if flight.error is not None:
                    raise DeviceLostError(entry.place.lost or "the card is lost", device=entry.place.name)
            else:
                await asyncio.shield(entry.move or self._start(entry))

    async def redirect(self, entry: Entry) -> None:
        """Give an entry that is on its way to a lost place another one, with room for it."""
        place = await self._elsewhere(entry.volume_id, entry.size)
        entry.place, entry.bytes = place, place.estimate_bytes(entry.size)
        entry.is_adrift = entry.resident is not None

    async def close(self) -> None:
        """Wait for the moves to end."""
        if self._moves:
            await asyncio.wait(self._moves)

    def close_fallback(self) -> None:
        """Close the renderer that was made here, if any."""
        close = getattr(self._room.spare and self._room.spare.renderer, "close", None)
        if close is not None:
            close()

    def _start(self, entry: Entry) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(self._move(entry))
        entry.move = task
        self._moves.add(task)

        def ended(task: asyncio.Task[None]) -> None:
            entry.move = None
            self._moves.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:  # retrieved: nobody may be waiting
                logger.warning("volume %s stays where it can't be drawn: %s", entry.volume_id, type(error).__name__)
            self._settled(entry)

        task.add_done_callback(ended)
        return task

    async def _move(self, entry: Entry) -> None:
        resident, lost = entry.resident, entry.place
        assert resident is not None
        volume = resident.volume
        size = Size(volume.nbytes, volume.codes.dtype.itemsize)
        uploaded: list[ResidentVolume] = []
        is_cleared = False

        def upload(renderer: Renderer) -> None:
            uploaded.append(renderer.upload(volume))

        while not uploaded:
            place = await self._elsewhere(entry.volume_id, size)
            renderer = place.renderer
            with Reservation(place.reservations, place.estimate_bytes(size), 0):
                try:
                    await self._in_thread(partial(upload, renderer))
                except DeviceLostError as error:
                    self.lose(renderer, error.message)
                except DeviceMemoryError:
                    if is_cleared or not self._room.clear_out(place):
                        raise
                    is_cleared = True
        entry.place, entry.bytes, entry.resident = place, uploaded[0].nbytes, uploaded[0]
        logger.info("volume %s has moved from %s to %s", entry.volume_id, lost.name, place.name)
        # In a thread, for it waits until the frames that are being drawn of it have failed.
        with contextlib.suppress(DeviceError):
            await self._in_thread(lambda: lost.renderer.release(resident))

    async def _elsewhere(self, volume_id: str, size: Size) -> Place:
        while True:
            place, landings = self._choose(f"volume {volume_id}", size)
            if not landings:
                return place
            await asyncio.wait(landings, return_when=asyncio.FIRST_COMPLETED)

    def _choose(self, what: str, size: Size) -> tuple[Place, Landings]:
        try:
            return self._room.make(what, size, host_bytes=0)
        except (BudgetExceededError, DeviceLostError):
            spare = self._spare()
            if spare is None or spare in self._room.working():
                raise
        return self._room.make(what, size, host_bytes=0, among=[spare])

    def _spare(self) -> Place | None:
        if self._room.spare is None and self._fallback is not None:
            return self._room.add_spare(self._fallback())
        return self._room.spare

    async def _in_thread(self, work: Callable[[], None]) -> None:
        await run_blocking(self._pool, work, threading.Event())

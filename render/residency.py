"""What is resident: a byte budget, leases that pin, loads shared by all who wait, eviction of the least recently used.

Everything here lives on one event loop; loads and uploads run in threads. Bytes are reserved before a load begins,
so loads at the same time can't exceed the budget together, and nothing is evicted before it is known that the
newcomer fits beside what is pinned.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from render.backends.base import Renderer, ResidentVolume
from render.blocking import run_blocking
from render.descriptions import CacheStatus, EntryStatus, Residency
from render.errors import BudgetExceededError, DrainingError, RenderCancelledError
from render.lease import Entry, Flight, Lease, Progress, Reservation
from render.memory import format_bytes
from render.volume import Volume

Loader: TypeAlias = Callable[[Callable[[int, int], None], Callable[[], bool]], Volume]
"""``load(progress, cancelled)``: blocks, reports (done, total), gives up once `cancelled` says True."""

LOAD_THREADS = 4
"""Loads at a time; more would compete for the same disk and cores and all be late."""


class VolumeCache:
    """The resident volumes of one renderer, within a byte budget.

    Parameters
    ----------
    renderer
        Where the volumes go.
    budget_bytes
        For everything that a volume takes on the device.
    clock
        Seconds; for the idle times.

    Attributes
    ----------
    on_evicted
        Called with the id of each volume that has left, unless the cache itself closes.
    """

    def __init__(self, renderer: Renderer, budget_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.renderer = renderer
        self.budget_bytes = budget_bytes
        self.on_evicted: Callable[[str], None] | None = None
        self._clock = clock
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # least recently used first
        self._reservations: set[Reservation] = set()
        self._pool = ThreadPoolExecutor(LOAD_THREADS, "voxelcast-load")
        self._is_closed = False

    async def lease(
        self, volume_id: str, load: Loader, needed_bytes: int, *, holder: str, progress: Progress | None = None
    ) -> Lease:
        """Pin a volume, loading it first where it is not resident.

        Leases of one volume at the same time share one load, which is given up only when all of them have been
        cancelled. A load that fails leaves no trace: the next lease tries again.

        Parameters
        ----------
        volume_id
            Which.
        load
            Reads it; in a thread.
        needed_bytes
            What it will take on the device, `Renderer.estimate_bytes`.
        holder
            For the status.
        progress
            Told how far the load is, from where it stands on; stages ``decoding`` and ``uploading``.

        Raises
        ------
        BudgetExceededError
            If it can't fit beside what is pinned; nothing has been evicted then.
        DrainingError
            If the cache has been closed.
        Exception
            Whatever `load` raised.
        """
        while True:
            self._check_open()
            entry = self._entries.get(volume_id)
            if entry is None:
                leaving = self._make_room(f"volume {volume_id}", needed_bytes)
                if leaving:
                    await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
                    continue
                entry = self._start(volume_id, load, needed_bytes)
            elif entry.is_abandoned:
                assert entry.flight is not None
                await asyncio.wait([entry.flight.landed])
                continue
            if entry.flight is None:
                return self.pin(entry, holder)
            return await self._join(entry, entry.flight, holder, progress)

    def lease_resident(self, volume_id: str, *, holder: str) -> Lease | None:
        """Pin a volume that is resident already; None where it is not."""
        entry = self._entries.get(volume_id)
        return None if entry is None or entry.flight is not None else self.pin(entry, holder)

    async def reserve(self, what: str, count: int) -> Reservation:
        """Keep `count` bytes of the budget for `what`, which is on its way.

        Raises
        ------
        BudgetExceededError
            If they do not fit beside what is pinned.
        DrainingError
            If the cache has been closed.
        """
        while leaving := self._make_room(what, count):
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
        self._check_open()
        return Reservation(self._reservations, count)

    def state(self, volume_id: str) -> Residency:
        """Return where a volume is."""
        entry = self._entries.get(volume_id)
        if entry is None:
            return Residency.SOURCE
        return Residency.RESIDENT if entry.flight is None else Residency.LOADING

    def status(self) -> CacheStatus:
        """Return what is resident, and who pins it; least recently used first."""
        now = self._clock()
        entries = tuple(
            EntryStatus(
                entry.volume_id,
                entry.bytes,
                self.state(entry.volume_id),
                (*(lease.holder for lease in entry.leases), *entry.waiters),
                0.0 if entry.is_pinned else now - entry.used_at,
            )
            for entry in self._entries.values()
        )
        return CacheStatus(self.renderer.device, self.budget_bytes, self._taken_bytes, self._pinned_bytes(), entries)

    async def discard(self, volume_id: str) -> None:
        """Evict a volume: at once, or when its last lease ends. A load goes on for those who wait for it."""
        entry = self._entries.get(volume_id)
        if entry is not None:
            entry.discarded = True
            self._evict_if_discarded(entry)

    async def close(self) -> None:
        """Give up the loads and free everything, leased volumes too: nothing may be rendering any more."""
        self._is_closed = True
        landing = [entry.flight.landed for entry in self._entries.values() if entry.flight]
        for entry in self._entries.values():
            self._abandon(entry)
        if landing:
            await asyncio.wait(landing)
        for entry in tuple(self._entries.values()):
            if entry.resident is not None:
                self.renderer.release(entry.resident)
            entry.resident = None
        self._entries.clear()
        self._pool.shutdown()

    @property
    def _taken_bytes(self) -> int:
        return sum(entry.bytes for entry in self._entries.values()) + sum(r.bytes for r in self._reservations)

    def _pinned_bytes(self) -> int:
        return sum(e.bytes for e in self._entries.values() if e.is_pinned) + sum(r.bytes for r in self._reservations)

    def _check_open(self) -> None:
        if self._is_closed:
            raise DrainingError("the server is shutting down")

    def _make_room(self, what: str, needed_bytes: int) -> set[asyncio.Future[None]]:
        """Evict until `needed_bytes` are free. What is returned must end first: loads that nobody waits for."""
        leaving = {e.flight.landed for e in self._entries.values() if e.is_abandoned and e.flight}
        leaving_bytes = sum(e.bytes for e in self._entries.values() if e.is_abandoned)
        pinned_bytes = self._pinned_bytes() - leaving_bytes
        excess_bytes = needed_bytes + pinned_bytes - self.budget_bytes
        if excess_bytes > 0:
            raise BudgetExceededError(
                f"{what} needs {format_bytes(needed_bytes)}: {format_bytes(excess_bytes)} too many beside "
                f"{format_bytes(pinned_bytes)} in use, of a budget of {format_bytes(self.budget_bytes)}",
                needed_bytes=needed_bytes,
                budget_bytes=self.budget_bytes,
                pinned_bytes=pinned_bytes,
                excess_bytes=excess_bytes,
            )
        if excess_bytes + leaving_bytes > 0:
            return leaving
        for entry in tuple(self._entries.values()):
            if self._taken_bytes + needed_bytes <= self.budget_bytes:
                break
            if not entry.is_pinned:
                self._evict(entry)
        return set()

    async def _resize(self, entry: Entry, count: int) -> None:
        if count > entry.bytes:
            while leaving := self._make_room(f"volume {entry.volume_id}", count - entry.bytes):
                await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
        entry.bytes = count

    def _start(self, volume_id: str, load: Loader, needed_bytes: int) -> Entry:
        loop = asyncio.get_running_loop()
        flight = Flight(loop.create_future())
        entry = Entry(volume_id, needed_bytes, self._clock(), flight=flight)
        self._entries[volume_id] = entry
        flight.task = loop.create_task(self._fly(entry, flight, load))
        flight.task.add_done_callback(lambda _: self._land(entry, flight))
        return entry

    async def _fly(self, entry: Entry, flight: Flight, load: Loader) -> None:
        """Load and upload; never raises but when cancelled: the waiters find the error in the flight."""
        loop = asyncio.get_running_loop()
        renderer = self.renderer
        uploaded: list[ResidentVolume] = []

        def progress(done: int, total: int) -> None:
            loop.call_soon_threadsafe(flight.report, "decoding", done, total)

        try:
            volume = await run_blocking(self._pool, lambda: load(progress, flight.give_up.is_set), flight.give_up)
            # The source's headers may have said less than what came.
            estimate = renderer.estimate_bytes(volume.nbytes, volume.codes.dtype.itemsize)
            await self._resize(entry, estimate)
            flight.report("uploading", 0, 1)
            await run_blocking(self._pool, lambda: uploaded.append(renderer.upload(volume)), flight.give_up)
            await self._resize(entry, uploaded[0].nbytes)
            flight.report("uploading", 1, 1)
        except BaseException as error:
            for resident in uploaded:
                renderer.release(resident)
            if not isinstance(error, Exception):
                raise  # cancelled: _land cleans up
            flight.error = error
        else:
            entry.resident = uploaded[0]
            entry.used_at = self._clock()

    def _land(self, entry: Entry, flight: Flight) -> None:
        # A callback, since a task that is cancelled before its first step runs none of its own code.
        entry.flight = None
        if entry.resident is None:
            del self._entries[entry.volume_id]
            if flight.error is None:
                flight.error = RenderCancelledError(f"the load of volume {entry.volume_id} was given up")
        flight.landed.set_result(None)

    async def _join(self, entry: Entry, flight: Flight, holder: str, progress: Progress | None) -> Lease:
        entry.waiters.append(holder)
        if progress is not None:
            flight.listeners.append(progress)
            if flight.last is not None:
                progress(*flight.last)
        try:
            await asyncio.wait([flight.landed])
            if flight.error is not None:
                raise flight.error
            return self.pin(entry, holder)
        finally:
            entry.waiters.remove(holder)
            if progress is not None:
                flight.listeners.remove(progress)
            if not entry.waiters:
                self._abandon(entry)
                self._evict_if_discarded(entry)

    def _abandon(self, entry: Entry) -> None:
        if entry.flight is not None and entry.flight.task is not None:
            entry.flight.give_up.set()
            entry.flight.task.cancel()

    def pin(self, entry: Entry, holder: str) -> Lease:
        """Make a lease of the entry's volume; for `Lease` itself, others call `lease`."""
        lease = Lease(self, entry, holder)
        entry.leases.append(lease)
        self._touch(entry)
        return lease

    def unpin(self, entry: Entry, lease: Lease) -> None:
        """Take note that a lease is released; for `Lease` itself."""
        entry.leases.remove(lease)
        if self._entries.get(entry.volume_id) is entry:
            self._touch(entry)
            self._evict_if_discarded(entry)

    def _touch(self, entry: Entry) -> None:
        entry.used_at = self._clock()
        self._entries.move_to_end(entry.volume_id)

    def _evict_if_discarded(self, entry: Entry) -> None:
        if entry.discarded and not entry.is_pinned and entry.resident is not None:
            self._evict(entry)

    def _evict(self, entry: Entry) -> None:
        assert entry.resident is not None
        assert not entry.is_pinned
        del self._entries[entry.volume_id]
        self.renderer.release(entry.resident)
        entry.resident = None
        if self.on_evicted is not None:
            self.on_evicted(entry.volume_id)

"""What is resident, where: byte budgets, leases that pin, loads shared by all who wait, eviction of the least used.

Everything here lives on one event loop; loads and uploads run in threads. Bytes are reserved before a load begins,
so loads at the same time can't exceed a budget together, and nothing is evicted before it is known that the
newcomer fits beside what is pinned.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from render.backends.base import Renderer
from render.descriptions import CacheStatus, EntryStatus, Residency
from render.errors import DrainingError, RenderCancelledError
from render.failover import Failover
from render.lease import Entry, Flight, Lease, Progress, Reservation, Size
from render.loads import Loader, Loads
from render.place import Place, Seat
from render.room import Room
from render.volume import Volume

LOAD_THREADS = 4
"""Loads at a time; more would compete for the same disk and cores and all be late."""


class VolumeCache:
    """The resident volumes of one or more renderers, each within a byte budget.

    A volume goes to the renderer with the most room and stays there. What is evicted from a card stays decoded in the
    host's memory while there is room, and comes back from there without being read again. Where a card is lost, its
    volumes move to another renderer.

    Parameters
    ----------
    renderer, budget_bytes
        Where the volumes go, and for everything that they take there.
    clock
        Seconds; for the idle times.
    others
        More renderers.
    host_budget_bytes
        For the voxels of the volumes on cards and of those that have left them; None keeps no volume that has left.
        With the CPU renderer, whose memory is the host's, there is nothing to keep a second time.
    fallback
        Makes the renderer that takes over what no card has room for when one is lost, and all when there is none left;
        None where there is no such renderer. The cache closes it.

    Attributes
    ----------
    on_evicted
        Called with the id of each volume that has left, the host's memory too, unless the cache itself closes.
    """

    def __init__(
        self,
        renderer: Renderer,
        budget_bytes: int,
        clock: Callable[[], float] = time.monotonic,
        *,
        others: Sequence[Seat] = (),
        host_budget_bytes: int | None = None,
        fallback: Callable[[], Seat] | None = None,
    ) -> None:
        self.on_evicted: Callable[[str], None] | None = None
        self._clock = clock
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # least recently used first
        seats = (Seat(renderer, budget_bytes), *others)
        self._room = Room(seats, self._entries, host_budget_bytes, on_left=self._left)
        self._pool = ThreadPoolExecutor(LOAD_THREADS, "voxelcast-load")
        self._failover = Failover(self._room, self._pool, fallback, settled=self._evict_if_discarded)
        self._loads = Loads(self._pool, self._room, self._failover, clock)
        self._is_closed = False

    @property
    def budget_bytes(self) -> int:
        """Of all renderers that work."""
        return sum(place.budget_bytes for place in self._room.working())

    @property
    def places(self) -> tuple[Place, ...]:
        """All renderers with their memory, lost ones too."""
        return tuple(self._room.places)

    def estimate_bytes(self, size: Size) -> int:
        """Return what a volume takes when resident, on the first renderer that works."""
        place = next(iter(self._room.working()), self._room.places[0])
        return place.estimate_bytes(size)

    async def lease(
        self,
        volume_id: str,
        load: Loader,
        size: Size,
        *,
        holder: str,
        progress: Progress | None = None,
        in_part: bool = False,
    ) -> Lease:
        """Pin a volume, loading it first where it is not resident.

        Leases of one volume at the same time share one load, which is given up only when all of them have been
        cancelled. A load that fails leaves no trace: the next lease tries again.

        Parameters
        ----------
        volume_id
            Which.
        load
            Reads it; in a thread. It is not asked where the host's memory still has the volume.
        size
            As far as it is known.
        holder
            For the status.
        progress
            Told how far the load is, from where it stands on; stages ``decoding`` and ``uploading``.
        in_part
            Return as soon as something of it can be drawn. Its slices go on arriving: see `Lease.watch`.

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
                kept = self._room.host.take(volume_id)  # or it might have to leave for its own sake
                try:
                    place, leaving = self._room.make(f"volume {volume_id}", size)
                    if not leaving:
                        entry = self._start(volume_id, load, place, size, kept)
                        kept = None
                finally:
                    if kept is not None:
                        self._room.host.put(kept)
                if entry is None:
                    await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
                    continue
            elif entry.is_abandoned:
                assert entry.flight is not None
                await asyncio.wait([entry.flight.landed])
                continue
            if entry.flight is None:
                return self.pin(entry, holder)
            return await self._join(entry, entry.flight, holder, progress, in_part)

    def lease_resident(self, volume_id: str, *, holder: str) -> Lease | None:
        """Pin a volume that is resident already, also in part; None where it is not."""
        entry = self._entries.get(volume_id)
        return None if entry is None or entry.resident is None or entry.is_abandoned else self.pin(entry, holder)

    async def reserve(self, what: str, size: Size) -> Reservation:
        """Keep what a volume of this size takes free for `what`, which is on its way.

        Raises
        ------
        BudgetExceededError
            If it does not fit beside what is pinned.
        DrainingError
            If the cache has been closed.
        """
        while True:
            place, leaving = self._room.make(what, size)
            if not leaving:
                break
            await asyncio.wait(leaving, return_when=asyncio.FIRST_COMPLETED)
        self._check_open()
        return Reservation(place.reservations, place.estimate_bytes(size), size.host_bytes)

    def state(self, volume_id: str) -> Residency:
        """Return where a volume is."""
        entry = self._entries.get(volume_id)
        if entry is None:
            return Residency.HOST if volume_id in self._room.host else Residency.SOURCE
        return Residency.RESIDENT if entry.flight is None else Residency.LOADING

    def holds(self, volume_id: str) -> bool:
        """Whether a volume is in any memory, or on its way there."""
        return volume_id in self._entries or volume_id in self._room.host

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
                entry.place.name,
            )
            for entry in self._entries.values()
        )
        room = self._room
        return CacheStatus(
            tuple(place.status() for place in room.places),
            entries,
            room.host_budget_bytes,
            room.host_bytes if room.host_budget_bytes is not None else 0,
            room.host.sizes(),
        )

    async def discard(self, volume_id: str) -> None:
        """Let a volume go: at once, or when its last lease ends. A load goes on for those who wait for it."""
        if self._room.host.take(volume_id) is not None:
            self._left(volume_id)
        entry = self._entries.get(volume_id)
        if entry is not None:
            entry.discarded = True
            self._evict_if_discarded(entry)

    def relieve(self, renderer: Renderer) -> bool:
        """Evict all that is not pinned on a card, which has no memory left for a picture; whether there was any."""
        place = self._room.place_of(renderer)
        return place is not None and self._room.clear_out(place)

    def lose(self, renderer: Renderer, why: str) -> None:
        """Use a renderer no more: its volumes move, those that are not pinned to the host's memory."""
        self._failover.lose(renderer, why)

    async def close(self) -> None:
        """Give up the loads and free everything, leased volumes too: nothing may be rendering any more."""
        self._is_closed = True
        landing = [entry.flight.landed for entry in self._entries.values() if entry.flight]
        for entry in self._entries.values():
            self._abandon(entry)
        if landing:
            await asyncio.wait(landing)
        await self._failover.close()
        for entry in tuple(self._entries.values()):
            if entry.resident is not None:
                entry.place.renderer.release(entry.resident)
            entry.resident = None
        self._entries.clear()
        self._room.host.clear()
        self._pool.shutdown()
        self._failover.close_fallback()

    def _check_open(self) -> None:
        if self._is_closed:
            raise DrainingError("the server is shutting down")

    def _left(self, volume_id: str) -> None:
        if self.on_evicted is not None:
            self.on_evicted(volume_id)

    def _start(self, volume_id: str, load: Loader, place: Place, size: Size, kept: Volume | None) -> Entry:
        loop = asyncio.get_running_loop()
        flight = Flight(loop.create_future(), loop.create_future())
        entry = Entry(volume_id, place, size, place.estimate_bytes(size), self._clock(), flight=flight)
        self._entries[volume_id] = entry
        flight.task = loop.create_task(self._loads.fly(entry, flight, load, kept))
        flight.task.add_done_callback(lambda _: self._land(entry, flight, kept))
        return entry

    def _land(self, entry: Entry, flight: Flight, kept: Volume | None) -> None:
        # A callback, since a task that is cancelled before its first step runs none of its own code.
        entry.flight = None
        if entry.resident is None or entry.resident.volume.missing_slices:
            # A part of a volume is forgotten, not released: states of it share what they have.
            del self._entries[entry.volume_id]
            if kept is not None and not entry.discarded and not self._is_closed:
                self._room.keep(kept)
            if flight.error is None:
                flight.error = RenderCancelledError(f"the load of volume {entry.volume_id} was given up")
        flight.landed.set_result(None)
        if not flight.shown.done():
            flight.shown.set_result(None)
        for watcher in entry.watchers:
            if flight.error is not None:
                watcher.broken(flight.error)
            else:
                watcher.grown()

    async def _join(self, entry: Entry, flight: Flight, holder: str, progress: Progress | None, in_part: bool) -> Lease:
        entry.waiters.append(holder)
        if progress is not None:
            flight.listeners.append(progress)
            if flight.last is not None:
                progress(*flight.last)
        try:
            await asyncio.wait([flight.shown if in_part else flight.landed])
            if flight.error is not None:
                raise flight.error
            return self.pin(entry, holder)
        finally:
            entry.waiters.remove(holder)
            if progress is not None:
                flight.listeners.remove(progress)
            if not entry.waiters and not entry.leases:
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
            if not entry.waiters and not entry.leases:
                self._abandon(entry)
            self._evict_if_discarded(entry)

    async def settle(self, entry: Entry) -> None:
        """Wait until the entry's volume is where it can be drawn; for `Lease` itself."""
        await self._failover.settle(entry)

    def _touch(self, entry: Entry) -> None:
        entry.used_at = self._clock()
        self._entries.move_to_end(entry.volume_id)

    def _evict_if_discarded(self, entry: Entry) -> None:
        if self._entries.get(entry.volume_id) is not entry or entry.is_pinned or entry.resident is None:
            return
        if entry.discarded:
            self._room.evict(entry, to_host=False)
        elif entry.place.lost is not None:
            self._room.evict(entry)

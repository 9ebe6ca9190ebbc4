"""Room for volumes: which place has it, who must leave for it, and what of that stays in the host's memory."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from render.backends.base import Renderer
from render.errors import BudgetExceededError, DeviceLostError
from render.host_tier import HostTier
from render.lease import Entry, Size
from render.memory import format_bytes
from render.place import Place, Seat
from render.volume import Volume

Landings = set[asyncio.Future[None]]
"""Ends of loads that have been given up and whose room is needed: the first is to be waited for."""


class Room:
    """Places within their budgets, and the host's memory within its own.

    Parameters
    ----------
    seats
        The places to begin with.
    entries
        All volumes that are resident or on their way, least recently used first.
    host_budget_bytes
        For the voxels of all entries and of the volumes that have left; None keeps none and counts none.
    on_left
        Told the id of each volume that is in no memory any more.
    """

    def __init__(
        self,
        seats: Sequence[Seat],
        entries: OrderedDict[str, Entry],
        host_budget_bytes: int | None,
        on_left: Callable[[str], None],
    ) -> None:
        self.places = [Place(seat, entries) for seat in seats]
        self.spare: Place | None = None
        self.host = HostTier()
        self.host_budget_bytes = host_budget_bytes
        self._entries = entries
        self._on_left = on_left

    def add_spare(self, seat: Seat) -> Place:
        """Take in a place that is for what the others have no room for."""
        self.spare = Place(seat, self._entries)
        self.places.append(self.spare)
        return self.spare

    def working(self) -> list[Place]:
        """Return where volumes may go: the spare place only where there is no other left."""
        working = [place for place in self.places if place.lost is None and place is not self.spare]
        return working or ([] if self.spare is None else [self.spare])

    def place_of(self, renderer: Renderer) -> Place | None:
        """Return the place of a renderer."""
        return next((place for place in self.places if place.renderer is renderer), None)

    @property
    def host_bytes(self) -> int:
        """What all volumes take of the host's memory, here and on their way."""
        return self.host.bytes + sum(entry.size.host_bytes for entry in self._entries.values()) + self._reserved_on_host

    def make(
        self, what: str, size: Size, *, host_bytes: int | None = None, among: Sequence[Place] | None = None
    ) -> tuple[Place, Landings]:
        """Evict until a volume of this size fits somewhere.

        Parameters
        ----------
        what
            For the message.
        size
            Of the newcomer.
        host_bytes
            That it takes more of the host's memory; None for all that it takes.
        among
            Where it may go; None for wherever it is worked.

        Returns
        -------
        place
            Where it fits, the one with the most room.
        landings
            Loads that must end first, in which case nothing has been evicted and this is to be asked again.

        Raises
        ------
        BudgetExceededError
            If it can't fit beside what is pinned; nothing has been evicted then.
        DeviceLostError
            If there is no place that works.
        """
        places = self.working() if among is None else among
        if not places:
            lost = self.places[0]
            raise DeviceLostError(lost.lost or "", device=lost.name)
        place = max(places, key=lambda each: self._preference(each, each.estimate_bytes(size)))
        needed = size.host_bytes if host_bytes is None else host_bytes
        return place, self._clear(place, what, place.estimate_bytes(size), needed)

    async def resize(self, entry: Entry, size: Size, count: int) -> None:
        """Let an entry take `count` bytes of its place, and what `size` says of the host's memory.

        Raises
        ------
        BudgetExceededError
            If it can't fit beside what is pinned.
        """
        while True:
            more, more_on_host = count - entry.bytes, size.host_bytes - entry.size.host_bytes
            if more <= 0 and more_on_host <= 0:
                break
            landings = self._clear(entry.place, f"volume {entry.volume_id}", max(more, 0), max(more_on_host, 0))
            if not landings:
                break
            await asyncio.wait(landings, return_when=asyncio.FIRST_COMPLETED)
        entry.bytes, entry.size = count, size

    def evict(self, entry: Entry, *, to_host: bool = True) -> None:
        """Give an entry's memory back; its voxels stay on the host, if there is a budget for that."""
        assert entry.resident is not None
        assert not entry.is_pinned
        volume = entry.resident.volume
        del self._entries[entry.volume_id]
        entry.place.renderer.release(entry.resident)
        entry.resident = None
        if to_host:
            self.keep(volume)
        else:
            self._on_left(entry.volume_id)

    def keep(self, volume: Volume) -> None:
        """Keep a volume in the host's memory, where those used longest ago give way."""
        if self.host_budget_bytes is None:
            self._on_left(volume.id)
            return
        self.host.put(volume)
        while len(self.host) and self.host_bytes > self.host_budget_bytes:
            self._on_left(self.host.drop_oldest())

    def clear_out(self, place: Place) -> bool:
        """Evict everything that is not pinned, and the pool's slack; return whether there was any volume to evict."""
        leaving = [entry for entry in place.entries() if not entry.is_pinned]
        for entry in leaving:
            self.evict(entry)
        place.free_unused()
        return bool(leaving)

    @property
    def _reserved_on_host(self) -> int:
        return sum(reservation.host_bytes for place in self.places for reservation in place.reservations)

    def _preference(self, place: Place, needed_bytes: int) -> tuple[bool, bool, int]:
        """Return what sorts places: those that fit, those that fit at once, and then by how much they have left."""
        _, leaving_bytes = leaving(place.entries())
        excess_bytes = self._excess(place, needed_bytes)
        left_bytes = place.budget_bytes - place.volume_bytes - place.scratch_bytes - needed_bytes
        return excess_bytes <= 0, excess_bytes + leaving_bytes <= 0, left_bytes

    def _excess(self, place: Place, needed_bytes: int) -> int:
        """Return how many bytes are too many beside what is pinned, loads that are given up not counted."""
        pinned_bytes = place.pinned_bytes - leaving(place.entries())[1]
        return needed_bytes + pinned_bytes + place.scratch_bytes - place.budget_bytes

    def _clear(self, place: Place, what: str, needed_bytes: int, host_bytes: int) -> Landings:
        """Evict until so many bytes are free, there and on the host."""
        if self._excess(place, needed_bytes) > 0 and place.scratch_bytes:
            place.free_unused()
        landings, leaving_bytes = leaving(place.entries())
        scratch_bytes = place.scratch_bytes
        pinned_bytes = place.pinned_bytes - leaving_bytes + scratch_bytes
        check(what, needed_bytes, pinned_bytes, place.budget_bytes)
        landings_on_host, host_is_full = self._check_host(what, host_bytes)
        if needed_bytes + pinned_bytes + leaving_bytes > place.budget_bytes:
            return landings
        if host_is_full:
            return landings_on_host
        room_bytes = place.budget_bytes - scratch_bytes - needed_bytes
        is_evicted = False
        for entry in place.entries():
            if place.volume_bytes <= room_bytes:
                break
            if not entry.is_pinned:
                self.evict(entry)
                is_evicted = True
        if is_evicted:
            place.free_unused()
        self._trim_host(host_bytes)
        return set()

    def _check_host(self, what: str, host_bytes: int) -> tuple[Landings, bool]:
        """Return the loads given up, and whether the host's memory is full before they have ended."""
        landings, leaving_bytes = leaving(self._entries.values(), on_host=True)
        if self.host_budget_bytes is None or not host_bytes:
            return landings, False
        pinned = sum(entry.size.host_bytes for entry in self._entries.values() if entry.is_pinned)
        pinned_bytes = pinned + self._reserved_on_host - leaving_bytes
        check(f"{what}, decoded,", host_bytes, pinned_bytes, self.host_budget_bytes, "of the host's memory")
        return landings, host_bytes + pinned_bytes + leaving_bytes > self.host_budget_bytes

    def _trim_host(self, host_bytes: int) -> None:
        """Let volumes go until so many bytes fit: first those on no card, then those that nobody uses."""
        if self.host_budget_bytes is None:
            return
        room_bytes = self.host_budget_bytes - host_bytes
        while len(self.host) and self.host_bytes > room_bytes:
            self._on_left(self.host.drop_oldest())
        for entry in tuple(self._entries.values()):
            if self.host_bytes <= room_bytes:
                break
            if not entry.is_pinned:
                self.evict(entry, to_host=False)


def leaving(entries: Iterable[Entry], *, on_host: bool = False) -> tuple[Landings, int]:
    """Return the ends of the loads that nobody waits for, and the bytes that they take: of their place, or the host."""
    abandoned = [entry for entry in entries if entry.is_abandoned]
    landings = {entry.flight.landed for entry in abandoned if entry.flight is not None}
    return landings, sum(entry.size.host_bytes if on_host else entry.bytes for entry in abandoned)


def check(what: str, needed_bytes: int, pinned_bytes: int, budget_bytes: int, where: str = "") -> None:
    """Raise BudgetExceededError, with the figures, if it is too much beside what is pinned."""
    excess_bytes = needed_bytes + pinned_bytes - budget_bytes
    if excess_bytes > 0:
        budget = f"{format_bytes(budget_bytes)} {where}".rstrip()
        raise BudgetExceededError(
            f"{what} needs {format_bytes(needed_bytes)}: {format_bytes(excess_bytes)} too many beside "
            f"{format_bytes(pinned_bytes)} in use, of a budget of {budget}",
            needed_bytes=needed_bytes,
            budget_bytes=budget_bytes,
            pinned_bytes=pinned_bytes,
            excess_bytes=excess_bytes,
        )

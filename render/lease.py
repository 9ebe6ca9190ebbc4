"""What `render.residency` keeps: an entry a volume, its load on the way, and the leases that pin it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeAlias

from render.backends.base import ResidentVolume
from render.backends.channels import COLOR_BYTES, channel_bytes
from render.growth import Wanted

if TYPE_CHECKING:
    from render.place import Place

Progress: TypeAlias = Callable[[str, int, int], None]
"""``progress(stage, done, total)``; called on the event loop."""


@dataclass(frozen=True)
class Size:
    """Of a volume, as far as anybody knows before it is decoded.

    Attributes
    ----------
    voxel_bytes
        Of all its voxels, as they were decoded.
    dtype_bytes
        Of one; 1 for a colour image, of a sample of it.
    """

    voxel_bytes: int
    dtype_bytes: int

    @property
    def host_bytes(self) -> int:
        """What it takes of the host's memory while it is on a card: a colour image its channels besides."""
        return self.voxel_bytes + (channel_bytes(self.voxel_bytes) if self.dtype_bytes == COLOR_BYTES else 0)


@dataclass(eq=False)
class Flight:
    """A load on its way, and who waits for it.

    Attributes
    ----------
    landed
        Done once the entry has its volume, or is gone and the flight has the error.
    shown
        Done once the entry has its volume in part, or `landed` is.
    wanted
        Which slices those who have it in part look at.
    """

    landed: asyncio.Future[None]
    shown: asyncio.Future[None]
    wanted: Wanted = field(default_factory=Wanted)
    give_up: threading.Event = field(default_factory=threading.Event)
    listeners: list[Progress] = field(default_factory=list)
    last: tuple[str, int, int] | None = None
    error: BaseException | None = None
    task: asyncio.Task[None] | None = None

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell all who wait, and remember it for those who come later."""
        self.last = (stage, done, total)
        for listener in tuple(self.listeners):
            listener(stage, done, total)


@dataclass(eq=False)
class Entry:
    """A volume that is resident or on its way.

    Attributes
    ----------
    place
        Where.
    bytes
        What it takes there.
    resident
        None until it has been loaded, or is there in part: then the flight is still on its way. While the volume moves
        it is what it was; if its card is lost nothing can be drawn from that, but it still says what the volume is.
    flight, move
        A load on its way, and one to another place.
    is_adrift
        What is there in part is not at `place`, but on a card that is lost: the load goes elsewhere.
    """

    volume_id: str
    place: Place
    size: Size
    bytes: int
    used_at: float
    resident: ResidentVolume | None = None
    flight: Flight | None = None
    move: asyncio.Task[None] | None = None
    waiters: list[str] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    discarded: bool = False
    is_adrift: bool = False

    @property
    def is_pinned(self) -> bool:
        """Whether it may not be evicted."""
        # Waiters pin as well: between the end of a load and their turn on the loop nothing else would.
        return bool(self.leases or self.waiters or self.flight or self.move)

    @property
    def watchers(self) -> tuple[Watcher, ...]:
        """Those of the leases who watch it grow."""
        return tuple(lease.watcher for lease in self.leases if lease.watcher is not None)

    @property
    def is_abandoned(self) -> bool:
        """Whether its load has been given up, because nobody waits any longer."""
        return self.flight is not None and self.flight.give_up.is_set()


class Watcher(Protocol):
    """Told on the event loop what becomes of a volume that was leased in part."""

    def progressed(self, stage: str, done: int, total: int) -> None:
        """Note how far the load is."""

    def grown(self) -> None:
        """Note that the lease has a later state of the volume, the whole one in the end."""

    def broken(self, error: BaseException) -> None:
        """Note that the rest can't be loaded: the lease is to be released."""


class Pins(Protocol):
    """Who counts the pins of an entry, and moves it where its card is lost: the cache."""

    def pin(self, entry: Entry, holder: str) -> Lease:
        """Make a lease of the entry's volume."""

    def unpin(self, entry: Entry, lease: Lease) -> None:
        """Take note that a lease is released."""

    async def settle(self, entry: Entry) -> None:
        """Wait until the entry's volume is where it can be drawn."""


class Lease:
    """A pin on a resident volume. Use it on the cache's event loop; releasing twice is fine.

    Attributes
    ----------
    volume_id
        Which volume.
    holder
        Who holds it, for the status: ``lease 3``, ``session 7``. No token, no name of a person.
    watcher
        Told of what becomes of a volume that is not whole; see `watch`.
    """

    def __init__(self, pins: Pins, entry: Entry, holder: str) -> None:
        self.volume_id = entry.volume_id
        self.holder = holder
        self._pins = pins
        self._entry = entry
        self._is_released = False
        self.watcher: Watcher | None = None

    @property
    def is_released(self) -> bool:
        """Whether it pins no longer."""
        return self._is_released

    @property
    def resident(self) -> ResidentVolume:
        """The volume beside its processor.

        Raises
        ------
        RuntimeError
            If the lease has been released: the volume may be gone.
        """
        if self._is_released or self._entry.resident is None:
            raise RuntimeError(f"a released lease of volume {self.volume_id}")
        return self._entry.resident

    @property
    def place(self) -> Place:
        """Where it is drawn; see `settled`."""
        return self._entry.place

    async def settled(self) -> None:
        """Wait until the volume is where it can be drawn: it may be on its way from a card that is lost.

        Raises
        ------
        DeviceLostError, BudgetExceededError
            If it has nowhere to go.
        """
        await self._pins.settle(self._entry)

    @property
    def is_whole(self) -> bool:
        """Whether all slices of the volume are there."""
        return self.resident.volume.missing_slices == 0

    def watch(self, watcher: Watcher) -> None:
        """Have somebody told of what becomes of a volume that is not whole."""
        self.watcher = watcher

    def want(self, first: int, last: int) -> None:
        """Ask for slices `first` to before `last` of a volume that is not whole: they are decoded next."""
        if self._entry.flight is not None:
            self._entry.flight.wanted.ask((first, last), self.resident.volume.geometry.shape[0])

    def share(self, holder: str) -> Lease:
        """Return another lease of the same volume, released on its own."""
        assert self.resident is not None
        return self._pins.pin(self._entry, holder)

    def release(self) -> None:
        """End the pin."""
        if not self._is_released:
            self._is_released = True
            self._pins.unpin(self._entry, self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    async def __aenter__(self) -> Lease:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


class Reservation:
    """Bytes kept free for something that is on its way (an upload). Releasing twice is fine.

    Parameters
    ----------
    all_of_them
        Of the same place; it enters itself.
    count
        Of that place's bytes.
    host_bytes
        That it takes of the host's memory.
    """

    def __init__(self, all_of_them: set[Reservation], count: int, host_bytes: int) -> None:
        self.bytes = count
        self.host_bytes = host_bytes
        self._all = all_of_them
        self._all.add(self)

    def release(self) -> None:
        """Give the bytes back."""
        self._all.discard(self)

    def __enter__(self) -> Reservation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

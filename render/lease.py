"""What `render.residency` keeps: an entry a volume, its load on the way, and the leases that pin it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol, TypeAlias

from render.backends.base import ResidentVolume

Progress: TypeAlias = Callable[[str, int, int], None]
"""``progress(stage, done, total)``; called on the event loop."""


@dataclass(eq=False)
class Flight:
    """A load on its way, and who waits for it.

    Attributes
    ----------
    landed
        Done once the entry has its volume, or is gone and the flight has the error.
    """

    landed: asyncio.Future[None]
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
    """A volume that is resident or on its way."""

    volume_id: str
    bytes: int
    used_at: float
    resident: ResidentVolume | None = None
    flight: Flight | None = None
    waiters: list[str] = field(default_factory=list)
    leases: list[Lease] = field(default_factory=list)
    discarded: bool = False

    @property
    def is_pinned(self) -> bool:
        """Whether it may not be evicted."""
        # Waiters pin as well: between the end of a load and their turn on the loop nothing else would.
        return bool(self.leases or self.waiters or self.flight)

    @property
    def is_abandoned(self) -> bool:
        """Whether its load has been given up, because nobody waits any longer."""
        return self.flight is not None and self.flight.give_up.is_set()


class Pins(Protocol):
    """Who counts the pins of an entry: the cache."""

    def pin(self, entry: Entry, holder: str) -> Lease:
        """Make a lease of the entry's volume."""

    def unpin(self, entry: Entry, lease: Lease) -> None:
        """Take note that a lease is released."""


class Lease:
    """A pin on a resident volume. Use it on the cache's event loop; releasing twice is fine.

    Attributes
    ----------
    volume_id
        Which volume.
    holder
        Who holds it, for the status: ``lease 3``, ``session 7``. No token, no name of a person.
    """

    def __init__(self, pins: Pins, entry: Entry, holder: str) -> None:
        self.volume_id = entry.volume_id
        self.holder = holder
        self._pins = pins
        self._entry = entry
        self._is_released = False

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
    """Bytes of the budget kept free for something that is on its way (an upload). Releasing twice is fine."""

    def __init__(self, all_of_them: set[Reservation], count: int) -> None:
        self.bytes = count
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

"""A renderer with its part of the memory, and what it takes of that: one card, or the host's cores."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from render.backends.base import Renderer
from render.descriptions import PlaceStatus
from render.errors import DeviceError
from render.lease import Entry, Reservation, Size
from render.turns import Turns


@dataclass(frozen=True)
class Seat:
    """A renderer, and what volumes may take of its memory.

    Attributes
    ----------
    budget_bytes
        For everything that a volume takes there, for pictures on their way, and for what is kept for the next ones.
    """

    renderer: Renderer
    budget_bytes: int


class MemoryTold(Protocol):
    """What a card says of its memory, bytes."""

    @property
    def held(self) -> int:
        """In use, and kept by its pool for later."""


@runtime_checkable
class OnCard(Protocol):
    """What a renderer has besides `Renderer` if its memory is its own."""

    def memory(self) -> MemoryTold:
        """Return what is taken; DeviceError if the card does not answer."""

    def free_unused(self) -> None:
        """Give back what the pool keeps for later."""


class Place:
    """One renderer's memory and who takes it.

    Parameters
    ----------
    seat
        The renderer and its budget.
    entries
        Of all places, least recently used first; those of this one are looked up as they are needed.

    Attributes
    ----------
    lost
        Why nothing can be drawn here any more; None while it can.
    reservations
        Of what is on its way here.
    is_card
        Whether its memory is its own, so that what is evicted can be kept in the host's.
    turns
        Of long frames, a band each: one at a time, so that a short frame finds no more than two bands before it.
    """

    def __init__(self, seat: Seat, entries: Mapping[str, Entry]) -> None:
        self.renderer = seat.renderer
        self.budget_bytes = seat.budget_bytes
        self.lost: str | None = None
        self.reservations: set[Reservation] = set()
        self.turns = Turns(1, 1)
        self.is_card = isinstance(seat.renderer, OnCard)
        self._entries = entries

    @property
    def name(self) -> str:
        """``cpu``, ``cuda:0``."""
        return self.renderer.device

    def entries(self) -> list[Entry]:
        """Return the volumes here, least recently used first."""
        return [entry for entry in self._entries.values() if entry.place is self]

    def estimate_bytes(self, size: Size) -> int:
        """Return what a volume will take here at most."""
        return self.renderer.estimate_bytes(size.voxel_bytes, size.dtype_bytes)

    @property
    def held_bytes(self) -> int | None:
        """What the card says that it holds for us; None where there is no card, or it does not answer."""
        if self.lost is not None or not isinstance(self.renderer, OnCard):
            return None
        try:
            return self.renderer.memory().held
        except DeviceError:
            return None

    @property
    def scratch_bytes(self) -> int:
        """What the card holds besides the volumes: pictures, tables being made, the pool's slack."""
        held = self.held_bytes
        return 0 if held is None else max(0, held - sum(entry.bytes for entry in self.entries()))

    @property
    def volume_bytes(self) -> int:
        """What volumes take and are about to."""
        return sum(entry.bytes for entry in self.entries()) + sum(r.bytes for r in self.reservations)

    @property
    def pinned_bytes(self) -> int:
        """What of that can't be evicted."""
        pinned = sum(entry.bytes for entry in self.entries() if entry.is_pinned)
        return pinned + sum(r.bytes for r in self.reservations)

    def free_unused(self) -> None:
        """Have the pool's slack given back."""
        if self.lost is None and isinstance(self.renderer, OnCard):
            with contextlib.suppress(DeviceError):  # whoever draws there next finds out, and tells
                self.renderer.free_unused()

    def status(self) -> PlaceStatus:
        """Return what is taken here; the bytes of a card as it tells them itself."""
        held = self.held_bytes
        threads = getattr(self.renderer, "threads", None)
        return PlaceStatus(
            self.name,
            getattr(self.renderer, "description", None) or (f"{threads} threads" if threads else ""),
            self.budget_bytes,
            self.volume_bytes if held is None else held,
            self.pinned_bytes,
            self.lost or "",
        )

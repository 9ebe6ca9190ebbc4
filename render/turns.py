"""Whose turn it is: frames share threads and cards by what their sessions have had of them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

UNGATED_BANDS = 2
"""A frame of no more bands than that is short, and never waits: they are on the card before the first has ended."""


@dataclass(eq=False)
class Turn:
    """Of one who waits, or whose turn it is.

    Attributes
    ----------
    began
        When it became its turn; None before.
    """

    key: str
    wake: Callable[[], object]
    began: float | None = None


class Turns:
    """Lets a few go on at a time.

    Of those who wait, the key with the fewest turns in hand is next, then the one that has had the least time. Every
    method may be called from any thread.

    A key that comes back after a pause is taken to have had as much as the least of those that are there: nobody saves
    time up, and nobody who is new has to be waited for.

    Parameters
    ----------
    at_once
        How many have their turn at a time.
    each
        How many of them may be of one key.
    clock
        Seconds.
    """

    def __init__(self, at_once: int, each: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._at_once = at_once
        self._each = each
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: list[Turn] = []
        self._in_hand: list[Turn] = []
        self._had: dict[str, float] = {}  # of keys that are there

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return len(self._waiting)

    def ask(self, key: str, wake: Callable[[], object]) -> Turn:
        """Wait in line; `wake` is called once it is one's turn, from any thread or before this returns."""
        turn = Turn(key, wake)
        with self._lock:
            self._had.setdefault(key, min(self._had.values(), default=0.0))
            self._waiting.append(turn)
            woken = self._go_on()
        for each in woken:
            each.wake()
        return turn

    def end(self, turn: Turn) -> None:
        """End a turn, or stop waiting for it."""
        with self._lock:
            if turn.began is None:
                self._waiting.remove(turn)
            else:
                self._in_hand.remove(turn)
                self._had[turn.key] += self._clock() - turn.began
            woken = self._go_on()
            if not any(other.key == turn.key for other in (*self._waiting, *self._in_hand)):
                del self._had[turn.key]
        for each in woken:
            each.wake()

    @contextlib.asynccontextmanager
    async def taken(self, key: str) -> AsyncIterator[None]:
        """Wait for a turn on an event loop, and have it."""
        loop = asyncio.get_running_loop()
        granted = asyncio.Event()
        turn = self.ask(key, lambda: loop.call_soon_threadsafe(granted.set))
        try:
            if turn.began is None:
                await granted.wait()
            yield
        finally:
            self.end(turn)

    def _go_on(self) -> list[Turn]:
        """Return those whose turn it is from now on."""
        woken = []
        while len(self._in_hand) < self._at_once:
            in_hand = Counter(turn.key for turn in self._in_hand)
            able = [turn for turn in self._waiting if in_hand[turn.key] < self._each]
            if not able:
                break
            turn = min(able, key=lambda each: (in_hand[each.key], self._had[each.key]))
            turn.began = self._clock()
            self._waiting.remove(turn)
            self._in_hand.append(turn)
            woken.append(turn)
        return woken


class Bands:
    """The bands of one frame on a card: a long frame has one turn a band, a short one needs none.

    Parameters
    ----------
    turns
        Of the card.
    key
        Of the session.
    """

    def __init__(self, turns: Turns, key: str) -> None:
        self._turns = turns
        self._key = key
        self._begun = 0
        self._turn: Turn | None = None

    def begin(self) -> None:
        """Block until the next band may be launched."""
        self._begun += 1
        if self._begun <= UNGATED_BANDS:
            return
        granted = threading.Event()
        # Asked before the last one ends, for what a session has had is kept while it is there.
        turn = self._turns.ask(self._key, granted.set)
        self.end()
        self._turn = turn
        granted.wait()

    def end(self) -> None:
        """Let others go on."""
        if self._turn is not None:
            self._turns.end(self._turn)
            self._turn = None

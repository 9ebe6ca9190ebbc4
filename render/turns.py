"""Whose turn it is: frames share threads and cards by what their sessions have had of them."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

UNGATED_BANDS = 2
"""A frame of no more bands than that is short, and never waits: they are on the card before the first has ended."""


@dataclass(eq=False)
class Turn:
    """Of one who waits, or whose turn it is.

    Attributes
    ----------
    wake
        Called once it is one's turn, from any thread, before `Turns.join` returns or later.
    is_long
        Whether it will take long and can wait.
    began
        When it became its turn; None before.
    """

    key: str
    wake: Callable[[], object]
    is_long: bool = False
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
    long_at_once, long_each
        How many of those may be long; as many as there are where nothing is given.
    """

    def __init__(
        self,
        at_once: int,
        each: int,
        clock: Callable[[], float] = time.perf_counter,
        *,
        long_at_once: int | None = None,
        long_each: int | None = None,
    ) -> None:
        self._at_once = at_once
        self._each = each
        self._long_at_once = at_once if long_at_once is None else long_at_once
        self._long_each = each if long_each is None else long_each
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: dict[tuple[str, bool], deque[Turn]] = {}  # those of a key that are long, and the others
        self._in_hand: list[Turn] = []
        self._counts: dict[tuple[str, bool], int] = {}  # of those in hand
        self._had: dict[str, float] = {}  # of keys that are there

    @property
    def waiting(self) -> int:
        """How many wait."""
        with self._lock:
            return sum(map(len, self._waiting.values()))

    def ask(self, key: str, wake: Callable[[], object]) -> Turn:
        """Wait in line; `wake` is called once it is one's turn, from any thread or before this returns."""
        turn = Turn(key, wake)
        self.join(turn)
        return turn

    def join(self, turn: Turn) -> None:
        """Wait in line for a turn that has not begun."""
        with self._lock:
            if turn.key not in self._had:
                self._had[turn.key] = min(self._had.values(), default=0.0)
            self._waiting.setdefault((turn.key, turn.is_long), deque()).append(turn)
            woken = self._go_on()
        for each in woken:
            each.wake()

    def end(self, turn: Turn) -> None:
        """End a turn, or stop waiting for it."""
        kind = turn.key, turn.is_long
        with self._lock:
            if turn.began is None:
                self._waiting[kind].remove(turn)
                if not self._waiting[kind]:
                    del self._waiting[kind]
            else:
                self._in_hand.remove(turn)
                self._counts[kind] -= 1
                if not self._counts[kind]:
                    del self._counts[kind]
                self._had[turn.key] += self._clock() - turn.began
            woken = self._go_on()
            kinds = (turn.key, False), (turn.key, True)
            if not any(kind in self._waiting or kind in self._counts for kind in kinds):
                del self._had[turn.key]
        for each in woken:
            each.wake()

    def _go_on(self) -> list[Turn]:
        """Return those whose turn it is from now on."""
        woken = []
        while len(self._in_hand) < self._at_once and (kind := self._next()) is not None:
            waiting = self._waiting[kind]
            turn = waiting.popleft()
            if not waiting:
                del self._waiting[kind]
            turn.began = self._clock()
            self._in_hand.append(turn)
            self._counts[kind] = self._counts.get(kind, 0) + 1
            woken.append(turn)
        return woken

    def _next(self) -> tuple[str, bool] | None:
        """Return whose turn is next; None where nobody waits who may have one."""
        best, least = None, (0, 0.0)
        may_be_long = sum(turn.is_long for turn in self._in_hand) < self._long_at_once
        count = self._counts.get
        for kind in self._waiting:
            key, is_long = kind
            long_in_hand = count((key, True), 0)
            in_hand = count((key, False), 0) + long_in_hand
            if in_hand >= self._each:
                continue
            if is_long and not (may_be_long and long_in_hand < self._long_each):
                continue
            rank = in_hand, self._had[key]
            if best is None or rank < least:
                best, least = kind, rank
        return best


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

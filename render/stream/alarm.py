"""A session's one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Alarm:
    """Calls a function on the event loop once a moment has come, or before.

    Parameters
    ----------
    clock
        Seconds.
    ring
        Called then; it sets the alarm again if it was too early.
    """

    def __init__(self, clock: Callable[[], float], ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0

    def set(self, at: float | None) -> None:
        """Ring by then; None for no moment in particular.

        A timer that is early stays as it is: a hand that moves puts most moments off with every view.
        """
        if at is None or (self._timer is not None and self._at <= at):
            return
        self.cancel()
        self._at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - self._clock()), self._rung)

    def cancel(self) -> None:
        """Ring no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _rung(self) -> None:
        self._timer = None
        self._ring()

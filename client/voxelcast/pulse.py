"""Whether a server is still there: a link that died in silence, as while a laptop slept, tells nobody."""

from __future__ import annotations

import math

QUIET_S = 25.0
"""Silence after which a sign of life is asked for."""
ANSWER_S = 20.0
"""How long it may take."""


class Pulse:
    """Watches over one call, from the server's first word on. Nothing in here reads a clock."""

    def __init__(self) -> None:
        self._heard_at_s = math.inf
        self._asked_at_s: float | None = None

    def heard(self, now_s: float) -> None:
        """Note that the server said something: anything."""
        self._heard_at_s, self._asked_at_s = now_s, None

    @property
    def due_at_s(self) -> float:
        """When to look again, seconds; infinity before the server's first word."""
        return self._heard_at_s + QUIET_S if self._asked_at_s is None else self._asked_at_s + ANSWER_S

    def asks(self, now_s: float) -> bool:
        """Whether a ping is to be sent now; once."""
        if self._asked_at_s is not None or now_s < self.due_at_s:
            return False
        self._asked_at_s = now_s
        return True

    def is_lost(self, now_s: float) -> bool:
        """Whether the answer is overdue."""
        return self._asked_at_s is not None and now_s >= self.due_at_s

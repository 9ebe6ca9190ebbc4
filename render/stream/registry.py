"""The sessions of a server: how many, what a resume token stands for, and how they end together."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from render.errors import DrainingError
from render.stream.contract import SavedSession
from render.stream.limits import Limits
from render.stream.sharing import Share

if TYPE_CHECKING:
    from render.stream.session import Session
    from render.v1 import frame_pb2

RESUME_SECONDS = 600.0
MAX_SAVED = 1000
MAX_SESSIONS = 256
DRAIN_SECONDS = 5.0


class SessionObserver(Protocol):
    """Told what sessions do, for metrics. Must be quick."""

    def frame_sent(self, header: frame_pb2.FrameHeader) -> None:
        """Note a frame that was handed over whole."""

    def bytes_sent(self, count: int) -> None:
        """Note bytes of frames that were handed over."""

    def error(self, reason: str) -> None:
        """Note an error that was told to a client."""


class SessionRegistry:
    """All sessions of a server, whatever they came by.

    Parameters
    ----------
    limits
        Of each session.
    max_sessions
        At a time.
    clock
        Seconds, monotonic.

    Attributes
    ----------
    observer
        Told what happens; None for nobody.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        max_sessions: int = MAX_SESSIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limits = limits or Limits()
        self.max_sessions = max_sessions
        self.clock = clock
        self.observer: SessionObserver | None = None
        self.is_draining = False
        self._numbers = 0
        self._live: dict[str, Session] = {}  # by resume token
        self._saved: OrderedDict[str, tuple[float, SavedSession]] = OrderedDict()
        self._shares: OrderedDict[str, tuple[float, Share]] = OrderedDict()  # with when it was asked for last

    @property
    def count(self) -> int:
        """Sessions that are connected."""
        return len(self._live)

    def enter(self, session: Session) -> tuple[str, str]:
        """Count a session in; where there is no room, in place of one whose client has not said hello.

        Returns
        -------
        name, resume_token
            The name is for logs and the status; the token is secret.

        Raises
        ------
        DrainingError
            If the server is shutting down, or has as many sessions as it takes.
        """
        if self.is_draining:
            raise DrainingError("the server is shutting down")
        if self.count >= self.max_sessions and not self._make_room():
            raise DrainingError(f"the server has {self.count} sessions, its limit", sessions=self.count)
        self._numbers += 1
        token = secrets.token_urlsafe(24)
        self._live[token] = session
        return f"session-{self._numbers}", token

    def _make_room(self) -> bool:
        """End the session that has waited for a hello for the longest; return whether there was one.

        Else whoever connects, without a token, could keep those who have one out.
        """
        for token, session in self._live.items():
            if session.protocol.awaits_hello:
                del self._live[token]
                session.make_room()
                return True
        return False

    def leave(self, token: str, saved: SavedSession) -> None:
        """Count a session out; what it showed can be taken up again for some minutes."""
        if self._live.pop(token, None) is not None and saved.views:
            self._saved[token] = self.clock() + RESUME_SECONDS, saved
            while len(self._saved) > MAX_SAVED:
                self._saved.popitem(last=False)

    def resume(self, token: str) -> SavedSession | None:
        """Return what a token stands for, once. A session that still holds it is closed: its client is here now."""
        session = self._live.pop(token, None)
        if session is not None:
            saved = session.saved()
            session.supersede()
            return saved
        until, saved = self._saved.pop(token, (0.0, SavedSession(0)))
        return saved if self.clock() < until else None

    def new_share(self) -> Share:
        """Return a share for a session to drive."""
        share = Share()
        self._shares[share.share_id] = self.clock(), share
        # While who took part may still come back, it stays.
        oldest = [share_id for share_id, (_, other) in self._shares.items() if other.is_empty and other is not share]
        for index, share_id in enumerate(oldest):
            too_many = len(oldest) - index > MAX_SAVED
            if too_many or self._shares[share_id][0] + RESUME_SECONDS < self.clock():
                del self._shares[share_id]
        return share

    def share(self, share_id: str) -> Share | None:
        """Return what is shared under an id; None where nothing is. It stays for some minutes from now."""
        if share_id not in self._shares:
            return None
        _, share = self._shares[share_id]
        self._shares[share_id] = self.clock(), share
        self._shares.move_to_end(share_id)
        return share

    def end_share(self, share: Share) -> None:
        """Let nobody take part in a share any more."""
        self._shares.pop(share.share_id, None)
        share.end()

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Tell all clients that the server goes away, let frames in flight end, then close the sessions."""
        self.is_draining = True
        sessions = [session.drain() for session in tuple(self._live.values())]
        if sessions:
            _, late = await asyncio.wait([asyncio.ensure_future(s) for s in sessions], timeout=seconds)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

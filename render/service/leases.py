"""Leases that remote clients hold: named by secret ids, ended when released or not used for a while."""

from __future__ import annotations

import asyncio
import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from render.errors import BudgetExceededError, LeaseNotFoundError
from render.lease import Lease

LEASE_SECONDS = 600
"""A client that died pins its volumes for this long; one that is alive renders more often than every ten minutes."""
MAX_LEASES = 1024
SWEEP_SECONDS = 15.0


@dataclass
class _Grant:
    lease: Lease
    used_at: float


@dataclass(frozen=True)
class _Rest:
    """Ends a lease of a part where the rest can't be loaded; implements `render.lease.Watcher`."""

    table: LeaseTable
    lease_id: str

    def progressed(self, stage: str, done: int, total: int) -> None: ...

    def grown(self) -> None: ...

    def broken(self, error: BaseException) -> None:
        self.table.end(self.lease_id)


class LeaseTable:
    """The leases that clients hold on one server.

    Parameters
    ----------
    lease_seconds
        A lease that has not been used for this long ends.
    limit
        Leases at a time.
    clock
        Seconds.
    """

    def __init__(
        self,
        *,
        lease_seconds: int = LEASE_SECONDS,
        limit: int = MAX_LEASES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._limit = limit
        self._clock = clock
        self._grants: dict[str, _Grant] = {}
        self._numbers = itertools.count(1)

    def __len__(self) -> int:
        return len(self._grants)

    def next_holder(self) -> str:
        """Return the name that the next lease goes by in the status; it holds nothing of its secret id.

        Raises
        ------
        BudgetExceededError
            If as many leases are out as the server allows.
        """
        self.sweep()
        if len(self._grants) >= self._limit:
            raise BudgetExceededError(f"{self._limit} leases are out: release some", leases=self._limit)
        return f"grpc lease {next(self._numbers)}"

    def grant(self, lease: Lease) -> str:
        """Keep a lease for a client and return the id that the client shall name it by.

        One of a volume that is there in part ends by itself if the rest can't be loaded.
        """
        lease_id = secrets.token_urlsafe(18)
        self._grants[lease_id] = _Grant(lease, self._clock())
        if not lease.is_whole:
            lease.watch(_Rest(self, lease_id))
        return lease_id

    def renew(self, lease_id: str) -> Lease:
        """Return a lease that is being used.

        Raises
        ------
        LeaseNotFoundError
            If there is none of this id (any more).
        """
        self.sweep()
        grant = self._grants.get(lease_id)
        if grant is None:
            raise LeaseNotFoundError(
                f"no such lease: it was released, or not used for {self.lease_seconds} s; open the volume again"
            )
        grant.used_at = self._clock()
        return grant.lease

    def release(self, lease_id: str) -> None:
        """End a lease.

        Raises
        ------
        LeaseNotFoundError
            If there is none of this id (any more).
        """
        self.renew(lease_id)
        self.end(lease_id)

    def end(self, lease_id: str) -> None:
        """End a lease, if there is one of this id."""
        grant = self._grants.pop(lease_id, None)
        if grant is not None:
            grant.lease.release()

    def sweep(self) -> None:
        """End the leases that have not been used for too long."""
        now = self._clock()
        for lease_id, grant in tuple(self._grants.items()):
            if now - grant.used_at >= self.lease_seconds:
                self.end(lease_id)

    async def sweep_forever(self) -> None:
        """Sweep now and then until cancelled: without it a volume would stay pinned until the next call."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    def close(self) -> None:
        """End all leases."""
        for grant in self._grants.values():
            grant.lease.release()
        self._grants.clear()

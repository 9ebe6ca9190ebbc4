"""The volumes that a session holds on the engine: opened, watched while they grow, released."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from render.engine import Engine
from render.lease import Lease
from render.service.convert.volumes import description_to_proto
from render.service.status import client_message, reason
from render.stream.protocol import StreamProtocol


class SessionLeases:
    """The leases of one session.

    Parameters
    ----------
    engine
        Opens.
    protocol
        Told what becomes of each volume.
    holder
        Whose they are, for the status.
    log
        Given an error that a volume can't be opened for.
    told, changed
        Called when there may be something to send, and when there may be something to do.
    """

    def __init__(
        self,
        engine: Engine,
        protocol: StreamProtocol,
        *,
        holder: str,
        log: Callable[[Exception], None],
        told: Callable[[], None],
        changed: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._protocol = protocol
        self._holder = holder
        self._log = log
        self._told = told
        self._changed = changed
        self._leases: dict[str, Lease] = {}
        self._opening: dict[str, asyncio.Task[None]] = {}

    def __getitem__(self, volume_id: str) -> Lease:
        """Return the lease of a volume that is open."""
        return self._leases[volume_id]

    def open(self, volume_id: str) -> None:
        """Begin to open a volume."""
        self._opening[volume_id] = asyncio.create_task(self._open(volume_id))

    def describe(self, volume_id: str) -> None:
        """Describe a volume that is open."""
        lease = self._leases[volume_id]
        missing = lease.resident.volume.missing_slices
        self._protocol.describe(description_to_proto(self._engine.describe(lease)), missing)

    def release(self, volume_id: str) -> None:
        """Let go of a volume, or give up opening it."""
        opening = self._opening.pop(volume_id, None)
        if opening is not None:
            opening.cancel()
        lease = self._leases.pop(volume_id, None)
        if lease is not None:
            lease.release()

    def give_up(self) -> list[asyncio.Task[None]]:
        """Give up opening; return the tasks that did, and that end now."""
        for task in self._opening.values():
            task.cancel()
        return list(self._opening.values())

    def close(self) -> None:
        """Let go of all volumes."""
        for lease in self._leases.values():
            lease.release()
        self._leases.clear()

    async def _open(self, volume_id: str) -> None:
        watcher = _Watcher(self, volume_id)
        try:
            lease = await self._engine.open(volume_id, holder=self._holder, progress=watcher.progressed, in_part=True)
        except Exception as error:
            self._failed(volume_id, error)
        else:
            self._leases[volume_id] = lease
            lease.watch(watcher)
            self._grown(volume_id)
        del self._opening[volume_id]
        self._changed()

    def _progressed(self, volume_id: str, stage: str, done: int, total: int) -> None:
        self._protocol.load_progress(volume_id, stage, done, total)
        self._told()

    def _grown(self, volume_id: str) -> None:
        volume = self._leases[volume_id].resident.volume
        self._protocol.volume_opened(volume_id, volume.revision, is_whole=not volume.missing_slices)
        self._changed()

    def _broken(self, volume_id: str, error: BaseException) -> None:
        self._leases.pop(volume_id).release()
        self._failed(volume_id, error)
        self._changed()

    def _failed(self, volume_id: str, error: BaseException) -> None:
        if isinstance(error, Exception):
            self._log(error)
        self._protocol.volume_failed(volume_id, reason(error), client_message(error))


@dataclass(frozen=True)
class _Watcher:
    """Tells what becomes of a volume that is there in part; implements `render.lease.Watcher`."""

    leases: SessionLeases
    volume_id: str

    def progressed(self, stage: str, done: int, total: int) -> None:
        self.leases._progressed(self.volume_id, stage, done, total)

    def grown(self) -> None:
        self.leases._grown(self.volume_id)

    def broken(self, error: BaseException) -> None:
        self.leases._broken(self.volume_id, error)

"""A resident volume as every renderer has it: held while frames are drawn, let go once they are done."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from typing import Generic, TypeVar

from render.backends.base import Statistics
from render.errors import VolumeNotFoundError
from render.volume import Volume

KEPT_TABLES = 8
"""Transfer functions, with their bricks' visibility, that a volume remembers."""

H = TypeVar("H")
T = TypeVar("T")


class HeldVolume(Generic[H]):
    """Implements `render.backends.base.ResidentVolume` but for the renderer's own part, which is of type `H`.

    Parameters
    ----------
    volume
        What was uploaded.
    held
        What is let go when it is released.
    statistics
        Of the voxels.
    nbytes
        Everything that it takes on the device, all the tables that may be remembered included.
    """

    def __init__(self, volume: Volume, held: H, statistics: Statistics, nbytes: int) -> None:
        self._volume = volume
        self._statistics = statistics
        self._nbytes = nbytes
        self._held: H | None = held
        self._users = 0
        self._changed = threading.Condition()

    @property
    def volume(self) -> Volume:
        """What was uploaded; its voxels stay on the host for as long as it is resident."""
        return self._volume

    @property
    def statistics(self) -> Statistics:
        """Of the voxels, modality units."""
        return self._statistics

    @property
    def nbytes(self) -> int:
        """Bytes of everything that it takes on the device, and of all the tables that may be remembered."""
        return self._nbytes

    def in_use(self) -> AbstractContextManager[H]:
        """Hold the voxels while a frame is drawn; entering it gives the renderer's own part.

        Raises
        ------
        VolumeNotFoundError
            On entering, if the volume has been released.
        """
        return _Use(self)

    def _take(self) -> H:
        with self._changed:
            if self._held is None:
                raise VolumeNotFoundError(f"volume {self._volume.id} has been released", volume_id=self._volume.id)
            self._users += 1
            return self._held

    def _give_back(self) -> None:
        with self._changed:
            self._users -= 1
            if self._held is None:  # else nobody waits
                self._changed.notify_all()

    def close(self) -> None:
        """Let everything go, once no frame needs it. Blocks until then."""
        with self._changed:
            self._held = None
            self._changed.wait_for(lambda: self._users == 0)


class _Use(AbstractContextManager[H]):
    """One frame's use of a volume."""

    __slots__ = ("_volume",)

    def __init__(self, volume: HeldVolume[H]) -> None:
        self._volume = volume

    def __enter__(self) -> H:
        return self._volume._take()

    def __exit__(self, *raised: object) -> None:
        self._volume._give_back()


class Remembered(Generic[T]):
    """The last few of what was made for keys. Every method may be called from any thread.

    Parameters
    ----------
    kept
        How many.
    """

    def __init__(self, kept: int = KEPT_TABLES) -> None:
        self._most = kept
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, T] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        with self._lock:
            return len(self._kept)

    def get(self, key: Hashable) -> T | None:
        """Return what is remembered for a key."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def put(self, key: Hashable, made: T) -> None:
        """Remember; the least recently used is forgotten."""
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)

    def made(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is remembered for a key, or make it. Two at the same time may both make it."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._kept.clear()

"""A pool of threads that draws frames tile by tile, fairly: next is the frame that has had the least time.

Tiles are the unit of fairness and of cancellation. A small frame that comes while a huge one is being drawn waits for
the tiles in hand and little more; since it begins where the others stand, a stream of small frames does not
starve the huge one either. Nothing of a frame that was given up stays queued.

The thread that asks for a frame draws at it too, as long as it is that frame's turn: to wake a sleeping thread takes as
long as a tenth of a thin plane. Never more than `TilePool.threads` draw at once, whoever they are.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from render.errors import DrainingError, RenderCancelledError

Tile: TypeAlias = tuple[int, int, int, int]
"""``(row_from, row_to, column_from, column_to)`` in pixels."""


@functools.lru_cache(64)
def cut(height: int, width: int, tile_height: int, tile_width: int) -> tuple[Tile, ...]:
    """Cut a picture into tiles, row by row; those at the right and at the bottom may be smaller."""
    return tuple(
        (top, min(top + tile_height, height), left, min(left + tile_width, width))
        for top in range(0, height, tile_height)
        for left in range(0, width, tile_width)
    )


class _Job:
    """The tiles of one frame: those that wait, and how many are being drawn."""

    def __init__(
        self, draw: Callable[[Tile], object], tiles: Iterable[Tile], cancelled: Callable[[], bool] | None
    ) -> None:
        self.draw = draw
        self.waiting = deque(tiles)
        self.cancelled = cancelled
        self.drawing = 0
        self.used_s = 0.0
        self.failure: BaseException | None = None
        self.is_finished = False
        self.finished = threading.Lock()  # held until it is; an Event takes longer to make
        self.finished.acquire()

    def step(self, tile: Tile) -> object:
        if self.cancelled is not None and self.cancelled():
            raise RenderCancelledError(f"given up with {len(self.waiting) + 1} tiles left to draw")
        return self.draw(tile)


class TilePool:
    """Worker threads, shared by all frames that are being drawn.

    Parameters
    ----------
    threads
        How many draw at once; at least 1.
    clock
        Seconds, for the time that a frame has had.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.threads = threads
        self._clock = clock
        self._jobs: list[_Job] = []  # those with tiles that wait, the longest unserved first
        self._lock = threading.Lock()
        self._sleeping: list[threading.Lock] = []  # each wakes a worker when it is released
        self._idle = threads  # how many more may draw
        self._closed = False
        self._workers = [
            threading.Thread(target=self._work, name=f"voxelcast-tile-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def queued_tiles(self) -> int:
        """Tiles that wait to be drawn, of all frames."""
        with self._lock:
            return sum(len(job.waiting) for job in self._jobs)

    def run(
        self,
        draw: Callable[[Tile], object],
        tiles: Iterable[Tile],
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        """Draw all tiles of a frame. Blocks until the last is drawn, or until none is being drawn after a failure.

        Parameters
        ----------
        draw
            Called with each tile, from the worker threads, in any order. If it returns True the whole frame is drawn:
            tiles that wait are dropped, and other threads may yet be about to return from theirs.
        tiles
            What to draw.
        cancelled
            Asked before each tile.

        Raises
        ------
        RenderCancelledError
            If `cancelled` said True.
        DrainingError
            If the pool is closed.
        """
        job = _Job(draw, tiles, cancelled)
        if not job.waiting:
            return
        with self._lock:
            if self._closed:
                raise DrainingError("the renderer is closed")
            job.used_s = min((other.used_s for other in self._jobs), default=0.0)
            self._jobs.append(job)
            draws = self._idle > 0
            self._idle -= draws
            taken = self._next(job) if draws else None
            self._wake(min(self._idle, len(job.waiting)))
        if draws:
            self._draw(taken, only=job)
        if not job.is_finished:
            job.finished.acquire()
        if job.failure is not None:
            raise job.failure

    def close(self) -> None:
        """End the threads once the frames in hand are drawn. Later calls of `run` are refused."""
        with self._lock:
            self._closed = True
            self._wake(self.threads)
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        woken = threading.Lock()
        woken.acquire()
        while True:
            taken = None
            with self._lock:
                if self._jobs and self._idle:
                    self._idle -= 1
                    taken = self._next()
                elif self._closed and not self._jobs:
                    return
                else:
                    self._sleeping.append(woken)
            if taken is None:
                woken.acquire()
            else:
                self._draw(taken)

    def _wake(self, count: int) -> None:
        """Wake so many workers, if as many sleep, the last to fall asleep first. To be called with the lock held.

        Its core is warm, and another than the caller's: a system wakes a thread where it ran last. In a virtual machine
        that is also where the others may be put, since a core that has slept for a while does not look idle there.
        """
        for _ in range(min(count, len(self._sleeping))):
            self._sleeping.pop().release()

    def _draw(self, taken: tuple[_Job, Tile] | None, only: _Job | None = None) -> None:
        """Draw tiles while there are some, or while it is one frame's turn; then leave the place to another."""
        while taken is not None:
            job, tile = taken
            failure: BaseException | None = None
            is_drawn: object = False
            began = self._clock()
            try:
                is_drawn = job.step(tile)
            except BaseException as error:  # raised again in the thread that called run
                failure = error
            took_s = self._clock() - began
            with self._lock:
                self._done(job, took_s, is_drawn is True, failure)
                taken = self._next(only)

    def _next(self, only: _Job | None = None) -> tuple[_Job, Tile] | None:
        """Take the next tile, if it is one of `only`; else leave the place. To be called with the lock held."""
        job = min(self._jobs, key=_used_s, default=None)
        if job is None or (only is not None and job is not only):
            self._idle += 1
            self._wake(self.threads if self._closed else job is not None)
            return None
        self._jobs.remove(job)
        tile = job.waiting.popleft()
        job.drawing += 1
        if job.waiting:
            self._jobs.append(job)
        return job, tile

    def _done(self, job: _Job, took_s: float, is_drawn: bool, failure: BaseException | None) -> None:
        """Note that a tile is drawn, or was given up. To be called with the lock held."""
        job.drawing -= 1
        job.used_s += took_s
        job.failure = job.failure or failure
        if job.waiting and (is_drawn or failure is not None):
            job.waiting.clear()
            self._jobs.remove(job)
        if not job.is_finished and (is_drawn or not (job.waiting or job.drawing)):
            job.is_finished = True
            job.finished.release()


def _used_s(job: _Job) -> float:
    return job.used_s

"""A pool of threads that draws frames tile by tile, fairly: next is the frame that has had the least time.

Tiles are the unit of fairness and of cancellation. A small frame that comes while a huge one is being drawn waits for
the tiles in hand and little more; since it begins where the others stand, a stream of small frames does not
starve the huge one either. Nothing of a frame that was given up stays queued.

The thread that asks for a frame draws at it too, as long as it is that frame's turn: to wake a sleeping thread takes as
long as a tenth of a thin plane. Never more than `TilePool.threads` draw at once, whoever they are.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeAlias

from render.errors import DrainingError, RenderCancelledError

Tile: TypeAlias = tuple[int, int, int, int]
"""``(row_from, row_to, column_from, column_to)`` in pixels."""


def cut(height: int, width: int, tile_height: int, tile_width: int) -> list[Tile]:
    """Cut a picture into tiles, row by row; those at the right and at the bottom may be smaller."""
    return [
        (top, min(top + tile_height, height), left, min(left + tile_width, width))
        for top in range(0, height, tile_height)
        for left in range(0, width, tile_width)
    ]


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
        self.finished = threading.Event()

    def step(self, tile: Tile) -> None:
        if self.cancelled is not None and self.cancelled():
            raise RenderCancelledError(f"given up with {len(self.waiting) + 1} tiles left to draw")
        self.draw(tile)


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
        self._changed = threading.Condition()
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
        with self._changed:
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
            Called with each tile, from the worker threads, in any order.
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
        with self._changed:
            if self._closed:
                raise DrainingError("the renderer is closed")
            job.used_s = min((other.used_s for other in self._jobs), default=0.0)
            self._jobs.append(job)
            draws = self._idle > 0
            self._idle -= draws
            self._changed.notify(min(self._idle, len(job.waiting) - draws))
        if draws:
            self._draw(only=job)
        job.finished.wait()
        if job.failure is not None:
            raise job.failure

    def close(self) -> None:
        """End the threads once the frames in hand are drawn. Later calls of `run` are refused."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for worker in self._workers:
            worker.join()

    def _work(self) -> None:
        while True:
            with self._changed:
                while not (self._jobs and self._idle):
                    if self._closed and not self._jobs:
                        return
                    self._changed.wait()
                self._idle -= 1
            self._draw()

    def _draw(self, only: _Job | None = None) -> None:
        """Draw tiles while there are some, or while it is one frame's turn; then leave the place to another."""
        while (taken := self._take(only)) is not None:
            job, tile = taken
            failure: BaseException | None = None
            began = self._clock()
            try:
                job.step(tile)
            except BaseException as error:  # raised again in the thread that called run
                failure = error
            self._done(job, self._clock() - began, failure)

    def _take(self, only: _Job | None) -> tuple[_Job, Tile] | None:
        with self._changed:
            job = min(self._jobs, key=lambda each: each.used_s, default=None)
            if job is None or (only is not None and job is not only):
                self._idle += 1
                if job is not None or self._closed:
                    self._changed.notify()
                return None
            self._jobs.remove(job)
            tile = job.waiting.popleft()
            job.drawing += 1
            if job.waiting:
                self._jobs.append(job)
            return job, tile

    def _done(self, job: _Job, took_s: float, failure: BaseException | None) -> None:
        with self._changed:
            job.drawing -= 1
            job.used_s += took_s
            if failure is not None:
                job.failure = job.failure or failure
                if job.waiting:
                    job.waiting.clear()
                    self._jobs.remove(job)
            if not job.waiting and not job.drawing:
                job.finished.set()

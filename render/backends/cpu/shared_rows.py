"""Rows of a picture that threads take out of one another's hands, without the interpreter.

A thin plane is drawn in less time than a thread takes to wake up, or to be told by another that it is done. So each
thread calls the kernel once, which draws the next part that nobody has, until there is none. And a kernel that finds
none waits for the others' last rows by looking, not by sleeping.

Parts are many rows at first, since neighbouring rows read the same voxels, and few at last, for the threads to end
together. Where threads can't count together (`operations.COUNTS_TOGETHER`) each call draws one part.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt

from render.backends.cpu.operations import COUNTS_TOGETHER, PACKET_HEIGHT, fetch_add, inline
from render.backends.cpu.tiles import Tile

NEXT, END, DRAWN, TAKEN = 0, 1, 2, 3
"""What is counted: the first part that nobody has; one past the last; parts drawn so far, samples taken for them."""
MOST_PX = 1 << 16
"""Of a part: 0.2 ms."""
LEAST_ROWS = 2 * PACKET_HEIGHT
"""Of a part: 10 us at 512 pixels a row."""
CALL_PX = 1 << 18
"""Of a call, or a little more, for fairness and cancellation: a millisecond."""
HELP_PX = 1 << 14
"""Another thread takes part for each of these, 40 us and more: of the caller's time, to wake it takes 6."""
LOOKS = 20_000
"""At the others' last parts, some 100 us in all; they take 10, unless their thread was sent away."""
LINGER = 1_000
"""Looks, 5 us: a thread that helped returns to the interpreter after the one that waits for the picture, which would
otherwise have to wait for the interpreter too."""


@functools.lru_cache(64)
def parts_of(height: int, width: int, threads: int) -> npt.NDArray[np.int64]:
    """Return the first row of each part, and `height` behind them: of what is left, each is a thread's share's half."""
    starts = [0]
    while starts[-1] < height:
        rows = min((height - starts[-1]) // (2 * threads), MOST_PX // width) // PACKET_HEIGHT * PACKET_HEIGHT
        starts.append(min(starts[-1] + max(rows, LEAST_ROWS), height))
    result = np.array(starts)
    result.setflags(write=False)
    return result


class SharedRows:
    """The rows of one picture.

    Parameters
    ----------
    shape_px
        Rows and columns.
    threads
        That may draw at it.

    Attributes
    ----------
    starts
        `parts_of` it: part n has the rows from ``starts[n]`` up to ``starts[n + 1]``.
    counts
        int64, shape (1, 4) where threads count together, else a row for each part: what kernels count in.
    calls
        Of the kernel: in each tile the first number says which row of `counts` is for it, the second is 0 for the first
        call, which the thread that waits for the picture takes, and over 0 for one that helps.
    rows_a_call
        After which a call takes no further part.
    """

    def __init__(self, shape_px: tuple[int, int], threads: int) -> None:
        height, width = shape_px
        helpers = min(threads - 1, height * width // HELP_PX)
        self.starts = parts_of(height, width, helpers + 1)
        self.rows_a_call = max(CALL_PX // width, 1)
        parts = self.starts.size - 1
        if COUNTS_TOGETHER:
            self.counts = np.zeros((1, 4), np.int64)
            self.counts[0, END] = parts
            calls = -(-height // self.rows_a_call) + helpers
            self.calls: list[Tile] = [(0, call, 0, width) for call in range(calls)]
        else:
            self.counts = np.array([(part, part + 1, part, 0) for part in range(parts)])
            self.calls = [(part, 0, 0, width) for part in range(parts)]

    @property
    def samples_taken(self) -> int:
        """By all calls."""
        return sum(self.counts[:, TAKEN].tolist())


@inline
def claim(counts: Any) -> Any:
    """Return the next part that nobody has, or -1."""
    part = fetch_add(counts, NEXT, 1)
    return part if part < counts[END] else -1


@inline
def tell(counts: Any, taken: Any) -> None:
    """Tell that a part has been drawn, by so many samples."""
    fetch_add(counts, TAKEN, taken)
    fetch_add(counts, DRAWN, 1)


@inline
def is_drawn(counts: Any, helps: Any) -> Any:
    """Whether all parts have been drawn; waits a little for those that others are drawing."""
    looks = 0
    while fetch_add(counts, DRAWN, 0) < counts[END]:
        looks += 1
        if looks > LOOKS or fetch_add(counts, NEXT, 0) < counts[END]:
            return False
    looks = LINGER if helps else 0
    while looks > 0:
        looks -= 1
        fetch_add(counts, DRAWN, 0)
    return True

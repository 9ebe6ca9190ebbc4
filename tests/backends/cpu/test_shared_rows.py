"""Rows that threads share: each is drawn once, whoever comes when."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from numba import njit

from render.backends.cpu.operations import COUNTS_TOGETHER, PACKET_HEIGHT
from render.backends.cpu.shared_rows import CALL_PX, HELP_PX, SharedRows, claim, is_drawn, parts_of, tell

WAIT_S = 60


@njit(nogil=True)
def visit(starts: Any, counts: Any, seen: Any, most: int, rounds: int, helps: bool) -> bool:
    """Count the visits to each row, as a kernel draws it; `rounds` of busy work a row."""
    begun = 0
    part = claim(counts)
    while part >= 0:
        for row in range(starts[part], starts[part + 1]):
            for _ in range(rounds):
                seen[row] = -seen[row]
            seen[row] += 1
        tell(counts, starts[part + 1] - starts[part])
        begun += starts[part + 1] - starts[part]
        part = claim(counts) if begun < most else -1
    return is_drawn(counts, helps)


def visited(rows: SharedRows, height: int, rounds: int = 2) -> np.ndarray:
    seen = np.zeros(height, np.int64)
    whole = [
        visit(rows.starts, rows.counts[call[0]], seen, rows.rows_a_call, rounds, call[1] > 0) for call in rows.calls
    ]
    assert whole[-1]
    return seen


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4096), (197, 64), (512, 512), (4096, 4096)])
def test_parts_cover_the_rows_in_order(height: int, width: int, threads: int) -> None:
    starts = parts_of(height, width, threads)
    assert starts[0] == 0
    assert starts[-1] == height
    sizes = np.diff(starts)
    assert (sizes > 0).all()
    assert (starts[:-1] % PACKET_HEIGHT == 0).all()
    assert (np.diff(sizes) <= 0).all()  # the last are the smallest


@pytest.mark.parametrize("threads", [1, 2, 7])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 4096), (197, 64), (512, 512), (2000, 2048)])
def test_calls_one_after_the_other_draw_each_row_once(height: int, width: int, threads: int) -> None:
    rows = SharedRows((height, width), threads)
    np.testing.assert_array_equal(visited(rows, height), 1)
    assert rows.samples_taken == height
    # None draws much more than its share.
    assert not COUNTS_TOGETHER or len(rows.calls) >= height * width / CALL_PX


def test_a_small_picture_wakes_nobody() -> None:
    assert not COUNTS_TOGETHER or len(SharedRows((HELP_PX // 64 - 1, 64), 8).calls) == 1


@pytest.mark.skipif(not COUNTS_TOGETHER, reason="plain numba has no counter to share")
def test_threads_at_the_same_time_draw_each_row_once() -> None:
    height, threads = 4001, 4
    for _ in range(20):
        rows = SharedRows((height, 512), threads)
        seen, drawn = np.zeros(height, np.int64), []
        start = threading.Barrier(threads)

        def draw(rows: SharedRows = rows, seen: Any = seen, drawn: Any = drawn, start: Any = start) -> None:
            start.wait(WAIT_S)
            drawn.append(visit(rows.starts, rows.counts[0], seen, height, 50, True))

        workers = [threading.Thread(target=draw) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(WAIT_S)
        np.testing.assert_array_equal(seen, 1)
        assert rows.samples_taken == height
        assert any(drawn)


@pytest.mark.skipif(not COUNTS_TOGETHER, reason="plain numba has no counter to share")
def test_what_another_thread_still_draws_is_not_drawn() -> None:
    rows = SharedRows((512, 512), 2)
    rows.counts[0, 0] = 1  # somebody has taken the first part, and does not come back
    seen = np.zeros(512, np.int64)
    assert not visit(rows.starts, rows.counts[0], seen, 512, 0, False)
    assert (seen == 0).sum() == rows.starts[1]

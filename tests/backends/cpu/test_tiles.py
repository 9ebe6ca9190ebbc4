"""The pool: fair by tile, cancelled between tiles, nothing left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from render.backends.cpu.tiles import Tile, TilePool, cut
from render.errors import DrainingError, RenderCancelledError

WAIT_S = 20


def numbered(count: int) -> list[Tile]:
    return [(n, n + 1, 0, 1) for n in range(count)]


@pytest.fixture
def pool() -> Iterator[TilePool]:
    pool = TilePool(1)
    yield pool
    pool.close()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (32, 64), (33, 65), (100, 7)])
def test_tiles_cover_the_picture_once(height: int, width: int) -> None:
    seen = [[0] * width for _ in range(height)]
    for row_from, row_to, column_from, column_to in cut(height, width, 32, 64):
        assert 0 < row_to - row_from <= 32
        assert 0 < column_to - column_from <= 64
        for row in range(row_from, row_to):
            for column in range(column_from, column_to):
                seen[row][column] += 1
    assert all(count == 1 for line in seen for count in line)


def test_a_small_frame_passes_a_huge_one(pool: TilePool) -> None:
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def huge(tile: Tile) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        order.append("huge")

    big = threading.Thread(target=pool.run, args=(huge, numbered(50)))
    big.start()
    assert begun.wait(WAIT_S)
    small = threading.Thread(target=pool.run, args=(lambda tile: order.append("small"), numbered(5)))
    small.start()
    while pool.queued_tiles < 49 + 5:  # until the small frame is in the queue too
        threading.Event().wait(0.001)
    go_on.set()
    small.join(WAIT_S)
    big.join(WAIT_S)
    assert len(order) == 55
    # One of the huge frame was being drawn, and one waits its turn before each of the small frame's.
    assert max(n for n, who in enumerate(order) if who == "small") <= 2 * 5 + 1


def test_frames_share_the_time_whatever_their_tiles_cost() -> None:
    """A tile of the slow frame costs as much as four of the quick one, which gets four for each of them."""
    now = [0.0]
    pool = TilePool(1, clock=lambda: now[0])
    order: list[str] = []
    begun, go_on = threading.Event(), threading.Event()

    def slow(tile: Tile) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)
        now[0] += 4
        order.append("slow")

    def quick(tile: Tile) -> None:
        now[0] += 1
        order.append("quick")

    threads = [threading.Thread(target=pool.run, args=(draw, numbered(n))) for draw, n in ((slow, 6), (quick, 16))]
    threads[0].start()
    assert begun.wait(WAIT_S)
    threads[1].start()
    while pool.queued_tiles < 5 + 16:
        threading.Event().wait(0.001)
    go_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    pool.close()
    assert order == ["slow", *["quick"] * 4, *["slow", *["quick"] * 4] * 3, "slow", "slow"]


def test_cancelling_drops_what_waits(pool: TilePool) -> None:
    drawn: list[Tile] = []
    with pytest.raises(RenderCancelledError, match="7 tiles left"):
        pool.run(drawn.append, numbered(10), lambda: len(drawn) >= 3)
    assert len(drawn) == 3
    assert pool.queued_tiles == 0
    pool.run(drawn.append, numbered(2))  # the pool goes on
    assert len(drawn) == 5


def test_cancelling_one_frame_leaves_the_others(pool: TilePool) -> None:
    begun, go_on = threading.Event(), threading.Event()
    kept: list[Tile] = []

    def first(tile: Tile) -> None:
        begun.set()
        assert go_on.wait(WAIT_S)

    failures: list[BaseException] = []

    def give_up() -> None:
        try:
            pool.run(first, numbered(8), go_on.is_set)
        except RenderCancelledError as error:
            failures.append(error)

    threads = [
        threading.Thread(target=give_up),
        threading.Thread(target=pool.run, args=(kept.append, numbered(6))),
    ]
    threads[0].start()
    assert begun.wait(WAIT_S)
    threads[1].start()
    go_on.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert len(failures) == 1
    assert sorted(kept) == numbered(6)


def test_a_frame_that_says_it_is_drawn_is_not_waited_for() -> None:
    """The last call may be about to return, and calls that nobody has made are not needed any more."""
    pool = TilePool(2)
    helping, go_on = threading.Event(), threading.Event()
    calls: list[Tile] = []

    def draw(tile: Tile) -> bool:
        calls.append(tile)
        if threading.current_thread() is not threading.main_thread():
            helping.set()
            assert go_on.wait(WAIT_S)
            return False
        assert helping.wait(WAIT_S)
        return True

    pool.run(draw, numbered(5))
    assert not go_on.is_set()
    assert pool.queued_tiles == 0
    go_on.set()
    pool.close()
    assert len(calls) == 2


def test_the_worker_that_drew_last_is_woken_first() -> None:
    pool = TilePool(3)
    helpers: list[int] = []

    def asleep() -> None:
        while len(pool._sleeping) < 3:
            threading.Event().wait(0.001)

    for _ in range(6):
        asleep()
        both = threading.Barrier(2)

        def draw(tile: Tile, both: threading.Barrier = both) -> None:
            both.wait(WAIT_S)
            if threading.current_thread() is not threading.main_thread():
                helpers.append(threading.get_ident())

        pool.run(draw, numbered(2))
    asleep()
    assert len(helpers) == 6
    assert len(set(helpers)) == 1
    pool.close()


def test_a_failure_reaches_the_caller_and_not_the_pool(pool: TilePool) -> None:
    def fail(tile: Tile) -> None:
        raise ZeroDivisionError("in a tile")

    with pytest.raises(ZeroDivisionError, match="in a tile"):
        pool.run(fail, numbered(4))
    drawn: list[Tile] = []
    pool.run(drawn.append, numbered(4))
    assert drawn == numbered(4)


def test_no_tiles_is_no_wait(pool: TilePool) -> None:
    pool.run(lambda tile: None, [])


def test_a_closed_pool_says_so() -> None:
    pool = TilePool(2)
    pool.close()
    with pytest.raises(DrainingError):
        pool.run(lambda tile: None, numbered(1))
    assert not any(
        thread.name.startswith("voxelcast-tile") and thread in pool._workers and thread.is_alive()
        for thread in threading.enumerate()
    )

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from render.blocking import Calls, Errand, run_blocking, run_to_end, run_unstoppable
from tests.fakes import PATIENCE_S


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


def fail() -> None:
    raise KeyError("x")


async def test_results_and_errors_come_back(pool: ThreadPoolExecutor) -> None:
    assert await run_blocking(pool, lambda: 7, threading.Event()) == 7
    assert await run_to_end(lambda: 8) == 8
    with pytest.raises(KeyError):
        await run_blocking(pool, fail, threading.Event())
    with pytest.raises(KeyError):
        await run_to_end(fail)


async def test_cancelling_tells_the_work_and_waits_for_its_end(pool: ThreadPoolExecutor) -> None:
    begun, give_up, may_end, ended = (threading.Event() for _ in range(4))

    def work() -> None:
        begun.set()
        assert give_up.wait(PATIENCE_S)
        assert may_end.wait(PATIENCE_S)
        ended.set()
        raise KeyError("nobody hears of this")

    task = asyncio.create_task(run_blocking(pool, work, give_up))
    await until(begun)
    task.cancel()
    await until(give_up)
    task.cancel()  # impatience does not help
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()


async def test_work_that_is_cancelled_in_the_queue_never_begins(pool: ThreadPoolExecutor) -> None:
    blocked, begun = threading.Event(), threading.Event()
    pool.submit(blocked.wait, PATIENCE_S)
    task = asyncio.create_task(run_blocking(pool, begun.set, threading.Event()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    blocked.set()
    pool.shutdown()
    assert not begun.is_set()


async def test_what_has_ended_when_its_task_is_cancelled_is_not_waited_for(pool: ThreadPoolExecutor) -> None:
    calls: list[Callable[[], None]] = []
    errand = Errand(fail, threading.Event(), calls.append)
    task = asyncio.create_task(errand.outcome())
    await asyncio.sleep(0)
    pool.submit(errand.run).result()
    for call in calls:
        call()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not errand.never_begins


async def test_what_the_work_used_is_let_go_of_before_its_outcome_is_told(pool: ThreadPoolExecutor) -> None:
    class Used:
        pass

    async def errand() -> tuple[Errand[int], weakref.ref[Used]]:
        used = Used()
        return Errand(lambda: len(repr(used)), threading.Event(), asyncio.get_running_loop().call_soon), weakref.ref(
            used
        )

    done, used = await errand()
    assert done.do()
    assert used() is None
    called_off, used = await errand()
    task = asyncio.create_task(called_off.outcome())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert called_off.never_begins
    assert used() is None


def test_an_errand_that_is_refused_is_not_done() -> None:
    async def refused() -> None:
        errand = Errand(lambda: 7, threading.Event(), asyncio.get_running_loop().call_soon_threadsafe)
        assert errand.refuse(KeyError("closed"))
        assert not errand.do()
        assert not errand.refuse(KeyError("again"))
        errand.tell()
        with pytest.raises(KeyError, match="closed"):
            await errand.outcome()

    asyncio.run(refused())


async def test_a_busy_loop_is_woken_once_for_all_calls_and_misses_none() -> None:
    loop = asyncio.get_running_loop()
    calls, seen = Calls(loop), []
    wakes: list[object] = []
    wake, loop.call_soon_threadsafe = loop.call_soon_threadsafe, wakes.append  # type: ignore[method-assign]
    for n in range(10):
        calls.soon(lambda n=n: seen.append(n))  # type: ignore[misc]
    assert len(wakes) == 1
    loop.call_soon_threadsafe = wake  # type: ignore[method-assign]
    wake(wakes[0])  # type: ignore[arg-type]

    def call(number: int) -> None:
        for n in range(500):
            calls.soon(lambda n=n: seen.append((number, n)))  # type: ignore[misc]

    await asyncio.gather(*(asyncio.to_thread(call, number) for number in range(4)))
    await asyncio.sleep(0)
    assert seen[:10] == list(range(10))
    assert sorted(seen[10:]) == [(number, n) for number in range(4) for n in range(500)]


async def test_short_work_is_seen_to_its_end_though_cancelled() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(PATIENCE_S)

    task = asyncio.create_task(run_to_end(work))
    await until(begun)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_unstoppable_work_tells_its_end_or_its_error() -> None:
    done: list[int] = []
    await run_unstoppable(lambda: done.append(1), "work")
    assert done == [1]

    with pytest.raises(KeyError):
        await run_unstoppable(fail, "work")


async def test_unstoppable_work_is_not_waited_for() -> None:
    go_on, begun, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(PATIENCE_S)
        ended.set()

    task = asyncio.create_task(run_unstoppable(work, "work"))
    await until(begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not ended.is_set()
    go_on.set()
    await until(ended)

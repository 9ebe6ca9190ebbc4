"""Frames in threads: who begins, who never does, and that nobody waits for ever."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from render import frame_threads
from render.blocking import Calls
from render.errors import CodecError
from render.frame import Frame
from render.frame_threads import FrameThreads
from render.residency import VolumeCache
from render.transfer import Window
from tests.fakes import PATIENCE_S, FakeRenderer, make_view

VIEW = make_view()
FRAME = Frame(VIEW, 1, 1, VIEW.plane, Window(40, 400), timings_ms={"render": 1.0})


@pytest.fixture
async def threads(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FrameThreads]:
    """Two at a time, one of each session."""
    monkeypatch.setattr(frame_threads, "THREADS", 2)
    monkeypatch.setattr(frame_threads, "FINAL_THREADS", 2)
    renderer = FakeRenderer()
    cache = VolumeCache(renderer, 1 << 20)
    threads = FrameThreads(renderer, cache)
    yield threads
    await threads.close()
    await cache.close()


class Drawing:
    """Frames that are held until they are let go, and who draws them."""

    def __init__(self, threads: FrameThreads) -> None:
        self.threads = threads
        self.begun: list[str] = []
        self.by: list[str] = []
        self.go_on = threading.Event()
        self._began = threading.Condition()

    def draw(self, key: str, error: Exception | None = None, *, is_final: bool = False) -> asyncio.Task[Frame]:
        def draw(renderer: Any, residents: Any, cancelled: Callable[[], bool]) -> Frame:
            with self._began:
                self.begun.append(key)
                self.by.append(threading.current_thread().name)
                self._began.notify_all()
            assert self.go_on.wait(PATIENCE_S)
            if error is not None:
                raise error
            return FRAME

        return asyncio.create_task(self.threads.draw(draw, (), key=key, is_final=is_final, cancelled=None))

    async def until(self, count: int) -> None:
        def wait() -> bool:
            with self._began:
                return self._began.wait_for(lambda: len(self.begun) >= count, PATIENCE_S)

        assert await asyncio.to_thread(wait)


async def test_a_frame_that_is_given_up_in_the_line_leaves_it_and_never_begins(threads: FrameThreads) -> None:
    drawing = Drawing(threads)
    held = [drawing.draw(key) for key in "ab"]
    await drawing.until(2)
    given_up, waiting = drawing.draw("c"), drawing.draw("d")
    await asyncio.sleep(0)
    assert threads._turns.waiting == 2
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert threads._turns.waiting == 1
    drawing.go_on.set()
    await asyncio.gather(*held, waiting)
    assert sorted(drawing.begun) == ["a", "b", "d"]


async def test_a_thread_goes_on_with_the_next_frame_whatever_became_of_its_own(threads: FrameThreads) -> None:
    drawing = Drawing(threads)
    first = drawing.draw("a", CodecError("no encoder"))
    await drawing.until(1)
    others = [drawing.draw("a") for _ in range(5)]  # one of a session at a time
    await asyncio.sleep(0)
    drawing.go_on.set()
    with pytest.raises(CodecError, match="no encoder"):
        await first
    frames = await asyncio.gather(*others)
    assert all(frame.timings_ms["queue"] >= 0 for frame in frames)
    assert len(set(drawing.by)) == 1


async def test_a_turn_ends_where_its_frame_was_drawn_whenever_the_loop_hears_of_it(
    threads: FrameThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hand: list[int] = []
    soon = Calls.soon

    def heard(calls: Calls, function: Callable[[], None]) -> None:
        in_hand.append(len(threads._turns._in_hand))  # else a loop that is late would be charged to the session
        soon(calls, function)

    monkeypatch.setattr(Calls, "soon", heard)
    drawing = Drawing(threads)
    drawing.go_on.set()
    await drawing.draw("a")
    assert in_hand == [0]


async def test_once_closed_a_frame_is_refused_and_its_turn_given_back(threads: FrameThreads) -> None:
    drawing = Drawing(threads)
    drawing.go_on.set()
    await drawing.draw("a")
    await threads.close()
    for _ in range(3):
        with pytest.raises(RuntimeError, match="shutdown"):
            await drawing.draw("a")
    assert threads._turns.waiting == 0
    assert drawing.begun == ["a"]

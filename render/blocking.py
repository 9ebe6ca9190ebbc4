"""Blocking work behind an event loop: in a thread, given up when its task is cancelled, and seen to its end.

Work that can't be given up is left behind when the process ends: see `run_unstoppable` and `leave`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, NoReturn, TypeVar, cast

Result = TypeVar("Result")

_unstoppable: set[threading.Thread] = set()


class Errand(Generic[Result]):
    """Work for a thread, and its outcome for the task that waits for it. Made on the event loop.

    Parameters
    ----------
    work
        Run once, or not at all.
    give_up
        Set where the waiting task is cancelled; `work` must ask it now and then.
    call
        Has a function called on the loop soon, from any thread.

    Attributes
    ----------
    never_begins
        The waiting task was cancelled before any thread had begun.
    """

    def __init__(
        self, work: Callable[[], Result], give_up: threading.Event, call: Callable[[Callable[[], None]], object]
    ) -> None:
        self.never_begins = False
        self._work: Callable[[], Result] | None = work
        self._give_up = give_up
        self._call = call
        self._claim = threading.Lock()  # taken once: by the thread that does the work, or by who calls it off
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Result] = self._loop.create_future()
        self._is_over = False
        self._over: asyncio.Future[None] | None = None
        self._result: Result | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do the work and tell its outcome, unless it was called off. Blocks."""
        if self.do():
            self.tell()

    def do(self) -> bool:
        """Do the work, unless it was called off; return whether it is for the caller to `tell` its outcome. Blocks."""
        if not self._claim.acquire(blocking=False):
            return False
        work, self._work = self._work, None  # what it uses may be freed as soon as its outcome is known
        assert work is not None
        try:
            self._result = work()
        except BaseException as error:
            self._error = error
        return True

    def refuse(self, error: Exception) -> bool:
        """Have an error come of it, unless it has begun or was called off; return whether to `tell` that."""
        if not self._claim.acquire(blocking=False):
            return False
        self._error = error
        return True

    def tell(self) -> None:
        """Let the waiting task know; from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            self._call(self._arrive)

    async def outcome(self) -> Result:
        """Return what the work returns, or raise what it raises.

        Raises
        ------
        asyncio.CancelledError
            If the waiting task was cancelled; the work has ended by then, or never begins.
        """
        try:
            return await self._outcome
        except asyncio.CancelledError:
            self._give_up.set()
            self.never_begins = self._claim.acquire(blocking=False)
            if self.never_begins:
                self._work = None
            else:
                await self._ended()
            raise
        finally:
            self._error = None  # its traceback holds this frame

    async def _ended(self) -> None:
        self._over = self._loop.create_future()
        while not self._is_over:
            with contextlib.suppress(asyncio.CancelledError):  # a second one must not free what is in use
                await asyncio.wait([self._over])

    def _arrive(self) -> None:
        self._is_over = True
        if self._over is not None:
            self._over.set_result(None)
        if self._outcome.done():  # its task was cancelled
            return
        if self._error is not None:
            self._outcome.set_exception(self._error)
        else:
            self._outcome.set_result(cast(Result, self._result))


class Calls:
    """`call_soon_threadsafe` that wakes the loop once for all that comes until it gets to it.

    Waking costs a write to a pipe and the interpreter's lock: a loop that is busy is woken by the first call alone.

    Parameters
    ----------
    loop
        On which the functions are called. None of them may raise.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: deque[Callable[[], None]] = deque()
        self._is_woken = False

    def soon(self, function: Callable[[], None]) -> None:
        """Have a function called; from any thread.

        Raises
        ------
        RuntimeError
            If the loop is closed.
        """
        self._waiting.append(function)
        if not self._is_woken:  # two threads may both see that: the second call finds nothing left
            self._is_woken = True
            self._loop.call_soon_threadsafe(self._call)

    def _call(self) -> None:
        self._is_woken = False  # first: what is added from now on may come too late for this time
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()


async def run_blocking(pool: Executor, work: Callable[[], Result], give_up: threading.Event) -> Result:
    """Run `work` in `pool` and return its result.

    Cancelling the awaiting task sets `give_up`, which `work` must ask now and then, and waits until `work` has ended:
    what it uses may be freed as soon as this returns or raises. Work that has not begun yet never begins.

    Raises
    ------
    asyncio.CancelledError
        If the task was cancelled; the result or error of `work` is dropped then.
    """
    errand = Errand(work, give_up, asyncio.get_running_loop().call_soon_threadsafe)
    pool.submit(errand.run)
    return await errand.outcome()


async def run_to_end(work: Callable[[], Result]) -> Result:
    """Run short `work` in a thread of the loop and return its result.

    Raises
    ------
    asyncio.CancelledError
        If the awaiting task was cancelled; `work` has ended by then.
    """
    outcome = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        await _ended(outcome)
        raise


async def run_unstoppable(work: Callable[[], None], name: str) -> None:
    """Run `work`, which can't be interrupted, in a thread of its own. Cancelling the task does not wait for it.

    The interpreter waits for the thread when it ends, unless it ends with `leave`.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[None] = loop.create_future()

    def tell(error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is None:
            outcome.set_result(None)
        else:
            outcome.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(tell, error)
        _unstoppable.discard(thread)

    thread = threading.Thread(target=run, name=name)
    _unstoppable.add(thread)
    thread.start()
    await outcome


def leave(status: int) -> NoReturn:
    """End the process; without tearing the interpreter down below work that can't be interrupted, which may crash."""
    if not _unstoppable:
        sys.exit(status)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


async def _ended(future: asyncio.Future[Result]) -> None:
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):  # a second cancellation must not free what is in use
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # retrieved, so that asyncio does not report it

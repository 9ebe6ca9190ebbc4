"""Blocking work behind an event loop: in a thread, given up when its task is cancelled, and seen to its end.

Work that can't be given up is left behind when the process ends: see `run_unstoppable` and `leave`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NoReturn, TypeVar

Result = TypeVar("Result")

_unstoppable: set[threading.Thread] = set()


async def run_blocking(pool: Executor, work: Callable[[], Result], give_up: threading.Event) -> Result:
    """Run `work` in `pool` and return its result.

    Cancelling the awaiting task sets `give_up`, which `work` must ask now and then, and waits until `work` has ended:
    what it uses may be freed as soon as this returns or raises. Work that has not begun yet never begins.

    Raises
    ------
    asyncio.CancelledError
        If the task was cancelled; the result or error of `work` is dropped then.
    """
    future = pool.submit(work)
    outcome = asyncio.wrap_future(future)
    try:
        return await asyncio.shield(outcome)
    except asyncio.CancelledError:
        give_up.set()
        if not future.cancel():
            await _ended(outcome)
        raise


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

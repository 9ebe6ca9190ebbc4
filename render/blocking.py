"""Blocking work behind an event loop: in a thread, given up when its task is cancelled, and always seen to its end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

Result = TypeVar("Result")


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


async def _ended(future: asyncio.Future[Result]) -> None:
    while not future.done():
        with contextlib.suppress(asyncio.CancelledError):  # a second cancellation must not free what is in use
            await asyncio.wait([future])
    if not future.cancelled():
        future.exception()  # retrieved, so that asyncio does not report it

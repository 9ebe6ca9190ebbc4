"""One process, one event loop: the engine, and gRPC, HTTP and websockets in front of it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from render.backends.base import Renderer
from render.backends.choice import choose
from render.backends.cpu import CpuRenderer, compile_kernels
from render.blocking import run_unstoppable
from render.catalog import Catalog
from render.config import Settings
from render.dicom.ingest import Ingest
from render.engine import Engine
from render.errors import DrainingError
from render.residency import VolumeCache
from render.service.grpc_server import start_grpc
from render.stream.session import SessionRegistry
from render.web.app import Compiling, create_app
from render.web.metrics import Metrics
from render.web.serve import serve_http

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""How long frames in flight may take to end once the server is told to stop."""

GIVE_UP_SECONDS = 1.0
"""How long a server that nobody has been told of may take to end: it may be in the midst of compiling a kernel."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Report = Callable[[str, int, int], None]
"""Stage, done, total; the total is 0 where it can't be told."""


@dataclass(frozen=True)
class Addresses:
    """Where a running server can be reached."""

    host: str
    http_port: int
    grpc_port: int
    scheme: str = "http"

    @property
    def page(self) -> str:
        """The address to open in a browser."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.http_port}"


class Preparation:
    """What a server is not ready without, and whether it is to stop.

    Attributes
    ----------
    waiting_for
        Names, for ``/readyz``; empty once ready.
    compiling
        For ``/progress``; None while no kernel is compiled.
    """

    def __init__(self, report: Report, loaded: Callable[[], None]) -> None:
        self.waiting_for: list[str] = []
        self.compiling: Compiling | None = None
        self._report = report
        self._loaded = loaded
        self._is_stopped = threading.Event()

    def stop(self) -> None:
        """Let what runs in the background end at its next step."""
        self._is_stopped.set()

    async def compile_kernels(self) -> None:
        """Compile, in a thread, what is not in the cache. The kernel that is being compiled can't be interrupted."""
        self.waiting_for.append("kernels")
        begun = time.monotonic()

        def progress(name: str, done: int, total: int) -> None:
            if self._is_stopped.is_set():
                raise DrainingError("the server is stopping")
            self.compiling = Compiling(done, total, time.monotonic() - begun) if done < total else None
            self._report("compiling kernels", done, total)

        with contextlib.suppress(DrainingError):
            await run_unstoppable(lambda: compile_kernels(progress), "compile-kernels")
            self._loaded()
            self.waiting_for.remove("kernels")


@contextlib.asynccontextmanager
async def running(
    settings: Settings, report: Report, loaded: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[Engine, Addresses]]:
    """Bind both ports and serve until the context ends.

    Parameters
    ----------
    settings
        As `Settings` says.
    report
        Told what the server is doing before it is ready; called from any thread.
    loaded
        Called on the event loop once all that the server will ever import and compile is there.

    Yields
    ------
    engine, addresses
        ``/healthz`` answers by now; the CPU's kernels compile in the background, if it is the CPU that draws.

    Raises
    ------
    StartupError
        If a port is in use, or the settings are refused.

    Notes
    -----
    A kernel may still be compiling when the context has ended; `render.blocking.leave` does not wait for it.
    """
    token = settings.read_token()
    tls = settings.read_tls()
    if tls is None and not settings.is_loopback:
        logger.warning("no --tls-cert: beyond this machine pictures and the token can be read on their way")
    preparation = Preparation(report, loaded)
    async with contextlib.AsyncExitStack() as stack:
        report("choosing a device", 0, 0)
        choice = await asyncio.to_thread(
            choose,
            settings.device,
            threads=settings.threads,
            budget_bytes=settings.given_budget_bytes,
            host_bytes=settings.host_memory_bytes,
        )
        renderer = stack.enter_context(contextlib.closing(choice)).renderer
        ingest = stack.enter_context(Ingest(card=_card_of(renderer)))
        cache = VolumeCache(
            renderer,
            choice.budget_bytes,
            others=choice.others,
            host_budget_bytes=choice.host_budget_bytes,
            fallback=choice.fallback,
        )
        stack.push_async_callback(cache.close)
        catalog = stack.enter_context(Catalog(settings.roots, ingest, rescan_seconds=settings.rescan_seconds or None))
        engine = Engine(renderer, cache, catalog)
        engine.choice = choice
        stack.push_async_callback(engine.close)
        sessions = SessionRegistry()
        metrics = Metrics(engine, sessions)
        app = create_app(
            engine,
            sessions=sessions,
            allowed_hosts=settings.allow_host,
            allowed_origins=settings.allow_origin,
            token=token,
            waiting_for=lambda: preparation.waiting_for,
            compiling=lambda: preparation.compiling,
            metrics=metrics,
        )
        http = await serve_http(app, settings.host, settings.http_port, tls=tls.context if tls else None)
        stack.push_async_callback(http.stop, DRAIN_SECONDS)
        grpc = await start_grpc(
            engine,
            host=settings.host,
            port=settings.grpc_port,
            token=token,
            sessions=sessions,
            tls=tls,
            answered=metrics.called,
        )
        stack.push_async_callback(grpc.stop, DRAIN_SECONDS)
        stack.push_async_callback(sessions.drain, DRAIN_SECONDS)
        if isinstance(renderer, CpuRenderer):  # one that takes over from a card compiles what it comes to use
            compiling = asyncio.create_task(preparation.compile_kernels())
            stack.callback(compiling.cancel)
            stack.callback(preparation.stop)
        else:
            loaded()
        yield engine, Addresses(settings.host, http.port, grpc.port, "https" if tls else "http")


def _card_of(renderer: Renderer) -> int | None:
    """Return which card a renderer draws on; None for a CPU."""
    kind, _, number = renderer.device.partition(":")
    return int(number) if kind == "cuda" else None


async def serve(
    settings: Settings,
    *,
    report: Report,
    prepare: Callable[[Engine], Awaitable[None]],
    announce: Callable[[Addresses], None],
) -> int:
    """Serve until SIGINT or SIGTERM, then drain. A second signal ends the process at once.

    Parameters
    ----------
    settings, report
        As in `running`.
    prepare
        Run once both ports answer, before `announce`; what it raises ends the server.
    announce
        Told the addresses when the first picture can be asked for.

    Returns
    -------
    int
        The exit status: 0 after draining; 128 and the signal's number if it came before `announce`, where the process
        also ends by itself with that status if the orderly end takes too long.
    """
    stopped: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    is_announced = False

    def stop(number: int) -> None:
        if stopped.done():  # two at once
            _end(number)
        for each in _SIGNALS:
            signal.signal(each, _end)
        if not is_announced:
            giving_up = threading.Timer(GIVE_UP_SECONDS, _end, (number,))
            giving_up.daemon = True
            giving_up.start()
        stopped.set_result(number)

    for number in _SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    async with running(settings, report, settle) as (engine, addresses):
        preparing = asyncio.ensure_future(prepare(engine))
        either: set[asyncio.Future[Any]] = {preparing, stopped}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if preparing.done() and not stopped.done():
            preparing.result()
            is_announced = True
            announce(addresses)
            await stopped
        preparing.cancel()
        logger.info("draining" if is_announced else "stopping")
    return 0 if is_announced else 128 + stopped.result()


def settle() -> None:
    """Leave all that there is now out of garbage collections.

    Modules and kernels are hundreds of thousands of objects that stay, and to look through them takes a twentieth of a
    second in which nothing else runs: such a collection comes whenever a large folder has been scanned.
    """
    gc.collect()
    gc.freeze()


def _end(number: int, frame: object = None) -> None:
    """End the process as the signal would, whatever its threads do; the kernel lets go of ports and memory."""
    os._exit(128 + number)

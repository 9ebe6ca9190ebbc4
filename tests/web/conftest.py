"""A real server on loopback for the page's tests, and a browser to open it with."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pytest
from google.protobuf import json_format

from render.backends.cpu.renderer import CpuRenderer
from render.config import Settings
from render.demo import torso_volume
from render.encoding.values import quantise
from render.geometry import VolumeGeometry
from render.server import running
from render.service.convert.views import view_from_proto
from render.v1 import view_pb2
from render.volume import Volume, VolumeInfo
from tests.web.page import ViewerPage, opened

CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A name that is not loopback, as on a LAN: over HTTP it is no secure context.
    "--host-resolver-rules=MAP viewer.test 127.0.0.1",
]
TORSO_SHAPE = (60, 96, 96)


class PageServer:
    """The whole server on a thread of its own, with volumes in memory."""

    def __init__(
        self, *volumes: Volume, port: int = 0, token_file: Path | None = None, roots: tuple[Path, ...] = ()
    ) -> None:
        self._volumes = volumes
        self._settings = Settings(
            http_port=port, grpc_port=0, token_file=token_file, threads=2, allow_host=("viewer.test",), roots=roots
        )
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="page-server")
        self._thread.start()
        self._ready.wait()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        try:
            async with running(self._settings, lambda stage, done, total: None) as (engine, addresses):
                self.engine = engine
                for volume in self._volumes:
                    await engine.add(volume)
                self.port = addresses.http_port
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def add(self, volume: Volume) -> None:
        asyncio.run_coroutine_threadsafe(self.engine.add(volume), self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()


class Oracle:
    """What the canvas must hold: the renderer's own frame of a view, through the server's own arithmetic."""

    def __init__(self, volume: Volume) -> None:
        self._renderer = CpuRenderer(2)
        self._resident = {volume.id: self._renderer.upload(volume)}

    def picture(self, view: dict[str, Any], **window: float) -> npt.NDArray[np.uint8]:
        """Return gray ``(H, W)`` or RGB ``(H, W, 3)``, uint8, of a View in JSON; `window` changes its figures."""
        message = json_format.ParseDict(view, view_pb2.View())
        for name, value in window.items():
            setattr(message.layers[0].window, name, value)
        frame = self._renderer.render(view_from_proto(message), self._resident)
        if frame.values is None:
            return frame.picture()
        codes, slope, intercept = quantise(frame.values, frame.units)
        values = np.where(codes == 65535, np.nan, codes * slope + intercept)
        return frame.window.to_gray8(values, invert=frame.inverted)

    def value(self, view: dict[str, Any], column: int, row: int) -> float:
        frame = self._renderer.render(view_from_proto(json_format.ParseDict(view, view_pb2.View())), self._resident)
        assert frame.values is not None
        return float(frame.values[row, column])

    def close(self) -> None:
        self._renderer.close()


def missing(request: pytest.FixtureRequest, message: str) -> NoReturn:
    """Skip, or fail where browsers are required."""
    if request.config.getoption("--require-browser"):
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def torso() -> Volume:
    return torso_volume(TORSO_SHAPE)


@pytest.fixture(scope="session")
def page_server(torso: Volume) -> Iterator[PageServer]:
    """Serve one volume."""
    server = PageServer(torso)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def two_volumes_server(torso: Volume) -> Iterator[PageServer]:
    k, j, i = np.mgrid[:24, :32, :40]
    geometry = VolumeGeometry((24, 32, 40), np.diag([2.0, 2.0, 2.0, 1.0]))
    info = VolumeInfo(modality="MR", lossy_source=True)
    ramp = Volume("ramp", geometry, (20 * i - 15 * j + 30 * k).astype(np.int16), info=info)
    server = PageServer(torso, ramp)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def oracle(torso: Volume) -> Iterator[Oracle]:
    with contextlib.closing(Oracle(torso)) as made:
        yield made


@pytest.fixture(scope="module")
def chromium(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Debian's Chromium, driven by Playwright, whose event loop must have ended when asynchronous tests begin."""
    executable = shutil.which("chromium")
    if executable is None:
        missing(request, "no Chromium: apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing(request, "no Playwright: pip install '.[test]'")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def viewer(chromium: Any, page_server: PageServer) -> Iterator[ViewerPage]:
    """Return the page with a volume whose first pictures have been painted."""
    with opened(chromium, page_server.url) as page:
        page.settle()
        yield page
        assert page.problems == []

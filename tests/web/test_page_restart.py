"""The page while its server is killed and started again, as a process of its own."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from render.dicom.ingest import Ingest
from render.dicom.series import select
from tests.test_server import Started
from tests.web.conftest import Oracle
from tests.web.page import PANES, assert_exact, opened

pytestmark = pytest.mark.browser


@pytest.fixture
def oracle_of_series(small_series: Path) -> Iterator[Oracle]:
    with Ingest() as ingest:
        volume = ingest.load(select(ingest.scan(small_series)))
    with contextlib.closing(Oracle(volume)) as made:
        yield made


@contextlib.contextmanager
def serving(folder: Path, port: int = 0) -> Iterator[tuple[Started, str]]:
    started = Started("serve", folder, "--http-port", str(port), "--grpc-port", "0", "--threads", "2")
    try:
        yield started, started.address()
    finally:
        if started.process.poll() is None:
            started.interrupt(signal.SIGKILL)
        started.wait()


def test_it_comes_back_after_its_server_was_killed_in_the_middle(
    chromium: Any, small_series: Path, oracle_of_series: Oracle
) -> None:
    with contextlib.ExitStack() as pages:
        with serving(small_series) as (first, url):
            viewer = pages.enter_context(opened(chromium, url))
            before = viewer.settle()["traffic"]["framesReceived"]
            viewer.drag("3d", 60, 10)
            # Killed while frames are drawn and sent: no drain, no close, no word.
            viewer.wait(lambda state: state["traffic"]["framesReceived"] > before)
            first.process.kill()
            assert first.process.wait(30) == -signal.SIGKILL
            wait_until_gone(first.process.pid)
        viewer.wait(lambda state: state["status"] == "waiting")
        viewer.page.get_by_text("Not live: ").wait_for()
        viewer.drag("3d", 40, 20)  # while nobody answers: this is what must be painted in the end
        viewer.drag("axial", 30, 5)
        turned = viewer.view("3d")
        with serving(small_series, int(url.rpartition(":")[2])):
            viewer.wait(lambda state: all(pane["live"] for pane in state["panes"].values()))
            state = viewer.settle()
            assert state["epoch"] == 1, "the new server knows no token of the old one"
            assert viewer.view("3d") == turned
            for pane in PANES:
                assert viewer.text(pane, "badge.lossless") == "LOSSLESS"
                assert_exact(viewer, oracle_of_series, pane)
            assert not viewer.page.locator("#stale").is_visible()


def wait_until_gone(group: int) -> None:
    """Wait until no process of a group runs any more: workers notice that there is nobody to work for."""
    end = time.monotonic() + 30
    while any(is_running_in(group, stat) for stat in Path("/proc").glob("[0-9]*/stat")):
        assert time.monotonic() < end, "worker processes outlive the server"
        time.sleep(0.05)


def is_running_in(group: int, stat: Path) -> bool:
    try:
        state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
    except OSError:
        return False  # it has just ended
    return int(its_group) == group and state != "Z"  # not every container's first process reaps the others

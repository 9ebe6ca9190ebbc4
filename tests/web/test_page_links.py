"""The page behind slow links and bad proxies, and two of it on the same views."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.stream_link import LinkEmulator, LinkSettings
from render.stream.pacing import MAX_CAP_BYTES
from tests.web.conftest import Oracle, PageServer
from tests.web.page import PANES, ViewerPage, assert_exact, opened
from tests.web.proxy import Proxy

pytestmark = pytest.mark.browser

SLOW = LinkSettings(2, 40)
QUICK_TEST_SETTINGS = LinkSettings(50, 2)


@contextlib.contextmanager
def link(server: PageServer, settings: LinkSettings) -> Iterator[tuple[LinkEmulator, str]]:
    with contextlib.closing(LinkEmulator(server.port, settings)) as emulator:
        yield emulator, f"http://127.0.0.1:{emulator.port}/"


def test_it_is_turned_through_a_slow_link_and_rests_exact(
    chromium: Any, page_server: PageServer, oracle: Oracle
) -> None:
    # The page's files and its first pictures come quickly: what is tried is the stream.
    with link(page_server, QUICK_TEST_SETTINGS) as (emulator, url), opened(chromium, url) as viewer:
        viewer.settle()
        emulator.set(SLOW)
        before = viewer.inspect()["traffic"]["framesReceived"]
        for _ in range(6):
            viewer.drag("3d", 60, 15)
        assert not viewer.inspect()["panes"]["3d"]["settled"]
        state = viewer.settle()
        assert state["traffic"]["framesReceived"] > before + 2, "something was seen while it turned"
        assert viewer.text("3d", "badge.lossless") == "LOSSLESS"
        for pane in PANES:
            assert_exact(viewer, oracle, pane)
        # Nothing goes over the link while the window is dragged.
        sent, received = len(viewer.sent), state["traffic"]["bytesReceived"]
        viewer.drag("axial", 50, 20)
        viewer.page.wait_for_timeout(100)
        assert len(viewer.sent) == sent
        assert viewer.inspect()["traffic"]["bytesReceived"] == received
        assert_exact(viewer, oracle, "axial")


def share(driver: ViewerPage) -> str:
    driver.page.get_by_role("button", name="Share").click()
    state = driver.wait(lambda state: state["sharing"])
    return f"#watch={state['sharing']['share_id']}"


def same_views(one: ViewerPage, other: ViewerPage) -> bool:
    return all(one.view(pane) == other.view(pane) for pane in PANES)


def test_one_drives_and_one_behind_a_slow_link_watches(chromium: Any, page_server: PageServer, oracle: Oracle) -> None:
    with (
        link(page_server, QUICK_TEST_SETTINGS) as (emulator, slow_url),
        opened(chromium, page_server.url) as driver,
    ):
        driver.settle()
        fragment = share(driver)
        with opened(chromium, slow_url + fragment, viewport={"width": 760, "height": 800}) as watcher:
            watcher.settle()
            driver.wait(lambda state: state["sharing"]["participants"] == 2)
            assert driver.page.get_by_role("button", name="You drive · 1 watching").is_visible()
            emulator.set(SLOW)
            for _ in range(4):
                driver.drag("3d", 50, 20)
            driver.drag("sagittal", 30, -10)  # a window is seen by both
            driver.settle()
            for pane in PANES:
                assert_exact(driver, oracle, pane)
            watcher.wait(lambda _: same_views(driver, watcher))
            watcher.settle()
            for pane in PANES:
                assert watcher.view(pane) == driver.view(pane), pane
                assert_exact(watcher, oracle, pane)
            # Who watches moves nothing,
            before = watcher.view("3d"), watcher.views_sent
            watcher.drag("3d", 40, 0)
            watcher.page.keyboard.press("ArrowDown")
            assert (watcher.view("3d"), watcher.views_sent) == before
            # until it takes the wheel; then the other one watches.
            watcher.page.get_by_role("button", name="Watching: take the wheel").click()
            driver.wait(lambda state: state["watching"])
            watcher.wait(lambda state: not state["watching"])
            watcher.drag("3d", -70, 0)
            for page in (watcher, driver):
                page.wait(lambda _: same_views(watcher, driver))
                page.settle()
                for pane in PANES:
                    assert_exact(page, oracle, pane)
            assert watcher.problems == driver.problems == []


def test_a_link_to_nothing_says_so(chromium: Any, page_server: PageServer) -> None:
    with opened(chromium, page_server.url + "#watch=gone") as viewer:
        viewer.page.get_by_text("Nobody shares anything under this link any more.").wait_for()
        assert not viewer.inspect()["watching"]


def set_visible(viewer: ViewerPage, visible: bool) -> None:
    viewer.page.evaluate(
        """(state) => {
          Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
          document.dispatchEvent(new Event("visibilitychange"));
        }""",
        "visible" if visible else "hidden",
    )


def test_a_hidden_page_gets_nothing_and_wakes_exact(chromium: Any, page_server: PageServer, oracle: Oracle) -> None:
    with opened(chromium, page_server.url) as viewer:
        before = viewer.settle()["traffic"]["framesReceived"]
        set_visible(viewer, False)
        viewer.drag("3d", 60, 10)
        viewer.page.wait_for_timeout(400)  # longer than it takes to rest
        state = viewer.inspect()
        assert state["traffic"]["framesReceived"] == before
        assert not state["panes"]["3d"]["settled"]
        set_visible(viewer, True)
        viewer.settle()
        assert_exact(viewer, oracle, "3d")


def test_it_notices_after_a_sleep_that_its_socket_died_in_silence(
    chromium: Any, page_server: PageServer, oracle: Oracle
) -> None:
    with (
        contextlib.closing(Proxy(page_server.port)) as proxy,
        opened(chromium, f"http://127.0.0.1:{proxy.port}/") as viewer,
    ):
        viewer.page.clock.install()
        viewer.settle()
        proxy.fall_silent()
        viewer.drag("3d", 60, 10)
        assert viewer.inspect()["status"] == "live", "nobody has told it"
        viewer.page.clock.fast_forward("01:00:00")  # the lid is closed, and opened again
        viewer.wait(lambda _: any("ping" in message for message in viewer.sent))
        viewer.page.clock.run_for(2_000)
        state = viewer.wait(lambda state: state["epoch"] == 2)
        assert state["status"] == "live"
        viewer.settle()
        for pane in PANES:
            assert_exact(viewer, oracle, pane)
        assert viewer.problems == []


@pytest.mark.parametrize(
    "event",
    [
        "window.dispatchEvent(new Event('online'))",
        "window.dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))",
        "document.dispatchEvent(new Event('resume'))",
        "document.dispatchEvent(new Event('visibilitychange'))",
    ],
)
def test_whatever_tells_that_it_woke_has_it_ask_at_once(viewer: ViewerPage, event: str) -> None:
    assert not any("ping" in message for message in viewer.sent)
    viewer.page.evaluate(event)
    viewer.wait(lambda _: any("ping" in message for message in viewer.sent))


def test_behind_a_proxy_that_collects_nothing_builds_up_and_it_rests_exact(
    chromium: Any, page_server: PageServer, oracle: Oracle
) -> None:
    with (
        contextlib.closing(Proxy(page_server.port, collect_s=0.5)) as proxy,
        opened(chromium, f"http://127.0.0.1:{proxy.port}/") as viewer,
    ):
        viewer.settle()
        before = viewer.inspect()["traffic"]["bytesReceived"]
        for _ in range(10):
            viewer.drag("3d", 60, 15)
            viewer.page.wait_for_timeout(300)  # all in all several times longer than the proxy collects
        state = viewer.settle()
        assert state["epoch"] == 1, "its own pings came through"
        assert state["traffic"]["bytesReceived"] > before
        assert 0 < proxy.most_held_bytes < MAX_CAP_BYTES
        for pane in PANES:
            assert viewer.text(pane, "badge.lossless") == "LOSSLESS"
            assert_exact(viewer, oracle, pane)

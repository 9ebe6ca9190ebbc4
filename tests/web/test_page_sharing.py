"""Two of the page on the same views: who drives, who watches, and how it ends."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.web.conftest import Oracle, PageServer
from tests.web.page import PANES, ViewerPage, assert_exact, opened

pytestmark = pytest.mark.browser

WIDE, TALL = {"width": 900, "height": 700}, {"width": 720, "height": 900}


@contextlib.contextmanager
def two(chromium: Any, server: PageServer) -> Iterator[tuple[ViewerPage, ViewerPage, str]]:
    """Yield who drives, who watches on another screen, and the link."""
    with opened(chromium, server.url, viewport=WIDE) as driver:
        driver.settle()
        driver.page.get_by_role("button", name="Share").click()
        link = driver.page.get_by_label("Link to watch")
        link.wait_for()
        with opened(chromium, link.input_value(), viewport=TALL) as watcher:
            watcher.settle()
            driver.page.locator("#share-count").get_by_text("1 watching").wait_for()
            yield driver, watcher, link.input_value()
            assert driver.problems == watcher.problems == []


def test_who_drives_ends_it_and_each_goes_on_alone(chromium: Any, page_server: PageServer, oracle: Oracle) -> None:
    with two(chromium, page_server) as (driver, watcher, link):
        driver.page.get_by_role("button", name="Stop sharing").click()
        watcher.wait(lambda state: not state["watching"])
        driver.wait(lambda state: state["sharing"] is None)
        assert watcher.page.get_by_text("You go on by yourself").is_visible()
        assert driver.page.get_by_text("Sharing has ended").is_visible()
        assert not driver.page.get_by_label("Link to watch").is_visible()
        assert driver.page.get_by_role("button", name="Share").is_visible()
        assert "#volume=" in watcher.page.url
        before = driver.view("3d")
        watcher.drag("3d", 60, 10)
        watcher.settle()
        assert driver.view("3d") == before
        assert_exact(watcher, oracle, "3d")
        with opened(chromium, link) as late:
            # In the list itself: what is said behind it can't be read.
            late.page.get_by_role("dialog", name="Series").get_by_text("Nobody shares anything").wait_for()


def test_who_watches_leaves_alone(chromium: Any, page_server: PageServer) -> None:
    with two(chromium, page_server) as (driver, watcher, _):
        watcher.page.get_by_role("button", name="Leave").click()
        driver.page.locator("#share-count").get_by_text("0 watching").wait_for()
        watcher.wait(lambda state: not state["watching"])
        assert driver.inspect()["sharing"]["driving"]
        assert not watcher.page.get_by_role("button", name="Leave").is_visible()


def test_who_takes_the_wheel_sees_as_much_on_another_screen(
    chromium: Any, page_server: PageServer, oracle: Oracle
) -> None:
    with two(chromium, page_server) as (driver, watcher, _), opened(chromium, page_server.url, viewport=TALL) as alone:
        alone.settle()
        watcher.page.get_by_role("button", name="Watching: take the wheel").click()
        watcher.wait(lambda state: not state["watching"])
        watcher.settle()
        for pane in PANES:
            own, fitted = watcher.view(pane), alone.view(pane)
            assert own["viewport"] == fitted["viewport"]
            assert own["camera"]["parallel_scale_mm"] == pytest.approx(fitted["camera"]["parallel_scale_mm"])
            assert_exact(watcher, oracle, pane)
        driver.wait(lambda state: state["watching"])


def test_the_link_is_copied_over_plain_http_too(chromium: Any, page_server: PageServer) -> None:
    lan = page_server.url.replace("127.0.0.1", "viewer.test")
    with opened(chromium, lan) as viewer:
        viewer.settle()
        assert not viewer.page.evaluate("isSecureContext")
        viewer.page.get_by_role("button", name="Share").click()
        viewer.page.get_by_role("button", name="Copy").click()
        viewer.page.get_by_role("button", name="Copied").wait_for()
        viewer.page.evaluate("document.body.append(Object.assign(document.createElement('textarea'), {id: 'paste'}))")
        viewer.page.locator("#paste").focus()
        viewer.page.keyboard.press("Control+v")
        assert viewer.page.locator("#paste").input_value() == viewer.page.get_by_label("Link to watch").input_value()


def test_escape_closes_the_panel_and_sharing_goes_on(viewer: ViewerPage) -> None:
    viewer.page.get_by_role("button", name="Share").click()
    panel = viewer.page.get_by_role("region", name="Sharing")
    panel.wait_for()
    viewer.page.keyboard.press("Escape")
    assert not panel.is_visible()
    button = viewer.page.get_by_role("button", name="You drive · 0 watching")
    button.click()
    assert panel.is_visible()
    panel.get_by_role("button", name="Close").click()
    assert not panel.is_visible()
    button.click()
    panel.get_by_role("button", name="Stop sharing").click()
    viewer.wait(lambda state: state["sharing"] is None)

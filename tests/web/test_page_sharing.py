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


def test_what_is_drawn_over_the_picture_fits_it_on_another_screen(chromium: Any, page_server: PageServer) -> None:
    with two(chromium, page_server) as (driver, watcher, _):
        x, y = driver.center("axial")
        driver.page.mouse.click(x + 40, y - 25)
        driver.settle()
        watcher.wait(lambda _: all(driver.view(pane) == watcher.view(pane) for pane in PANES))
        watcher.settle()
        view, box = watcher.view("axial"), watcher.stage("axial").bounding_box()
        camera, viewport = view["camera"], view["viewport"]
        # The picture is as large as it can be without being stretched.
        scale = min(box["width"] / viewport["width_px"], box["height"] / viewport["height_px"])
        mm = 2 * camera["parallel_scale_mm"] / viewport["height_px"] / scale
        assert scale * viewport["height_px"] < 0.8 * box["height"], "there are margins"
        crosshair = driver.inspect()["crosshair"]
        assert watcher.inspect()["crosshair"] == pytest.approx(crosshair)
        shown = watcher.page.locator("[data-pane='axial'] .crosshair-center").evaluate(
            "(circle) => [circle.cx.baseVal.value, circle.cy.baseVal.value]"
        )
        look_at = camera["look_at"]
        expected = [
            box["width"] / 2 + (crosshair[0] - look_at["x"]) / mm,
            box["height"] / 2 + (crosshair[1] - look_at["y"]) / mm,
        ]
        assert shown == pytest.approx(expected, abs=1)
        assert watcher.page.locator("[data-pane='axial'] .crosshair-center").is_visible()
        length = watcher.page.locator("[data-pane='axial'] .scale-bar").evaluate("(bar) => bar.getBBox().width")
        text = watcher.page.locator("[data-pane='axial'] .scale-text").text_content()
        assert text.endswith(" cm")
        assert length * mm == pytest.approx(10 * float(text.removesuffix(" cm")), rel=0.01)


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

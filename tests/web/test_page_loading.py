"""The page on a volume whose slices arrive when the test says so."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from render.backends.cpu.renderer import WARM, CpuRenderer
from render.errors import CodecError
from render.frame import Frame
from render.growth import Span
from render.view import View
from render.volume import Volume
from tests.stream.test_growing import SlowSource
from tests.web.conftest import TORSO_SHAPE, Oracle, PageServer
from tests.web.page import PANES, ViewerPage, assert_exact, opened

pytestmark = pytest.mark.browser

SLICES = TORSO_SHAPE[0]


@pytest.fixture
def loading(torso: Volume, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PageServer, SlowSource]]:
    server, source = PageServer(torso), SlowSource(torso)
    monkeypatch.setattr(server.engine.catalog, "loader", lambda entry: source)
    yield server, source
    source.steps.put(CodecError("the test has ended"))  # whoever still waits for a slice
    server.stop()


def says(viewer: ViewerPage, text: str, *panes: str) -> None:
    """Wait until panes say how much is there."""
    for pane in panes or PANES:
        badge = viewer.page.locator(f"[data-pane='{pane}'] .badge.missing")
        badge.filter(has_text=text).wait_for()


def test_it_says_what_is_missing_and_calls_nothing_lossless_before_all_is_there(
    chromium: Any, loading: tuple[PageServer, SlowSource], oracle: Oracle
) -> None:
    server, source = loading
    source.steps.put((20, 40))
    with opened(chromium, server.url) as viewer:
        says(viewer, f"loading 20 of {SLICES} slices")
        viewer.wait(lambda state: all(pane["lastHeader"] for pane in state["panes"].values()))
        source.steps.put((0, 20))
        says(viewer, f"loading 40 of {SLICES} slices")
        for pane in PANES:
            assert viewer.page.locator(f"[data-pane='{pane}'] .badge.lossless").count() == 0
            assert not viewer.inspect()["panes"][pane]["settled"]
        # It is scrolled and turned meanwhile, as always.
        viewer.drag("3d", 60, 10)
        viewer.page.wait_for_timeout(100)
        assert not viewer.inspect()["panes"]["3d"]["settled"]
        source.steps.put((40, SLICES))
        viewer.settle()
        for pane in PANES:
            assert not viewer.page.locator(f"[data-pane='{pane}'] .badge.missing").is_visible()
            assert viewer.text(pane, "badge.lossless") == "LOSSLESS"
            assert_exact(viewer, oracle, pane)
        assert viewer.problems == []


def test_it_says_that_a_first_picture_takes_a_moment(
    chromium: Any, torso: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where kernels have yet to be compiled."""
    server, may_draw = PageServer(torso), threading.Event()
    render = CpuRenderer.render

    def late(renderer: CpuRenderer, view: View, *args: Any, **options: Any) -> Frame:
        if view.viewport != WARM:  # what an upload draws
            may_draw.wait()
        return render(renderer, view, *args, **options)

    monkeypatch.setattr(CpuRenderer, "render", late)
    try:
        with opened(chromium, server.url) as viewer:
            awaited = viewer.page.locator(".stage.awaited")
            awaited.nth(len(PANES) - 1).wait_for()
            said = viewer.page.evaluate("getComputedStyle(document.querySelector('.awaited'), '::after').content")
            assert "first picture" in said
            told = {"compiling": {"done": 5, "total": 20, "seconds": 9.0}}
            viewer.page.route("**/progress", lambda route: route.fulfill(json=told))
            said_now = ".stage.awaited[data-wait*='5 of 20 parts. A picture needs a few of them: about 10 s']"
            viewer.page.locator(said_now).nth(len(PANES) - 1).wait_for()
            may_draw.set()
            viewer.settle()
            assert awaited.count() == 0
    finally:
        may_draw.set()
        server.stop()


def wanted(source: SlowSource) -> list[Span]:
    return [] if source.growth is None else source.growth.wanted.spans()


def is_at_an_end(span: Span) -> bool:
    """Tell what the axial plane wants at the volume's end from what the others want: all of it."""
    return span[1] - span[0] <= 2 and (span[0] == 0 or span[1] == SLICES)


def test_what_it_scrolls_to_is_loaded_next(chromium: Any, loading: tuple[PageServer, SlowSource]) -> None:
    server, source = loading
    source.steps.put((25, 35))
    with opened(chromium, server.url) as viewer:
        says(viewer, f"loading 10 of {SLICES} slices")
        assert not any(is_at_an_end(span) for span in wanted(source))
        viewer.page.mouse.move(*viewer.center("axial"))
        before = viewer.view("axial")["camera"]["look_at"]["z"]
        viewer.page.keyboard.press("Home")
        viewer.wait(lambda _: viewer.view("axial")["camera"]["look_at"]["z"] != before)
        viewer.wait(lambda _: any(is_at_an_end(span) for span in wanted(source)))
        source.steps.put((0, 25))
        source.steps.put((35, SLICES))
        viewer.settle()


def test_a_series_that_breaks_half_way_says_so(chromium: Any, loading: tuple[PageServer, SlowSource]) -> None:
    server, source = loading
    source.steps.put((20, 40))
    with opened(chromium, server.url) as viewer:
        says(viewer, f"loading 20 of {SLICES} slices")
        source.steps.put(CodecError("a slice is damaged"))
        viewer.page.get_by_text("a slice is damaged").first.wait_for()
        assert all(not pane["settled"] for pane in viewer.inspect()["panes"].values())

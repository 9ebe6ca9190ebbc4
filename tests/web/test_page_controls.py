"""Panes, menus and dialogs of the page in Chromium; a phone."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from render.geometry import VolumeGeometry
from render.volume import Volume, VolumeInfo
from tests.web.conftest import Oracle, PageServer
from tests.web.page import PANES, ViewerPage, assert_exact, opened

pytestmark = pytest.mark.browser


def test_slab_and_projections(viewer: ViewerPage, oracle: Oracle) -> None:
    viewer.page.get_by_label("Axial: projection").select_option("MIP")
    viewer.page.get_by_label("Axial: slab thickness in mm").fill("25")
    viewer.page.get_by_label("3D: projection").select_option("MIP")
    viewer.settle()
    view = viewer.view("axial")
    assert (view["rendering_method"], view["slab_mm"]) == ("RENDERING_METHOD_MAXIMUM_IP", 25)
    assert viewer.view("3d")["rendering_method"] == "RENDERING_METHOD_MAXIMUM_IP"
    assert "slab_mm" not in viewer.view("3d")
    for pane in ("axial", "3d"):
        assert_exact(viewer, oracle, pane)
    viewer.page.get_by_label("3D: projection").select_option("VR")
    viewer.page.get_by_label("Volume rendering preset").select_option("CT Lung")
    viewer.settle()
    viewer.page.get_by_label("Shift of the preset").fill("0.1")
    viewer.settle()
    transfer = viewer.view("3d")["layers"][0]["transfer_function"]
    assert transfer["preset"] == "CT-Lung"
    assert viewer.text("3d", "window-text") == f"Shift +{transfer['shift']:.0f}"
    assert_exact(viewer, oracle, "3d")


def test_the_window_of_a_projection_has_its_name_and_one_that_is_dragged_its_figures(viewer: ViewerPage) -> None:
    def chosen() -> list[str]:
        return str(viewer.page.locator("#windows option:checked").text_content()).split()

    mode = viewer.page.get_by_label("3D: projection")
    for method in ("MIP", "MinIP"):
        mode.select_option(method)
        viewer.settle()
        assert chosen() == [method, *viewer.text("3d", "window-text").split()]
        assert viewer.page.locator("#windows-name").text_content() == method
    viewer.drag("axial", 60, 25)
    viewer.settle()
    assert chosen() == ["Custom", *viewer.text("axial", "window-text").split()]


def test_a_colour_picture_has_neither_window_nor_inversion_nor_slices(viewer: ViewerPage) -> None:
    viewer.page.mouse.click(*viewer.center("3d"))
    before = viewer.view("3d")
    viewer.page.keyboard.press("i")
    viewer.page.keyboard.press("2")
    viewer.page.keyboard.press("PageDown")
    assert viewer.view("3d") == before
    viewer.page.get_by_label("3D: projection").select_option("MIP")
    viewer.page.mouse.click(*viewer.center("3d"))
    viewer.page.keyboard.press("i")
    assert viewer.view("3d")["layers"][0]["invert"]
    viewer.settle()


def test_a_double_click_shows_one_pane_and_all_again(viewer: ViewerPage, oracle: Oracle) -> None:
    crosshair = viewer.inspect()["crosshair"]
    x, y = viewer.center("coronal")
    viewer.page.mouse.dblclick(x + 50, y + 10)
    viewer.wait(lambda _: viewer.view("coronal")["viewport"]["width_px"] == 900)
    state = viewer.settle()
    assert state["maximised"] == "coronal"
    assert state["crosshair"] == pytest.approx(crosshair)
    assert not viewer.stage("axial").is_visible()
    assert_exact(viewer, oracle, "coronal")
    viewer.page.keyboard.press("Escape")
    viewer.wait(lambda _: viewer.view("coronal")["viewport"]["width_px"] < 900)
    assert viewer.settle()["maximised"] is None
    assert_exact(viewer, oracle, "coronal")


def test_space_resets(viewer: ViewerPage) -> None:
    before = [viewer.view(pane) for pane in PANES]
    viewer.drag("axial", 60, 25)
    viewer.drag("3d", 60, 25)
    viewer.drag("coronal", 0, -50, button="right")
    viewer.settle()
    assert [viewer.view(pane) for pane in PANES] != before
    viewer.page.keyboard.press(" ")
    viewer.settle()
    assert [viewer.view(pane) for pane in PANES] == before


def test_the_question_mark_lists_the_keys(viewer: ViewerPage) -> None:
    listed = viewer.page.get_by_role("dialog", name="Mouse, touch and keys")
    for close in ("Escape", "?"):
        viewer.page.keyboard.press("?")
        assert listed.is_visible()
        assert listed.get_by_text("not for diagnosis").is_visible()
        viewer.page.keyboard.press(close)
        assert not listed.is_visible()
    viewer.page.keyboard.press("?")
    listed.get_by_role("button", name="Close").click()
    assert not listed.is_visible()


def test_a_panes_controls_make_it_the_active_one(viewer: ViewerPage) -> None:
    active = viewer.page.locator(".pane.active")
    assert active.get_attribute("data-pane") == "axial"
    viewer.page.get_by_label("Coronal: projection").select_option("MIP")
    assert active.get_attribute("data-pane") == "coronal"
    before = viewer.view("axial")["camera"]
    viewer.page.get_by_label("Coronal: slab thickness in mm").focus()
    viewer.page.locator("[data-pane='sagittal'] .mode").dispatch_event("pointerdown")
    assert active.get_attribute("data-pane") == "sagittal"
    assert viewer.view("axial")["camera"] == before


def test_one_slice_is_one_pane(chromium: Any, torso: Any) -> None:
    # Columns to the left, rows to the feet: coronal, as a scout is.
    affine = np.array([[2.0, 0, 0, 0], [0, 0, 40.0, 0], [0, -2.0, 0, 0], [0, 0, 0, 1]])
    values = (np.arange(64)[:, None] * 3 + np.arange(48)).astype(np.int16)[None]
    scout = Volume("scout", VolumeGeometry((1, 64, 48), affine), values, info=VolumeInfo(modality="CT"))
    server = PageServer(torso, scout)
    try:
        with (
            opened(chromium, f"{server.url}#volume=scout") as viewer,
            contextlib.closing(Oracle(scout)) as scout_oracle,
        ):
            assert viewer.wait(lambda state: state["maximised"])["maximised"] == "coronal"
            viewer.settle()
            assert_exact(viewer, scout_oracle, "coronal")
            viewer.page.keyboard.press("Escape")
            x, y = viewer.center("coronal")
            viewer.page.mouse.dblclick(x + 50, y + 10)
            state = viewer.settle()
            assert state["maximised"] == "coronal"
            assert [pane["view"] is None for pane in state["panes"].values()] == [True, True, False, True]
            viewer.page.keyboard.press(" ")
            viewer.settle()
            # And all panes again for a volume that has them.
            viewer.page.get_by_role("button", name="Choose a series").click()
            viewer.page.locator(".volume").filter(has_text="Procedural torso").click()
            viewer.wait(lambda state: state["maximised"] is None and state["panes"]["axial"]["view"])
            viewer.settle()
            assert viewer.stage("axial").is_visible()
            assert viewer.problems == []
    finally:
        server.stop()


def test_every_control_has_a_name(viewer: ViewerPage) -> None:
    nameless = viewer.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, [role]")].filter((control) =>
          !(control.ariaLabel || control.getAttribute("aria-labelledby") || control.textContent.trim() ||
            control.labels?.length || control.matches("[role=status], [role=alert]"))).map((c) => c.outerHTML)"""
    )
    assert nameless == []


def test_a_phone_by_touch(chromium: Any, page_server: PageServer, oracle: Oracle) -> None:
    phone = {"viewport": {"width": 375, "height": 812}, "has_touch": True, "is_mobile": True, "device_scale_factor": 2}
    with opened(chromium, page_server.url, **phone) as viewer:
        viewer.settle()
        touch = viewer.page.context.new_cdp_session(viewer.page)

        def fingers(*paths: list[tuple[float, float]]) -> None:
            for step, points in enumerate(zip(*paths, strict=True)):
                kind = "touchMove" if step else "touchStart"
                where = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
                touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": where})
            touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

        assert viewer.page.evaluate("document.documentElement.scrollWidth") == 375
        low = viewer.page.evaluate(
            """() => [...document.querySelectorAll("button, select, input")].filter((control) =>
              control.offsetHeight > 0 && control.offsetHeight < 40).map((control) => control.outerHTML)"""
        )
        assert low == []
        assert viewer.page.get_by_role("button", name="Fit").is_visible()
        beyond = viewer.page.evaluate(
            """() => [...document.querySelectorAll("#bar button, #bar select, #status")].filter((control) => {
              const { left, right } = control.getBoundingClientRect();
              return control.offsetHeight > 0 && (left < 0 || right > innerWidth);
            }).map((control) => control.outerHTML)"""
        )
        assert beyond == []
        name = viewer.page.locator("#series-name")
        assert name.evaluate("(element) => element.scrollWidth <= element.clientWidth"), "not cut off"
        assert [viewer.stage(pane).is_visible() for pane in PANES] == [True, False, False, False]
        assert viewer.view("axial")["viewport"]["width_px"] == 750
        assert_exact(viewer, oracle, "axial")

        window = viewer.view("axial")["layers"][0]["window"]
        viewer.page.locator("#tool").select_option("window")
        fingers([(100, 300), (120, 300), (160, 300)])
        viewer.wait(lambda _: viewer.view("axial")["layers"][0]["window"]["width"] > window["width"])

        scale = viewer.view("axial")["camera"]["parallel_scale_mm"]
        fingers([(150, 400), (120, 400), (90, 400)], [(220, 400), (250, 400), (280, 400)])
        viewer.wait(lambda _: viewer.view("axial")["camera"]["parallel_scale_mm"] < 0.7 * scale)
        viewer.settle()

        slice_text = viewer.text("axial", "slice-text")
        fingers(*[[(x, 300.0), (x, 330.0), (x, 390.0)] for x in (100.0, 160.0, 220.0)])
        viewer.wait(lambda _: viewer.text("axial", "slice-text") != slice_text)
        viewer.settle()

        viewer.tap_tab("3D", "3d")
        viewer.settle()
        position = viewer.view("3d")["camera"]["position"]
        fingers([(100, 400), (150, 400), (200, 400)])
        viewer.wait(lambda _: viewer.view("3d")["camera"]["position"]["x"] < position["x"] - 50)
        viewer.settle()
        assert_exact(viewer, oracle, "3d")

        viewer.tap_tab("All", None)
        viewer.settle()
        for pane in PANES:
            assert viewer.stage(pane).is_visible()
            assert_exact(viewer, oracle, pane)
        assert viewer.page.evaluate("document.documentElement.scrollWidth") == 375
        assert viewer.problems == []


@pytest.mark.parametrize("size", [(390, 844), (844, 390), (320, 568)])
def test_what_a_phone_says_of_a_lost_connection_covers_nothing(
    chromium: Any, page_server: PageServer, size: tuple[int, int]
) -> None:
    width, height = size
    phone = {"viewport": {"width": width, "height": height}, "has_touch": True, "is_mobile": True}
    with opened(chromium, page_server.url, **phone) as viewer:
        viewer.settle()
        viewer.page.get_by_label("Axial: projection").select_option("MIP")
        viewer.settle()
        for pane, tab in (("axial", "Axial"), ("3d", "3D")):
            viewer.tap_tab(tab, pane)
            viewer.settle()
            covered = viewer.page.evaluate(
                """(pane) => {
                  const box = document.getElementById("stale");
                  box.textContent = "Not live: the connection to the server is lost";
                  box.hidden = false;
                  const a = box.getBoundingClientRect();
                  const parts = `[data-pane='${pane}'] :is(.pane-head > *, .sides, .badge, .corner > *), #bar, #tabs`;
                  return [...document.querySelectorAll(parts)].filter((part) => {
                    const b = part.getBoundingClientRect();
                    return b.width && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
                  }).map((part) => part.className || part.id);
                }""",
                pane,
            )
            assert covered == []


@pytest.mark.parametrize(
    "size",
    [(320, 568), (375, 667), (600, 900), (640, 360), (720, 600), (768, 1024), (844, 390), (960, 540), (1024, 768)],
)
def test_the_bar_has_room_for_its_controls_and_the_name(
    chromium: Any, page_server: PageServer, size: tuple[int, int]
) -> None:
    """With all that it may have to hold: a measurement to remove, and who watches."""
    with opened(chromium, page_server.url, viewport={"width": size[0], "height": size[1]}, has_touch=True) as viewer:
        viewer.settle()
        viewer.page.keyboard.press("m")
        viewer.drag("axial", 50, 30)
        assert viewer.page.locator("#erase").is_visible()
        viewer.page.locator("#share").click()
        viewer.page.get_by_role("button", name="Close").click()
        beyond = viewer.page.evaluate(
            """() => [...document.querySelectorAll("#bar :is(button, select), #status, #tabs *")].filter((part) => {
              const { left, right } = part.getBoundingClientRect();
              return part.offsetHeight > 0 && (left < 0 || right > innerWidth);
            }).map((part) => part.outerHTML)"""
        )
        assert beyond == []
        name = viewer.page.locator("#series-name").bounding_box()
        assert name["width"] >= 80
        assert viewer.page.evaluate("document.documentElement.scrollWidth") == size[0]


def test_what_is_pressed_and_what_is_live_show_in_the_systems_own_colours(
    chromium: Any, page_server: PageServer
) -> None:
    with opened(chromium, page_server.url, forced_colors="active") as viewer:
        viewer.settle()
        crosshair = viewer.page.get_by_role("button", name="Crosshair")

        def outline() -> str:
            viewer.page.mouse.click(*viewer.center("3d"))  # the focus has an outline too
            style: str = crosshair.evaluate("(button) => getComputedStyle(button).outlineStyle")
            return style

        assert outline() == "solid"
        crosshair.click()
        assert outline() == "none"
        dot = viewer.page.evaluate("getComputedStyle(document.getElementById('status'), '::before').backgroundColor")
        assert dot == "rgb(87, 199, 138)"


def test_a_name_is_whole_while_there_is_room(chromium: Any, page_server: PageServer) -> None:
    for width in (1024, 960, 900):
        with opened(chromium, page_server.url, viewport={"width": width, "height": 700}) as viewer:
            viewer.settle()
            short = viewer.page.locator("#series-name").evaluate(
                """(name) => {
                  const range = document.createRange();
                  range.selectNodeContents(name);
                  return range.getBoundingClientRect().width - name.getBoundingClientRect().width;
                }"""
            )
            assert short <= 0, f"at {width} px"

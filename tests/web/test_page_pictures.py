"""What the page in Chromium paints and sends, by mouse and keys, against the real server."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.web.conftest import Oracle
from tests.web.page import PANES, ViewerPage, assert_exact

pytestmark = pytest.mark.browser


def test_four_panes_show_a_picture_and_say_that_it_is_lossless(viewer: ViewerPage) -> None:
    state = viewer.inspect()
    for name in PANES:
        assert state["panes"][name]["badge"] == "LOSSLESS"
        assert viewer.text(name, "badge.lossless") == "LOSSLESS"
        assert len(np.unique(viewer.pixels(name)[..., 0])) > 20, name


@pytest.mark.parametrize("pane", PANES)
def test_the_final_frame_is_the_renderers_own(viewer: ViewerPage, oracle: Oracle, pane: str) -> None:
    assert_exact(viewer, oracle, pane)


def test_the_comparison_can_fail(viewer: ViewerPage, oracle: Oracle) -> None:
    gray = viewer.pixels("axial")[..., 0]
    view = viewer.view("axial")
    assert not np.array_equal(gray, oracle.picture(view, center=view["layers"][0]["window"]["center"] + 1))
    view["camera"]["look_at"]["z"] += 2
    view["camera"]["position"]["z"] += 2
    assert not np.array_equal(gray, oracle.picture(view))


def test_wheel_ticks_move_the_slice_and_add_up(viewer: ViewerPage, oracle: Oracle) -> None:
    before = viewer.view("axial")["camera"]["look_at"]
    assert viewer.text("axial", "slice-text") == "31 / 60"
    viewer.page.mouse.move(*viewer.center("axial"))
    for _ in range(3):
        viewer.page.mouse.wheel(0, 120)
    viewer.settle()
    after = viewer.view("axial")["camera"]["look_at"]
    assert after["z"] == pytest.approx(before["z"] - 3 * 6.25)
    assert (after["x"], after["y"]) == (before["x"], before["y"])
    assert viewer.text("axial", "slice-text") == "34 / 60"
    assert_exact(viewer, oracle, "axial")


def test_a_drag_turns_the_3d_view(viewer: ViewerPage, oracle: Oracle) -> None:
    before, pixels = viewer.view("3d")["camera"], viewer.pixels("3d")
    viewer.drag("3d", 90, 0)
    state = viewer.settle()
    after = viewer.view("3d")["camera"]
    # The front goes to the right: from the front the camera goes to the patient's right, -x.
    assert after["position"]["x"] < before["position"]["x"] - 100
    assert after["look_at"] == before["look_at"]
    assert not np.array_equal(viewer.pixels("3d"), pixels)
    assert state["panes"]["3d"]["latencyMs"] > 0
    assert_exact(viewer, oracle, "3d")


def test_while_it_moves_the_badge_says_lossy(viewer: ViewerPage) -> None:
    x, y = viewer.center("3d")
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down()
    steps = iter(range(1, 10000))

    def lossy(state: dict[str, Any]) -> bool:
        step = next(steps)
        viewer.page.mouse.move(x + step % 100, y + step // 100)
        return bool(state["panes"]["3d"]["badge"].startswith("LOSSY q"))

    state = viewer.wait(lossy)
    assert not state["panes"]["3d"]["settled"]
    viewer.page.mouse.up()
    assert viewer.settle()["panes"]["3d"]["badge"] == "LOSSLESS"


def test_middle_drag_pans_and_right_drag_zooms(viewer: ViewerPage) -> None:
    first = viewer.view("axial")["camera"]
    viewer.drag("axial", 50, 0, button="middle")
    panned = viewer.view("axial")["camera"]
    spacing = 2 * first["parallel_scale_mm"] / viewer.view("axial")["viewport"]["height_px"]
    # The picture follows the hand: to the right is the patient's left, +x, so the camera goes to -x.
    assert panned["look_at"]["x"] == pytest.approx(first["look_at"]["x"] - 50 * spacing)
    viewer.drag("axial", 0, -50, button="right")
    assert viewer.view("axial")["camera"]["parallel_scale_mm"] < 0.8 * panned["parallel_scale_mm"]
    viewer.settle()
    viewer.page.keyboard.press("=")
    viewer.settle()
    assert viewer.view("axial")["camera"]["parallel_scale_mm"] == pytest.approx(first["parallel_scale_mm"])


def test_a_window_drag_at_rest_sends_nothing_and_is_exact(viewer: ViewerPage, oracle: Oracle) -> None:
    sent, window = viewer.views_sent, viewer.view("axial")["layers"][0]["window"]
    viewer.drag("axial", 60, 25)
    viewer.page.keyboard.press("i")
    viewer.settle()
    changed = viewer.view("axial")["layers"][0]
    assert changed["window"]["width"] > window["width"]
    assert changed["window"]["center"] > window["center"]
    assert changed["invert"]
    for pane in ("axial", "sagittal", "coronal"):
        assert viewer.view(pane)["layers"][0] == changed
        assert_exact(viewer, oracle, pane)
    assert viewer.text("axial", "window-text").startswith("W ")
    assert viewer.views_sent == sent
    viewer.page.mouse.wheel(0, 120)
    viewer.settle()
    assert viewer.views_sent > sent
    assert_exact(viewer, oracle, "axial")


def test_preset_keys(viewer: ViewerPage, oracle: Oracle) -> None:
    sent = viewer.views_sent
    viewer.page.keyboard.press("2")
    window = viewer.view("axial")["layers"][0]["window"]
    assert (window["width"], window["center"]) == (1500, -600)
    viewer.settle()
    assert viewer.text("axial", "window-text") == "W 1500  C -600"
    assert viewer.views_sent == sent
    assert_exact(viewer, oracle, "axial")


def test_slice_keys(viewer: ViewerPage) -> None:
    shown = []
    for key in ("Home", "ArrowDown", "PageDown", "End", "ArrowUp"):
        viewer.page.keyboard.press(key)
        viewer.settle()
        shown.append(viewer.text("axial", "slice-text"))
    assert shown == ["1 / 60", "2 / 60", "12 / 60", "60 / 60", "59 / 60"]


def test_the_letters_follow_the_picture(viewer: ViewerPage) -> None:
    def letters(pane: str) -> str:
        return "".join(viewer.text(pane, f"letter.{side}") for side in ("left", "right", "top", "bottom"))

    assert [letters(pane) for pane in PANES] == ["RLAP", "APHF", "RLHF", "RLHF"]
    viewer.page.keyboard.press("h")
    viewer.settle()
    assert letters("axial") == "LRAP"
    viewer.page.keyboard.press("h")
    viewer.page.keyboard.press("r")
    viewer.settle()
    # A quarter to the right: what was on top is at the right.
    assert letters("axial") == "PARL"


def test_a_click_takes_the_other_planes_along(viewer: ViewerPage) -> None:
    x, y = viewer.center("axial")
    viewer.page.mouse.click(x + 60, y - 20)
    point = viewer.settle()["crosshair"]
    view = viewer.view("axial")
    spacing = 2 * view["camera"]["parallel_scale_mm"] / view["viewport"]["height_px"]
    assert point[0] == pytest.approx(view["camera"]["look_at"]["x"] + 60 * spacing, abs=spacing)
    assert point[1] == pytest.approx(view["camera"]["look_at"]["y"] - 20 * spacing, abs=spacing)
    assert viewer.view("sagittal")["camera"]["look_at"]["x"] == pytest.approx(point[0])
    assert viewer.view("coronal")["camera"]["look_at"]["y"] == pytest.approx(point[1])


def test_the_crosshairs_center_can_be_dragged(viewer: ViewerPage) -> None:
    window = viewer.view("axial")["layers"][0]["window"]
    x, y = viewer.page.evaluate(
        """() => {
          const box = document.querySelector("[data-pane='coronal'] .crosshair-center").getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2];
        }"""
    )
    before = viewer.inspect()["crosshair"]
    viewer.page.mouse.move(x, y)
    viewer.page.mouse.down()
    viewer.page.mouse.move(x + 30, y - 40, steps=4)
    viewer.page.mouse.up()
    after = viewer.settle()["crosshair"]
    assert after[0] > before[0]
    assert after[2] > before[2]
    assert viewer.view("axial")["camera"]["look_at"]["z"] == pytest.approx(after[2])
    assert viewer.view("axial")["layers"][0]["window"] == window


def test_the_value_under_the_pointer(viewer: ViewerPage, oracle: Oracle) -> None:
    x, y = viewer.center("axial")
    box = viewer.stage("axial").bounding_box()
    viewer.page.mouse.move(x + 37, y + 11)
    column, row = int(x + 37 - box["x"]), int(y + 11 - box["y"])
    expected = oracle.value(viewer.view("axial"), column, row)
    number, unit = viewer.text("axial", "readout").split()
    assert unit == "HU"
    assert float(number) == pytest.approx(expected, abs=0.51)

"""What the left button or one finger does, what is measured with it, and what keys do instead."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from render.geometry import VolumeGeometry
from render.volume import PixelScale, Volume, VolumeInfo
from tests.web.conftest import Oracle, PageServer
from tests.web.page import PANES, ViewerPage, assert_exact, opened

pytestmark = pytest.mark.browser
PIXEL = 1 / 300
"""A pane has a whole number of pixels where its box may have half a one more: relative, of a side."""


def choose(viewer: ViewerPage, tool: str) -> None:
    viewer.page.get_by_label("What the left button or one finger does").select_option(tool)


def mm_per_css_pixel(viewer: ViewerPage, pane: str) -> float:
    height = viewer.stage(pane).bounding_box()["height"]
    return float(2 * viewer.view(pane)["camera"]["parallel_scale_mm"] / height)


def lengths(viewer: ViewerPage) -> list[float]:
    return [math.dist(line["from"], line["to"]) for line in viewer.inspect()["measured"]]


def words(viewer: ViewerPage, pane: str) -> list[str]:
    found: list[str] = viewer.page.locator(f"[data-pane='{pane}'] .measured text").all_text_contents()
    return found


def test_a_line_has_the_patients_length_and_costs_the_server_nothing(viewer: ViewerPage, oracle: Oracle) -> None:
    choose(viewer, "Measure")
    before, sent = viewer.inspect(), viewer.views_sent
    viewer.drag("axial", 90, -40)
    (length,) = lengths(viewer)
    assert length == pytest.approx(math.hypot(90, 40) * mm_per_css_pixel(viewer, "axial"), rel=PIXEL)
    assert words(viewer, "axial") == [f"{length:.1f} mm"]
    (line,) = viewer.inspect()["measured"]
    assert line["from"][2] == line["to"][2] == pytest.approx(viewer.view("axial")["camera"]["look_at"]["z"])
    assert line["to"][0] > line["from"][0], "to the left side"
    assert line["to"][1] < line["from"][1], "to the front"
    assert [words(viewer, pane) for pane in ("sagittal", "coronal", "3d")] == [[], [], []]
    after = viewer.inspect()
    assert viewer.views_sent == sent
    assert [after["panes"][pane]["view"] for pane in PANES] == [before["panes"][pane]["view"] for pane in PANES]
    assert after["crosshair"] == before["crosshair"]
    assert_exact(viewer, oracle, "axial")  # it lies over the picture, not in it


def test_a_line_stays_in_the_patient(viewer: ViewerPage) -> None:
    choose(viewer, "Measure")
    viewer.drag("axial", 80, 20)
    (length,) = lengths(viewer)
    line = viewer.page.locator("[data-pane='axial'] .measured path").last

    def width() -> float:
        return float(line.bounding_box()["width"])

    before = width()
    for _ in range(3):
        viewer.page.keyboard.press("+")
    viewer.settle()
    assert width() == pytest.approx(before * 1.25**3, rel=0.05)
    assert lengths(viewer) == [length]
    viewer.page.keyboard.press("ArrowDown")
    viewer.settle()
    assert words(viewer, "axial") == [], "it is of another slice"
    viewer.page.keyboard.press("ArrowUp")
    viewer.settle()
    assert words(viewer, "axial") == [f"{length:.1f} mm"]
    viewer.page.keyboard.press("h")
    viewer.settle()
    assert words(viewer, "axial") == [f"{length:.1f} mm"]


def test_an_end_is_moved_and_lines_are_removed(viewer: ViewerPage) -> None:
    choose(viewer, "Measure")
    x, y = viewer.center("coronal")
    mouse = viewer.page.mouse

    def line(start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse.move(x + start[0], y + start[1])
        mouse.down()
        mouse.move(x + end[0], y + end[1], steps=4)
        mouse.up()

    scale = mm_per_css_pixel(viewer, "coronal")
    line((-60, -50), (40, -50))
    line((-60, 40), (0, 40))
    assert lengths(viewer) == pytest.approx([100 * scale, 60 * scale], rel=PIXEL)
    line((43, -48), (3, -48))  # taken a little beside its end, which follows from where it was
    assert lengths(viewer) == pytest.approx([60 * scale, 60 * scale], rel=PIXEL)
    erase = viewer.page.locator("#erase")
    mouse.click(x - 30, y + 40)
    assert erase.get_attribute("aria-label") == "Remove the measurement"
    viewer.page.keyboard.press("Delete")
    assert len(lengths(viewer)) == 1
    viewer.page.keyboard.press("Delete")
    assert len(lengths(viewer)) == 1, "none is selected"
    line((-60, 60), (0, 60))
    mouse.click(x - 90, y - 90)
    assert erase.get_attribute("aria-label") == "Remove all measurements"
    erase.click()
    assert lengths(viewer) == []
    assert not erase.is_visible()
    # A click alone is no line.
    mouse.click(x + 20, y + 20)
    assert lengths(viewer) == []


def test_each_tool_does_what_its_name_says(viewer: ViewerPage, oracle: Oracle) -> None:
    def camera(pane: str) -> dict[str, Any]:
        found: dict[str, Any] = viewer.view(pane)["camera"]
        return found

    first = camera("axial")
    window = viewer.view("axial")["layers"][0]["window"]
    viewer.page.keyboard.press("s")
    viewer.drag("axial", 0, 60)
    scrolled = camera("axial")
    assert scrolled["look_at"]["z"] < first["look_at"]["z"], "down is to the feet, as by the wheel"
    assert {**scrolled, "look_at": 0, "position": 0} == {**first, "look_at": 0, "position": 0}
    viewer.page.keyboard.press("t")
    scale = mm_per_css_pixel(viewer, "axial")
    viewer.drag("axial", 30, 0)
    assert camera("axial")["look_at"]["x"] == pytest.approx(scrolled["look_at"]["x"] - 30 * scale, rel=PIXEL)
    viewer.page.keyboard.press("z")
    viewer.drag("axial", 0, -50)
    assert camera("axial")["parallel_scale_mm"] < first["parallel_scale_mm"]
    assert viewer.view("axial")["layers"][0]["window"] == window
    viewer.page.keyboard.press("w")
    viewer.drag("axial", 40, 0)
    assert viewer.view("axial")["layers"][0]["window"]["width"] > window["width"]
    for key in "sm":
        viewer.page.keyboard.press(key)
        turned = camera("3d")["position"]
        viewer.drag("3d", 50, 0)
        assert camera("3d")["position"] != turned
    assert viewer.inspect()["measured"] == []
    viewer.settle()
    for pane in PANES:
        assert_exact(viewer, oracle, pane)


def test_all_of_it_by_keys(viewer: ViewerPage) -> None:
    viewer.stage("coronal").focus()
    before = viewer.view("coronal")["camera"]
    viewer.page.keyboard.press("Shift+ArrowLeft")
    moved = viewer.view("coronal")["camera"]
    assert moved["look_at"]["x"] > before["look_at"]["x"], (
        "the picture goes to the left, to the right side of the patient"
    )
    assert moved["look_at"]["y"] == before["look_at"]["y"], "it scrolls nothing"
    viewer.page.keyboard.press("-")
    assert viewer.view("coronal")["camera"]["parallel_scale_mm"] == pytest.approx(1.25 * before["parallel_scale_mm"])
    viewer.page.keyboard.press("Enter")
    assert viewer.inspect()["maximised"] == "coronal"
    viewer.page.keyboard.press("Enter")
    assert viewer.inspect()["maximised"] is None
    crosshair = viewer.page.get_by_role("button", name="Crosshair")
    viewer.page.keyboard.press("c")
    assert crosshair.get_attribute("aria-pressed") == "false"
    # A focused button has its own use for Enter.
    crosshair.focus()
    viewer.page.keyboard.press("Enter")
    assert crosshair.get_attribute("aria-pressed") == "true"
    assert viewer.inspect()["maximised"] is None


def test_one_finger_goes_through_the_slices_and_the_crosshair_tells_the_value(
    chromium: Any, page_server: PageServer, oracle: Oracle
) -> None:
    phone = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
    with opened(chromium, page_server.url, **phone) as viewer:
        viewer.settle()
        assert viewer.inspect()["tool"] == "slices"
        view, (x, y, _) = viewer.view("axial"), viewer.inspect()["crosshair"]
        camera, viewport = view["camera"], view["viewport"]
        per_mm = viewport["height_px"] / (2 * camera["parallel_scale_mm"])
        column = viewport["width_px"] / 2 + (x - camera["look_at"]["x"]) * per_mm
        row = viewport["height_px"] / 2 + (y - camera["look_at"]["y"]) * per_mm
        # Half a pixel of the box either way.
        places = {(math.floor(column + dx), math.floor(row + dy)) for dx in (-0.5, 0.5) for dy in (-0.5, 0.5)}
        near = [round(oracle.value(view, *place)) for place in places]
        assert int(viewer.text("axial", "readout").removesuffix(" HU")) in near
        touch = viewer.page.context.new_cdp_session(viewer.page)
        before = viewer.text("axial", "slice-text")
        for kind, y in (("touchStart", 300), ("touchMove", 330), ("touchMove", 420), ("touchEnd", None)):
            points = [] if y is None else [{"x": 80, "y": y}]
            touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        viewer.wait(lambda _: viewer.text("axial", "slice-text") != before)
        assert viewer.problems == []


@pytest.mark.parametrize(
    ("scale", "unit", "bar"),
    [(PixelScale.UNKNOWN, "px", "px"), (PixelScale.DETECTOR, "mm at detector", "cm at detector")],
)
def test_an_image_without_a_place_has_no_sides_and_no_length_but_its_own(
    chromium: Any, scale: PixelScale, unit: str, bar: str
) -> None:
    """As a chest film without Patient Orientation and Pixel Spacing."""
    values = (np.arange(300)[:, None] + np.arange(200)).astype(np.int16)[None]
    geometry = VolumeGeometry.from_axes((1, 300, 200), (0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
    film = Volume("film", geometry, values, info=VolumeInfo(modality="CR", is_placed=False, pixel_scale=scale))
    server = PageServer(film)
    try:
        with opened(chromium, server.url) as viewer:
            pane = viewer.wait(lambda state: state["maximised"])["maximised"]
            viewer.settle()
            assert [viewer.text(pane, f"letter.{side}") for side in ("left", "right", "top", "bottom")] == [""] * 4
            assert viewer.text(pane, "position-text") == ""
            assert viewer.text(pane, "pane-name") == "Image"
            assert viewer.page.locator(f"[data-pane='{pane}'] .scale-text").text_content().endswith(bar)
            choose(viewer, "Measure")
            viewer.drag(pane, 60, 0)
            assert words(viewer, pane)[0].split(" ", 1)[1] == unit
            assert viewer.problems == []
    finally:
        server.stop()

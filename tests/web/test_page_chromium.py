"""The page in Chromium, against the real server: what is painted, what is sent, by mouse, keys and touch."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from render.engine import Engine
from render.geometry import VolumeGeometry
from render.volume import Volume, VolumeInfo
from tests.web.conftest import Oracle, PageServer

pytestmark = pytest.mark.browser

PANES = ("axial", "sagittal", "coronal", "3d")
PATIENCE_S = 60.0
"""Until a test gives up; kernels may have to be compiled first."""


class ViewerPage:
    """The page, and what a test needs to know of it."""

    def __init__(self, context: Any, url: str, *, route: Callable[[Any], None] | None = None) -> None:
        self.page = context.new_page()
        self.sent: list[str] = []
        self.problems: list[str] = []
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", lambda message: self.problems.append(message.text) if message.type == "error" else None)
        self.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: self.sent.append(frame)))
        if route is not None:
            self.page.route_web_socket("**/stream", route)
        self.page.goto(url)

    @property
    def views_sent(self) -> int:
        """Messages that ask for pictures; acknowledgements come when they come."""
        return sum("set_view" in frame for frame in self.sent)

    def inspect(self) -> dict[str, Any]:
        result: dict[str, Any] = self.page.evaluate("voxelcast.inspect()")
        return result

    def view(self, pane: str) -> dict[str, Any]:
        result: dict[str, Any] = self.inspect()["panes"][pane]["view"]
        return result

    def wait(self, condition: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the page's state once it fulfils a condition."""
        end = time.monotonic() + PATIENCE_S
        while not condition(state := self.inspect()):
            assert time.monotonic() < end, f"never came: {state}"
            self.page.wait_for_timeout(20)
        return state

    def settle(self) -> dict[str, Any]:
        """Wait until all shown panes hold the final frame of their latest view."""

        def settled(state: dict[str, Any]) -> bool:
            shown = [state["maximised"]] if state["maximised"] else PANES
            return all(state["panes"][name]["settled"] for name in shown)

        return self.wait(settled)

    def tap_tab(self, name: str, pane: str | None) -> None:
        """Tap a tab until its pane is shown alone: Chromium may swallow a tap that closely follows touches."""
        end = time.monotonic() + PATIENCE_S
        while self.inspect()["maximised"] != pane:
            assert time.monotonic() < end, f"no tab {name}"
            self.page.get_by_role("tab", name=name).tap()
            self.page.wait_for_timeout(200)

    def stage(self, pane: str) -> Any:
        return self.page.locator(f"[data-pane='{pane}'] .stage")

    def text(self, pane: str, what: str) -> str:
        result: str = self.page.locator(f"[data-pane='{pane}'] .{what}").inner_text()
        return result

    def center(self, pane: str) -> tuple[float, float]:
        box = self.stage(pane).bounding_box()
        return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2

    def drag(self, pane: str, dx: float, dy: float, *, button: str = "left") -> None:
        """Drag from a place that is not the crosshair's handle."""
        x, y = self.center(pane)
        mouse = self.page.mouse
        mouse.move(x + 40, y + 30)
        mouse.down(button=button)
        mouse.move(x + 40 + dx, y + 30 + dy, steps=5)
        mouse.up(button=button)

    def pixels(self, pane: str) -> npt.NDArray[np.uint8]:
        """Return the canvas, uint8, shape (H, W, 4)."""
        width, height, data = self.page.evaluate(
            """(pane) => {
              const canvas = document.querySelector(`[data-pane='${pane}'] canvas`);
              const { width, height } = canvas;
              const bytes = canvas.getContext("2d").getImageData(0, 0, width, height).data;
              let text = "";
              for (let at = 0; at < bytes.length; at += 32768)
                text += String.fromCharCode(...bytes.subarray(at, at + 32768));
              return [width, height, btoa(text)];
            }""",
            pane,
        )
        return np.frombuffer(base64.b64decode(data), np.uint8).reshape(height, width, 4)


@contextlib.contextmanager
def opened(browser: Any, url: str, *, route: Any = None, **options: Any) -> Iterator[ViewerPage]:
    context = browser.new_context(**{"viewport": {"width": 900, "height": 700}, **options})
    try:
        yield ViewerPage(context, url, route=route)
    finally:
        context.close()


@pytest.fixture
def viewer(chromium: Any, page_server: PageServer) -> Iterator[ViewerPage]:
    with opened(chromium, page_server.url) as page:
        page.settle()
        yield page
        assert page.problems == []


def assert_exact(viewer: ViewerPage, oracle: Oracle, pane: str) -> None:
    pixels = viewer.pixels(pane)
    expected = oracle.picture(viewer.view(pane))
    assert pixels.shape[:2] == expected.shape[:2]
    assert (pixels[..., 3] == 255).all()
    np.testing.assert_array_equal(pixels[..., :3] if expected.ndim == 3 else pixels[..., 0], expected)


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


def test_what_has_no_gray_has_neither_window_nor_inversion(viewer: ViewerPage) -> None:
    viewer.page.mouse.click(*viewer.center("3d"))
    before = viewer.view("3d")
    viewer.page.keyboard.press("i")
    viewer.page.keyboard.press("2")
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
    state = viewer.settle()
    assert state["maximised"] == "coronal"
    assert state["crosshair"] == pytest.approx(crosshair)
    assert not viewer.stage("axial").is_visible()
    assert viewer.view("coronal")["viewport"]["width_px"] == 900
    assert_exact(viewer, oracle, "coronal")
    viewer.page.keyboard.press("Escape")
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


def test_an_address_that_names_no_volume_says_so(chromium: Any, page_server: PageServer) -> None:
    with opened(chromium, f"{page_server.url}#volume=ffffffffffffffff") as viewer:
        viewer.page.get_by_text("The address names a series that this server does not have.").wait_for()
        viewer.page.get_by_role("button", name="Procedural torso").click()
        viewer.settle()
        assert not viewer.page.locator("#picker").is_visible()


def test_every_control_has_a_name(viewer: ViewerPage) -> None:
    nameless = viewer.page.evaluate(
        """() => [...document.querySelectorAll("button, select, input, [role]")].filter((control) =>
          !(control.ariaLabel || control.getAttribute("aria-labelledby") || control.textContent.trim() ||
            control.labels?.length || control.matches("[role=status], [role=alert]"))).map((c) => c.outerHTML)"""
    )
    assert nameless == []


def test_plain_http_beyond_loopback(chromium: Any, page_server: PageServer, oracle: Oracle) -> None:
    with opened(chromium, f"http://viewer.test:{page_server.port}/") as viewer:
        viewer.settle()
        assert viewer.page.evaluate("isSecureContext") is False
        for pane in PANES:
            assert_exact(viewer, oracle, pane)


def test_a_choice_of_volumes(chromium: Any, two_volumes_server: PageServer) -> None:
    with opened(chromium, two_volumes_server.url) as viewer:
        viewer.wait(lambda state: state["status"] == "live")
        assert viewer.inspect()["panes"]["axial"]["view"] is None
        viewer.page.get_by_role("button", name="Procedural torso").click()
        viewer.settle()
        viewer.page.get_by_role("button", name="Choose a series").click()
        viewer.page.locator(".volume").filter(has_not_text="Procedural torso").click()
        viewer.wait(lambda state: state["panes"]["axial"]["view"]["layers"][0]["volume_id"] == "ramp")
        viewer.settle()
        assert viewer.text("axial", "badges").split("\n") == ["LOSSY SOURCE", "LOSSLESS"]
        # The address remembers it.
        viewer.page.reload()
        viewer.settle()
        assert viewer.view("axial")["layers"][0]["volume_id"] == "ramp"
        assert viewer.problems == []


def test_a_volume_that_comes_later_opens_by_itself(chromium: Any, torso: Any) -> None:
    server = PageServer()
    try:
        with opened(chromium, server.url) as viewer:
            viewer.page.get_by_text("No series here yet.").wait_for()
            server.add(torso)
            viewer.settle()
            assert not viewer.page.locator("#picker").is_visible()
    finally:
        server.stop()


def test_a_token_is_asked_for(chromium: Any, torso: Any, tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("a token that is long enough\n")
    server = PageServer(torso, token_file=token_file)
    try:
        with opened(chromium, server.url) as viewer:
            wrong = viewer.page.get_by_text("That token is not the right one.")
            viewer.page.get_by_label("Token", exact=True).wait_for()
            assert not wrong.is_visible()
            for token in ("wrong", "a token that is long enough"):
                viewer.page.get_by_label("Token", exact=True).fill(token)
                viewer.page.get_by_role("button", name="Connect").click()
                if token == "wrong":
                    wrong.wait_for()
            viewer.settle()
            assert not viewer.page.locator("#locked").is_visible()
            assert "token" not in viewer.page.url
    finally:
        server.stop()


def test_it_comes_back_after_a_restart(
    chromium: Any, torso: Any, oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanning = [True]
    monkeypatch.setattr(Engine, "is_scanning", property(lambda engine: scanning[0]))
    server = PageServer(torso)
    port = server.port
    try:
        with opened(chromium, server.url) as viewer:
            viewer.settle()
            viewer.drag("axial", 40, 0)
            server.stop()
            viewer.wait(lambda state: state["status"] == "waiting")
            for pane in PANES:
                assert viewer.text(pane, "badge.not-live") == "NOT LIVE"
            viewer.page.get_by_text("Not live: ").wait_for()
            # Turned while nobody answers: the last thing painted must be this.
            viewer.drag("3d", 50, 10)
            assert not viewer.inspect()["panes"]["3d"]["settled"]
            server = PageServer(port=port)
            viewer.page.get_by_text("Not live: the server is still reading its folders").wait_for()
            assert viewer.inspect()["panes"]["axial"]["badge"] == "NOT LIVE"
            scanning[0] = False
            viewer.page.get_by_text("the server does not have this series any more").wait_for()
            assert not viewer.page.locator("#notice").is_visible()
            assert torso.id not in viewer.page.locator("body").inner_text()
            server.add(torso)
            viewer.wait(lambda state: all(pane["live"] for pane in state["panes"].values()))
            viewer.settle()
            assert not viewer.page.locator("#stale").is_visible()
            for pane in PANES:
                assert viewer.text(pane, "badge.lossless") == "LOSSLESS"
                assert_exact(viewer, oracle, pane)
    finally:
        server.stop()


def test_a_damaged_frame_is_not_painted(chromium: Any, page_server: PageServer, oracle: Oracle) -> None:
    damaged: list[bool] = []

    def route(socket: Any) -> None:
        server = socket.connect_to_server()

        def forward(message: str | bytes) -> None:
            if isinstance(message, bytes) and b"VALUES_DEFLATE" in message and not damaged:
                damaged.append(True)
                message = message[:-20] + bytes([message[-20] ^ 1]) + message[-19:]
            socket.send(message)

        server.on_message(forward)

    with opened(chromium, page_server.url, route=route) as viewer:
        viewer.page.get_by_text("CRC-32 is").wait_for()
        viewer.settle()
        assert sorted(pane["revision"] for pane in viewer.inspect()["panes"].values())[-1] > 1
        for pane in PANES:
            assert_exact(viewer, oracle, pane)
    assert damaged


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

"""The page in Chromium, and what a test needs to know of it."""

from __future__ import annotations

import base64
import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from tests.web.conftest import Oracle

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


def assert_exact(viewer: ViewerPage, oracle: Oracle, pane: str) -> None:
    pixels = viewer.pixels(pane)
    expected = oracle.picture(viewer.view(pane))
    assert pixels.shape[:2] == expected.shape[:2]
    assert (pixels[..., 3] == 255).all()
    np.testing.assert_array_equal(pixels[..., :3] if expected.ndim == 3 else pixels[..., 0], expected)

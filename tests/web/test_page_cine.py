"""Cines, colour images and VOI LUTs in Chromium: what is painted is what was decoded, and phases change in place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.dicom.synthetic import write_series
from tests.dicom.test_colour_volumes import write_colour
from tests.dicom.test_pixels import lut_item
from tests.web.conftest import PageServer
from tests.web.page import ViewerPage, opened

pytestmark = pytest.mark.browser

FRAMES = np.random.default_rng(3).integers(0, 256, (4, 48, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def cine_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PageServer]:
    folder = tmp_path_factory.mktemp("cine")
    write_colour(folder / "cine.dcm", FRAMES, FrameTime=50)
    server = PageServer(roots=(folder,))
    yield server
    server.stop()


def shown_pane(viewer: ViewerPage) -> str:
    return str(viewer.wait(lambda state: state["maximised"])["maximised"])


def assert_shows(viewer: ViewerPage, frame: np.ndarray, pane: str) -> None:
    """Compare the picture at a whole number of pixels a voxel; outside of it is black."""
    pixels = viewer.pixels(pane)[..., :3]
    inside = np.flatnonzero(pixels.any(axis=(1, 2))), np.flatnonzero(pixels.any(axis=(0, 2)))
    box = pixels[inside[0][0] : inside[0][-1] + 1, inside[1][0] : inside[1][-1] + 1]
    scale = round(box.shape[0] / frame.shape[0])
    # The middle of each voxel, where no neighbour counts.
    assert scale % 2 == 1
    np.testing.assert_array_equal(box[scale // 2 :: scale, scale // 2 :: scale], frame)


def native(viewer: ViewerPage) -> None:
    """Give each voxel a square of whole pixels."""
    viewer.page.keyboard.press("n")
    viewer.settle()


def test_a_cine_is_one_entry_and_its_frames_are_painted_exactly(chromium: Any, cine_server: PageServer) -> None:
    with opened(chromium, cine_server.url, viewport={"width": 420, "height": 300}) as viewer:
        pane = shown_pane(viewer)
        viewer.settle()
        native(viewer)
        bar = viewer.page.locator("#phases")
        assert bar.locator("output").text_content() == "1 / 4  Frame 1"
        camera = viewer.view(pane)["camera"]
        for number in (2, 3, 4, 1):
            viewer.page.keyboard.press("]")
            viewer.settle()
            assert bar.locator("output").text_content() == f"{number} / 4  Frame {number}"
            assert viewer.view(pane)["camera"] == camera
            assert viewer.inspect()["panes"][pane]["badge"] == "LOSSLESS"
            assert_shows(viewer, FRAMES[number - 1], pane)
        viewer.page.get_by_role("button", name="Choose a series").click()
        assert viewer.page.locator(".volume").count() == 1
        assert "4 phases" in str(viewer.page.locator(".volume").text_content())
        assert viewer.problems == []


def test_play_goes_around_and_stops(chromium: Any, cine_server: PageServer) -> None:
    with opened(chromium, cine_server.url, viewport={"width": 420, "height": 300}) as viewer:
        pane = shown_pane(viewer)
        viewer.settle()
        first = viewer.view(pane)["layers"][0]["volume_id"]
        viewer.page.get_by_role("button", name="Play").click()
        viewer.wait(lambda state: state["panes"][pane]["view"]["layers"][0]["volume_id"] != first)
        viewer.wait(lambda state: state["panes"][pane]["view"]["layers"][0]["volume_id"] == first)
        viewer.page.get_by_role("button", name="Pause").click()
        viewer.settle()
        assert viewer.problems == []


def test_a_voi_lut_is_in_the_menu_and_painted(chromium: Any, tmp_path: Path) -> None:
    pixels = np.arange(48 * 64, dtype=np.uint16).reshape(1, 48, 64)
    entries = (np.linspace(0, 1, 3072) ** 2 * 1023).astype("<u2")
    item = lut_item([3072, 0, 10], entries.tobytes())
    item.LUTExplanation = "SQUARE"
    write_series(tmp_path, pixels, spacing=(1, 1), VOILUTSequence=[item], Modality="CR")
    server = PageServer(roots=(tmp_path,))
    try:
        with opened(chromium, server.url, viewport={"width": 420, "height": 300}) as viewer:
            pane = shown_pane(viewer)
            viewer.settle()
            native(viewer)
            gray = np.floor(entries[pixels[0]] / 1023 * 255 + 0.5).astype(np.uint8)
            assert viewer.page.locator("#windows option:checked").text_content().strip().endswith("SQUARE")
            sent = viewer.views_sent
            painted = viewer.pixels(pane)[..., 0]
            assert painted.max() == 255
            assert set(np.unique(painted)) >= set(np.unique(gray))
            viewer.page.keyboard.press("2")
            viewer.page.wait_for_function(
                "() => !document.querySelector('#windows option:checked').textContent.includes('SQUARE')"
            )
            viewer.page.keyboard.press("1")
            # The picture was exact all the time: its text says for which window it has been painted.
            viewer.wait(lambda _: viewer.text(pane, "window-text").startswith("SQUARE"))
            assert viewer.views_sent == sent
            np.testing.assert_array_equal(viewer.pixels(pane)[..., 0], painted)
            assert viewer.problems == []
    finally:
        server.stop()

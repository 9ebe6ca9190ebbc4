"""The page in Firefox, against the real server. Playwright has no Debian Firefox: puppeteer-core drives it by BiDi."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tests.web.conftest import Oracle, PageServer, missing

pytestmark = pytest.mark.browser

PANES = ("axial", "sagittal", "coronal", "3d")
SCRIPT = Path(__file__).with_name("firefox") / "page.mjs"
INSTALL_SECONDS = 120
RUN_SECONDS = 240


@pytest.fixture(scope="module")
def driver(request: pytest.FixtureRequest) -> Path:
    """Return the folder that holds node_modules/puppeteer-core: a cache outside the checkout, filled once."""
    if shutil.which("npm") is None:
        missing(request, "no Node and npm: apt-get install nodejs npm")
    manifest = SCRIPT.with_name("package.json")
    version = json.loads(manifest.read_text())["dependencies"]["puppeteer-core"]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "voxelcast" / f"puppeteer-core-{version}"
    if not (folder / "node_modules" / "puppeteer-core" / "package.json").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(manifest, folder)
        command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        if done.returncode != 0:
            missing(request, f"npm could not install puppeteer-core {version}: {done.stderr.strip()[-300:]}")
    return folder


@pytest.fixture(scope="module")
def seen(request: pytest.FixtureRequest, driver: Path, page_server: PageServer) -> dict[str, Any]:
    """Return what the page showed at first, after wheel and rotation, and after a window drag."""
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        missing(request, "no Firefox: apt-get install firefox-esr")
    command = ["node", str(SCRIPT), str(driver), firefox, page_server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def canvas(shot: dict[str, Any], pane: str) -> npt.NDArray[np.uint8]:
    picture = shot["canvases"][pane]
    return np.frombuffer(base64.b64decode(picture["data"]), np.uint8).reshape(picture["height"], picture["width"], 4)


def test_four_panes_show_a_picture_and_say_that_it_is_lossless(seen: dict[str, Any]) -> None:
    assert seen["problems"] == []
    for pane in PANES:
        assert seen["first"]["state"]["panes"][pane]["badge"] == "LOSSLESS"
        assert len(np.unique(canvas(seen["first"], pane)[..., 0])) > 20, pane


def test_wheel_ticks_move_the_slice(seen: dict[str, Any]) -> None:
    before, after = (seen[shot]["state"]["panes"]["axial"]["view"]["camera"] for shot in ("first", "used"))
    assert after["look_at"]["z"] == pytest.approx(before["look_at"]["z"] - 3 * 6.25)
    assert (seen["first"]["slice"], seen["used"]["slice"]) == ("31 / 60", "34 / 60")


def test_a_drag_turns_the_3d_view(seen: dict[str, Any]) -> None:
    before, after = (seen[shot]["state"]["panes"]["3d"]["view"]["camera"] for shot in ("first", "used"))
    assert after["position"]["x"] < before["position"]["x"] - 100
    assert not np.array_equal(canvas(seen["first"], "3d"), canvas(seen["used"], "3d"))


def test_a_window_drag_at_rest_sends_nothing(seen: dict[str, Any]) -> None:
    before, after = (seen[shot]["state"] for shot in ("used", "windowed"))
    layers = [state["panes"]["coronal"]["view"]["layers"][0]["window"] for state in (before, after)]
    assert layers[1]["width"] > layers[0]["width"]
    assert after["traffic"]["viewsSent"] == before["traffic"]["viewsSent"]


@pytest.mark.parametrize("shot", ["first", "used", "windowed"])
@pytest.mark.parametrize("pane", PANES)
def test_the_final_frame_is_the_renderers_own(seen: dict[str, Any], oracle: Oracle, pane: str, shot: str) -> None:
    pixels = canvas(seen[shot], pane)
    expected = oracle.picture(seen[shot]["state"]["panes"][pane]["view"])
    assert pixels.shape[:2] == expected.shape[:2]
    np.testing.assert_array_equal(pixels[..., :3] if expected.ndim == 3 else pixels[..., 0], expected)

"""The page in Chromium and its server: addresses, tokens, series that come late, damage and restarts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from render.engine import Engine
from render.geometry import VolumeGeometry
from render.volume import Volume, VolumeInfo
from tests.web.conftest import Oracle, PageServer
from tests.web.page import PANES, assert_exact, opened

pytestmark = pytest.mark.browser


def test_an_address_that_names_no_volume_says_so(chromium: Any, page_server: PageServer) -> None:
    with opened(chromium, f"{page_server.url}#volume=ffffffffffffffff") as viewer:
        viewer.page.get_by_text("The address names a series that this server does not have.").wait_for()
        viewer.page.get_by_role("button", name="Procedural torso").click()
        viewer.settle()
        assert not viewer.page.locator("#picker").is_visible()


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


def test_one_of_many_is_found_by_words_and_keys(chromium: Any) -> None:
    geometry = VolumeGeometry((4, 6, 5), np.eye(4))
    names = [f"{place} {kernel}" for place in ("Abdomen", "Chest", "Head") for kernel in ("B30f", "B70f", "I41s")]
    volumes = [
        Volume(name, geometry, np.zeros((4, 6, 5), np.int16), info=VolumeInfo(modality="CT", description=name))
        for name in names
    ]
    server = PageServer(*volumes)
    try:
        with opened(chromium, server.url) as viewer:
            rows = viewer.page.locator(".volume:visible")
            viewer.wait(lambda _: rows.count() == len(names))
            viewer.page.keyboard.press("Escape")
            # Nothing is open, and it says so.
            viewer.page.get_by_role("button", name="Open a series").click()
            viewer.page.keyboard.type("b70f ches")
            (found,) = rows.all_inner_texts()
            assert "Chest B70f" in found
            viewer.page.keyboard.type("nothing")
            assert viewer.page.get_by_text("No series has these words.").is_visible()
            viewer.page.get_by_label("Find a series").fill("head")
            for key in ("ArrowDown", "ArrowDown", "ArrowUp", "ArrowDown", "Enter"):
                viewer.page.keyboard.press(key)
            viewer.settle()
            assert viewer.view("axial")["layers"][0]["volume_id"] == "Head B70f"
            assert not viewer.page.get_by_role("button", name="Open a series").is_visible()
            viewer.page.get_by_role("button", name="Choose a series").click()
            viewer.page.get_by_label("Find a series").fill("abdomen i41s")
            viewer.page.keyboard.press("Enter")
            viewer.wait(lambda state: state["panes"]["axial"]["view"]["layers"][0]["volume_id"] == "Abdomen I41s")
            viewer.page.get_by_role("button", name="Choose a series").click()
            viewer.page.get_by_role("dialog", name="Series").get_by_role("button", name="Close").click()
            assert not viewer.page.locator("#picker").is_visible()
            assert viewer.problems == []
    finally:
        server.stop()


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


def test_who_shared_is_told_when_the_server_has_forgotten_it(chromium: Any, torso: Any) -> None:
    server = PageServer(torso)
    port = server.port
    try:
        with opened(chromium, server.url) as viewer:
            viewer.settle()
            viewer.page.get_by_role("button", name="Share").click()
            viewer.page.get_by_role("button", name="You drive · 0 watching").wait_for()
            server.stop()
            viewer.wait(lambda state: state["status"] == "waiting")
            server = PageServer(torso, port=port)
            viewer.page.get_by_text("Sharing has ended while the connection was lost").wait_for()
            assert viewer.page.get_by_role("button", name="Share").is_visible()
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

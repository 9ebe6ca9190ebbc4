"""The example in another language, which knows docs/protocol.md and nothing else."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import numpy as np
import pytest
from google.protobuf import json_format

from render.service.convert.views import view_from_proto
from render.v1 import view_pb2
from tests.stream.engines import view_message
from tests.web.client import Served, served

EXAMPLE = Path(__file__).parents[2] / "client" / "examples" / "snapshot.mjs"
NODE = shutil.which("node")
pytestmark = pytest.mark.skipif(NODE is None, reason="no node on this machine")


async def run(server: Served, picture: Path, *options: str) -> tuple[int, list[str]]:
    assert NODE is not None
    command = [NODE, "--experimental-websocket", str(EXAMPLE), f"ws://127.0.0.1:{server.port}/stream", str(picture)]
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await asyncio.create_subprocess_exec(*command, *options, stdout=pipe, stderr=null)
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode().splitlines()


def read_pgm(path: Path) -> np.ndarray:
    head, data = path.read_bytes().split(b"\n", 1)
    _, width, height, _ = head.split()
    return np.frombuffer(data, np.uint8).reshape(int(height), int(width))


async def expected(server: Served, message: view_pb2.View) -> np.ndarray:
    """Return the server's own picture of a view; its values are integers' means and exact in the stream's codes."""
    with await server.engine.open("vol", holder="test") as lease:
        frame = await server.engine.render(view_from_proto(message), {"vol": lease})
    picture: np.ndarray = frame.picture()
    return picture


async def initial_view(server: Served, scrolled_mm: float) -> view_pb2.View:
    async with server.client() as client:
        await client.hello()
        await client.send(open_volume={"volume_id": "vol"})
        view = (await client.text("volume_opened"))["volume"]["initial_views"][0]["view"]
    view["viewport"] = {"width_px": 160, "height_px": 120}
    for point in (view["camera"]["position"], view["camera"]["look_at"]):
        point["z"] += scrolled_mm
    return json_format.ParseDict(view, view_pb2.View())


async def test_it_scrolls_and_writes_the_servers_own_picture(tmp_path: Path) -> None:
    async with served(token="correct horse battery") as server:
        picture = tmp_path / "picture.pgm"
        status, lines = await run(server, picture, "--token", "correct horse battery")
        assert status == 0, lines
        assert lines[0] == "welcome, epoch 1"
        assert "FRAME_ENCODING_VALUES_DEFLATE" in lines[-3]
        assert lines[-2].startswith("values ")
        assert lines[-1].startswith("closed 1000")
    async with served() as server:
        difference = read_pgm(picture).astype(int) - await expected(server, await initial_view(server, 7))
        # The renderer's values lie between the codes.
        assert np.abs(difference).max() <= 1
        assert (difference == 0).mean() > 0.95
        other = await expected(server, await initial_view(server, 5))
        assert np.abs(read_pgm(picture).astype(int) - other).max() > 1, "the comparison can fail"


async def test_it_comes_back_with_its_token(tmp_path: Path) -> None:
    async with served() as server:
        status, lines = await run(server, tmp_path / "picture.pgm", "--break")
        assert status == 0, lines
        assert lines[:3] == ["welcome, epoch 1", "closed 1006 broken on purpose", "welcome, epoch 2"]
        assert (tmp_path / "picture.pgm").exists()


async def test_it_watches(tmp_path: Path) -> None:
    async with served() as server, server.client() as driver:
        await driver.hello()
        await driver.send(share={})
        share_id = (await driver.text("sharing"))["share_id"]
        await driver.set_view("mine", 4, view_message(size_px=64))
        await driver.final("mine", 4)
        status, lines = await run(server, tmp_path / "picture.pgm", "--watch", share_id)
        assert status == 0, lines
        difference = read_pgm(tmp_path / "picture.pgm").astype(int) - await expected(server, view_message(size_px=64))
        assert np.abs(difference).max() <= 1
        status, lines = await run(server, tmp_path / "none.pgm", "--watch", "nothing")
        assert status == 1
        assert lines[1].startswith("error INVALID_ARGUMENT")


async def test_it_says_why_it_is_refused(tmp_path: Path) -> None:
    async with served(token="correct horse battery") as server:
        status, lines = await run(server, tmp_path / "picture.pgm", "--token", "wrong")
        assert status == 1
        assert lines[0].startswith("error UNAUTHENTICATED")
        assert lines[1].startswith("closed 1008")

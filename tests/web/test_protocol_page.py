"""The client that docs/protocol.md shows is run as it stands there; its messages are read by the server's reader."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest
from google.protobuf import json_format

from render.service.convert.views import view_from_proto
from render.stream.messages import parse_client_message
from render.v1 import frame_pb2
from render.view import RenderingMethod
from tests.web.client import served

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
NODE = shutil.which("node")


@pytest.mark.skipif(NODE is None, reason="no node on this machine")
async def test_the_example_gets_its_final_frame(tmp_path: Path) -> None:
    (script,) = re.findall(r"```js\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    async with served() as server:
        path = tmp_path / "example.mjs"
        path.write_text(script.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}"), "utf-8")
        assert NODE is not None
        process = await asyncio.create_subprocess_exec(
            NODE,
            "--experimental-websocket",
            str(path),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), 60)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    lines = output.decode().splitlines()
    assert "FRAME_ENCODING_VALUES_DEFLATE FRAME_QUALITY_FINAL" in lines[-2]
    assert lines[-1].startswith("closed 1000")


def test_the_messages_that_it_shows_are_messages() -> None:
    message, header = re.findall(r"```json\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    view = view_from_proto(parse_client_message(message).set_view.view)
    assert view.slab_mm == 0
    assert view.rendering_method is RenderingMethod.AVERAGE_IP
    json_format.Parse(header, frame_pb2.FrameHeader())

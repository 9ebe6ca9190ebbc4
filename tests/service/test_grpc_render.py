"""Frames over gRPC, one call each."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from render.v1 import frame_pb2, view_pb2
from render.view import RenderingMethod
from tests.fakes import make_view
from tests.service.calls import failure, open_volume, render_frame, render_request, until
from tests.service.conftest import Served, stub_of

CODE = grpc.StatusCode


class TestRender:
    async def test_values(self, served: Served) -> None:
        header, payload = await render_frame(served.stub, render_request(make_view("a", width=16, height=8)))
        values = np.frombuffer(payload, "<f4").reshape(header.height_px, header.width_px)
        np.testing.assert_array_equal(values, np.full((8, 16), 42.5, np.float32))
        assert (header.view_id, header.quality, header.units) == ("", frame_pb2.FRAME_QUALITY_FINAL, "HU")
        assert header.timings.render_ms == 1.5
        assert served.engine.status().cache.pinned_bytes == 0, "no lease was asked for"

    async def test_a_large_frame_comes_in_chunks(self, served: Served) -> None:
        header, payload = await render_frame(served.stub, render_request(make_view("a", width=1024, height=700)))
        assert header.chunk_count == 3
        assert len(payload) == 1024 * 700 * 4

    @pytest.mark.parametrize(
        ("encoding", "magic"),
        [
            (frame_pb2.FRAME_ENCODING_JPEG, b"\xff\xd8"),
            (frame_pb2.FRAME_ENCODING_PNG, b"\x89PNG"),
            (frame_pb2.FRAME_ENCODING_VALUES_UINT16, b""),
            (frame_pb2.FRAME_ENCODING_VALUES_DEFLATE, b""),
        ],
    )
    async def test_encodings(self, served: Served, encoding: Any, magic: bytes) -> None:
        header, payload = await render_frame(served.stub, render_request(encoding=encoding))
        assert header.encoding == encoding
        assert payload.startswith(magic)
        assert header.jpeg_quality == (90 if encoding == frame_pb2.FRAME_ENCODING_JPEG else 0)

    async def test_jpeg_quality(self, served: Served) -> None:
        jpeg = frame_pb2.FRAME_ENCODING_JPEG
        header, _ = await render_frame(served.stub, render_request(encoding=jpeg, jpeg_quality=35))
        assert header.jpeg_quality == 35
        for wrong in (0, 101):
            code, line, _ = await failure(served.stub.Render(render_request(encoding=jpeg, jpeg_quality=wrong)))
            assert code is CODE.INVALID_ARGUMENT
            assert f"jpeg_quality {wrong}" in line

    async def test_colour(self, served: Served) -> None:
        view = make_view("a", rendering_method=RenderingMethod.VOLUME_RENDERED, slab_mm=None)
        header, payload = await render_frame(served.stub, render_request(view, encoding=frame_pb2.FRAME_ENCODING_RGBA8))
        assert payload == bytes([77]) * (8 * 8 * 4)
        assert header.rendering_method == view_pb2.RENDERING_METHOD_VOLUME_RENDERED

    @pytest.mark.parametrize(
        ("change", "code", "match"),
        [
            ("nan", CODE.INVALID_ARGUMENT, "camera.position"),
            ("zero up", CODE.INVALID_ARGUMENT, "camera.up"),
            ("100,000 px", CODE.INVALID_ARGUMENT, "100000"),
            ("unknown volume", CODE.NOT_FOUND, "no volume"),
            ("no encoding", CODE.INVALID_ARGUMENT, "encoding 0"),
            ("colour of values", CODE.INVALID_ARGUMENT, "RGBA8"),
            ("two layers", CODE.UNIMPLEMENTED, "2 layers"),
            ("no view", CODE.INVALID_ARGUMENT, "view.camera"),
        ],
    )
    async def test_bad_requests_cost_no_work_and_the_next_is_answered(
        self, served: Served, change: str, code: grpc.StatusCode, match: str
    ) -> None:
        request = render_request()
        camera = request.view.camera
        match change:
            case "nan":
                camera.position.y = math.nan
            case "zero up":
                camera.up.y = 0
            case "100,000 px":
                request.view.viewport.height_px = 100_000
            case "unknown volume":
                request.view.layers[0].volume_id = "nothing"
            case "no encoding":
                request.encoding = frame_pb2.FRAME_ENCODING_UNSPECIFIED
            case "colour of values":
                request.encoding = frame_pb2.FRAME_ENCODING_RGBA8
            case "two layers":
                request.view.layers.add().volume_id = "b"
            case "no view":
                request.ClearField("view")
        got, line, detail = await failure(served.stub.Render(request))
        assert got is code
        assert match in line
        assert detail.reason
        assert (served.renderer.uploads, served.renderer.renders) == (0, 0)
        await render_frame(served.stub, render_request())

    async def test_an_oversize_message_is_refused_and_the_next_is_answered(self, served: Served) -> None:
        request = render_request()
        request.view.layers[0].volume_id = "x" * (3 << 20)
        code, _, _ = await failure(served.stub.Render(request))
        assert code is CODE.RESOURCE_EXHAUSTED
        await render_frame(served.stub, render_request())

    async def test_cancelling_stops_the_rendering(self, served: Served) -> None:
        served.renderer.gate.clear()
        call = served.stub.Render(render_request())
        reading = asyncio.ensure_future(call.read())
        await until(served.renderer.rendering)
        call.cancel()
        await until(served.renderer.saw_cancelled)
        with pytest.raises(asyncio.CancelledError):
            await reading
        served.renderer.gate.set()
        await render_frame(served.stub, render_request())
        assert served.renderer.renders == 1

    async def test_a_client_that_vanishes_stops_the_rendering(self, served: Served) -> None:
        served.renderer.gate.clear()
        channel = grpc.aio.insecure_channel(served.address)
        reading = asyncio.ensure_future(stub_of(channel).Render(render_request()).read())
        await until(served.renderer.rendering)
        await channel.close()
        await until(served.renderer.saw_cancelled)
        await asyncio.gather(reading, return_exceptions=True)

    async def test_a_deadline_stops_the_rendering(self, served: Served) -> None:
        await open_volume(served.stub)
        served.renderer.gate.clear()
        code, _, _ = await failure(served.stub.Render(render_request(), timeout=0.3))
        assert code is CODE.DEADLINE_EXCEEDED
        await until(served.renderer.saw_cancelled)
        assert served.renderer.renders == 0

    async def test_an_unexpected_error_is_logged_and_not_told(
        self, served: Served, caplog: pytest.LogCaptureFixture
    ) -> None:
        served.renderer.render_error = ValueError("secret text")
        with caplog.at_level(logging.ERROR, "render.service"):
            code, line, detail = await failure(served.stub.Render(render_request()))
        assert (code, detail.reason) == (CODE.INTERNAL, "INTERNAL")
        assert "secret" not in line
        assert "secret text" in caplog.text
        served.renderer.render_error = None
        await render_frame(served.stub, render_request())

"""Calls of the service as tests make them."""

from __future__ import annotations

import asyncio
import threading
import zlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

import grpc
import grpc.aio
import pytest

from render.service.convert.views import view_to_proto
from render.service.interceptors import ERROR_METADATA_KEY
from render.v1 import frame_pb2, render_service_pb2_grpc, view_pb2
from render.v1 import render_service_pb2 as pb
from tests.fakes import PATIENCE_S, make_view


async def until(event: threading.Event) -> None:
    """Wait for something that happens in a thread."""
    assert await asyncio.to_thread(event.wait, PATIENCE_S)


async def open_volume(stub: Any, volume_id: str = "a") -> pb.OpenedVolume:
    events = [event async for event in stub.OpenVolume(pb.OpenVolumeRequest(volume_id=volume_id))]
    assert events[-1].WhichOneof("event") == "opened"
    assert all(event.WhichOneof("event") == "progress" for event in events[:-1])
    opened: pb.OpenedVolume = events[-1].opened
    return opened


def render_request(view: Any = None, **parts: Any) -> pb.RenderRequest:
    message = view if isinstance(view, view_pb2.View) else view_to_proto(view or make_view("a"))
    return pb.RenderRequest(view=message, **{"encoding": frame_pb2.FRAME_ENCODING_VALUES_FLOAT32, **parts})


async def render_frame(stub: Any, request: pb.RenderRequest, **options: Any) -> tuple[frame_pb2.FrameHeader, bytes]:
    parts = [part async for part in stub.Render(request, **options)]
    assert [part.WhichOneof("part") for part in parts] == ["header"] + ["chunk"] * (len(parts) - 1)
    header = parts[0].header
    assert header.chunk_count == len(parts) - 1
    assert all(0 < len(part.chunk) <= 1 << 20 for part in parts[1:])
    payload = b"".join(part.chunk for part in parts[1:])
    assert (len(payload), zlib.crc32(payload)) == (header.payload_bytes, header.payload_crc32)
    return header, payload


async def consume(call: Any) -> None:
    """Read a call to its end."""
    if hasattr(call, "__aiter__"):
        async for _ in call:
            pass
    else:
        await call


async def upload(address: str, messages: Iterable[pb.UploadVolumeRequest]) -> pb.UploadVolumeResponse:
    """Upload on gRPC's synchronous stack: the asyncio one may lose the status of a call refused as it writes."""

    def call() -> pb.UploadVolumeResponse:
        with grpc.insecure_channel(address) as channel:
            stub = render_service_pb2_grpc.RenderServiceStub(channel)  # type: ignore[no-untyped-call]
            answer: pb.UploadVolumeResponse = stub.UploadVolume(iter(list(messages)), timeout=PATIENCE_S)
            return answer

    return await asyncio.to_thread(call)


async def silence() -> AsyncIterator[Any]:
    """Send nothing, and do not end."""
    await asyncio.Event().wait()
    yield


async def failure(call: Any) -> tuple[grpc.StatusCode, str, pb.ErrorDetail]:
    """Return how a call fails: the status, the line, the details."""
    with pytest.raises(grpc.RpcError) as caught:
        await consume(call)
    details = caught.value.details() or ""
    assert "\n" not in details
    detail = pb.ErrorDetail()
    for key, value in caught.value.trailing_metadata() or ():
        if key == ERROR_METADATA_KEY:
            detail.ParseFromString(value)  # type: ignore[arg-type]
    return caught.value.code(), details, detail

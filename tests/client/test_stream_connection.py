"""Live streams whose connection breaks, falls silent or comes back, synchronous and asyncio, over a real socket."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from render.service.convert.views import view_from_proto
from tests.client.fake_service import (
    FakeService,
    assert_shows,
    serving,
    stream_frame,
    welcome,
)
from voxelcast import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    ProtocolError,
    UnavailableError,
    VoxelcastError,
    pulse,
    stream_call,
)

SIZE_PX = (96, 64)


def _damaged(requests: Iterator[Any]) -> Iterator[Any]:
    for request in requests:
        if request.message.WhichOneof("message") == "hello":
            yield welcome()
        elif request.message.WhichOneof("message") == "set_view":
            message = request.message.set_view
            view = view_from_proto(message.view)
            for part in stream_frame(view, "main", message.revision, 1, lossless=True):
                part.frame.payload = part.frame.payload[:-1] + bytes([part.frame.payload[-1] ^ 1])
                yield part


def _out_of_order(requests: Iterator[Any]) -> Iterator[Any]:
    for request in requests:
        if request.message.WhichOneof("message") == "hello":
            yield welcome()
        elif request.message.WhichOneof("message") == "set_view":
            message = request.message.set_view
            view = view_from_proto(message.view)
            parts = list(stream_frame(view, "main", message.revision, 1, lossless=True))
            assert len(parts) > 2
            yield from (parts[0], parts[2])


def _ends(requests: Iterator[Any]) -> Iterator[Any]:
    yield welcome()


FAULTS: list[tuple[Any, type[VoxelcastError], str]] = [
    (_damaged, ProtocolError, "CRC"),
    (_out_of_order, ProtocolError, "chunk 2 of"),
    (_ends, UnavailableError, "the server ended the stream"),
]


@pytest.mark.parametrize(("script", "kind", "message"), FAULTS)
def test_a_broken_stream_says_why(
    client: Client, service: FakeService, script: Any, kind: type[VoxelcastError], message: str
) -> None:
    service.stream_script = script
    with client.open("head").stream() as stream, pytest.raises(kind, match=message):
        stream.settle()


def test_it_comes_back_after_the_server_was_restarted(service: FakeService, caplog: pytest.LogCaptureFixture) -> None:
    restarted = FakeService()
    with serving(service) as address:
        client = Client(address, timeout_s=30)
        volume = client.open("head")
        stream = volume.stream(volume.axial(1.0, size_px=SIZE_PX))
        assert_shows(stream.settle(), volume.axial(1.0, size_px=SIZE_PX))
        assert stream.is_connected
    last = volume.axial(3.0, size_px=SIZE_PX)
    stream.show(last)  # while nobody is there
    with stream._call.changed:
        assert stream._call.changed.wait_for(lambda: not stream.is_connected, 30)
    with pytest.raises(DeadlineExceededError, match=rf"no frame within 0 s: .*{address}.*; it is tried again"):
        stream.next_frame(timeout_s=0)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert re.fullmatch(rf".*{address}.*; trying again for 120 s", caplog.records[0].getMessage())
    with serving(restarted, int(address.rpartition(":")[2])):
        assert_shows(stream.settle(), last)
        assert restarted.received[0].hello.resume_token == "resume"
        assert stream.is_connected
        assert caplog.records[1].getMessage() == f"connected to {address} again"
        stream.close()
        assert not stream.is_connected
        client.close()


def kinds(service: FakeService) -> list[str | None]:
    return [message.WhichOneof("message") for message in service.received]


def test_an_idle_stream_asks_for_a_sign_of_life_and_is_content_with_it(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "QUIET_S", 0.02)
    volume = client.open("head")
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        stream.settle()
        while kinds(service).count("ping") < 3:
            pass
        assert stream.settle(volume.coronal(size_px=SIZE_PX)).is_exact
    assert kinds(service).count("hello") == 1


def test_a_stream_that_died_in_silence_comes_back(
    client: Client, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "QUIET_S", 0.05)
    monkeypatch.setattr(pulse, "ANSWER_S", 1.0)
    answer, calls = service._frames, 0

    def deaf_after_the_first_frame(requests: Iterator[Any]) -> Iterator[Any]:
        nonlocal calls
        calls += 1
        if calls > 1:
            yield from answer(requests)
            return
        for response in answer(requests):
            yield response
            if response.frame.header.lossless:
                break
        for request in requests:
            service.received.append(request.message)

    service.stream_script = deaf_after_the_first_frame
    volume = client.open("head")
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        first = stream.next_frame()
        assert not first.is_exact
        last = volume.coronal(size_px=SIZE_PX)
        assert_shows(stream.settle(last), last)
    assert kinds(service).count("hello") == 2
    assert "ping" in kinds(service)
    assert calls == 2


def test_a_server_that_stays_away_is_given_up(service: FakeService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_call, "RECONNECT_S", 0.2)
    with serving(service) as address:
        client = Client(address, timeout_s=30)
        stream = client.open("head").stream()
        volume = client.open("head")
        stream.settle(volume.axial(size_px=SIZE_PX))
    with pytest.raises(UnavailableError):
        stream.settle(volume.axial(2.0, size_px=SIZE_PX))
    assert not stream.is_connected
    stream.close()
    client.close()


async def test_asyncio_comes_back_after_the_server_was_restarted(service: FakeService) -> None:
    with serving(service) as address:
        client = AsyncClient(address, timeout_s=30)
        volume = await client.open("head")
        stream = volume.stream(volume.axial(1.0, size_px=SIZE_PX))
        await stream.settle()
        assert stream.is_connected
    last = volume.axial(3.0, size_px=SIZE_PX)
    with serving(FakeService(), int(address.rpartition(":")[2])):
        assert_shows(await stream.settle(last), last)
        await stream.close()
        await client.close()


def test_a_server_that_is_not_there() -> None:
    with Client("127.0.0.1:1") as client, client.stream() as stream:
        with pytest.raises(UnavailableError, match=r"no connection to 127.0.0.1:1"):
            stream.next_frame()
        with pytest.raises(UnavailableError, match="no connection"):
            next(iter(stream))


@pytest.mark.parametrize(("script", "kind", "message"), FAULTS)
async def test_asyncio_a_broken_stream_says_why(
    address: str, service: FakeService, script: Any, kind: type[VoxelcastError], message: str
) -> None:
    service.stream_script = script
    async with AsyncClient(address) as client, (await client.open("head")).stream() as stream:
        with pytest.raises(kind, match=message):
            await stream.settle()

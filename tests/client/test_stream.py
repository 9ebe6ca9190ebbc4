"""Live streams, synchronous and asyncio, over a real socket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from render.service.convert.views import view_from_proto
from tests.client.fake_service import (
    FakeService,
    assert_shows,
    stream_frame,
    welcome,
)
from voxelcast import (
    AsyncClient,
    Client,
    DeadlineExceededError,
    Frame,
    InvalidArgumentError,
    UnavailableError,
)

SIZE_PX = (96, 64)


def acknowledged(service: FakeService) -> list[int]:
    return [m.acknowledge.sequence for m in service.received if m.WhichOneof("message") == "acknowledge"]


def test_a_view_settles_on_its_exact_frame(client: Client, service: FakeService) -> None:
    volume = client.open("head")
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        assert_shows(stream.settle(), volume.axial(size_px=SIZE_PX))
        for view in (volume.coronal(size_px=SIZE_PX), volume.volume_rendering(size_px=SIZE_PX)):
            assert_shows(stream.settle(view), view)
        assert_shows(stream.settle(), view)
    assert [m.WhichOneof("message") for m in service.received][:2] == ["hello", "set_view"]
    assert service.received[0].hello.client.startswith("voxelcast-python")


def test_frames_come_as_they_are_and_the_exact_one_last(client: Client) -> None:
    volume = client.open("head")
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        frames = list(stream.until_settled())
        assert_shows(frames[-1], volume.axial(size_px=SIZE_PX))
        assert [frame.is_exact for frame in frames] == [False] * (len(frames) - 1) + [True]
        for frame in frames[:-1]:
            assert frame.content == "picture"
            assert frame.array.shape == SIZE_PX[::-1]
        assert list(stream.until_settled()) == []


def test_iterating_goes_on_until_the_stream_is_closed(client: Client) -> None:
    volume = client.open("head")
    shown = [volume.axial(float(z), size_px=SIZE_PX) for z in range(5)]
    taken = []
    with volume.stream(shown[0]) as stream:
        views = iter(shown[1:])
        for frame in stream:
            if frame.is_exact:
                taken.append(frame)
                if (view := next(views, None)) is None:
                    stream.close()
                else:
                    stream.show(view)
    for frame, view in zip(taken, shown, strict=True):
        assert_shows(frame, view)


def test_the_last_of_many_views_is_what_is_seen(client: Client, service: FakeService) -> None:
    volume = client.open("head")
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        for z in range(300):
            stream.show(volume.axial(float(z), size_px=SIZE_PX))
        assert_shows(stream.settle(), volume.axial(299.0, size_px=SIZE_PX))
    revisions = [m.set_view.revision for m in service.received if m.WhichOneof("message") == "set_view"]
    assert revisions[-1] == 301
    assert revisions == sorted(set(revisions))
    assert len(revisions) < 301, "some were superseded before they were sent"


def test_several_views_share_a_stream(client: Client) -> None:
    volume = client.open("head")
    views = {"left": volume.axial(size_px=SIZE_PX), "right": volume.sagittal(size_px=SIZE_PX)}
    with client.stream() as stream:
        for name, view in views.items():
            stream.show(view, name)
        for name, view in views.items():
            frame = stream.settle(view_id=name)
            assert frame.view_id == name
            assert_shows(frame, view)
        stream.close_view("left")
        assert_shows(stream.settle(volume.coronal(size_px=SIZE_PX), view_id="right"), volume.coronal(size_px=SIZE_PX))


def test_frames_are_acknowledged_once_they_are_taken(client: Client, service: FakeService) -> None:
    told = threading.Event()

    def script(requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            service.received.append(request.message)
            match request.message.WhichOneof("message"):
                case "hello":
                    yield welcome()
                case "set_view":
                    message = request.message.set_view
                    view = view_from_proto(message.view)
                    yield from stream_frame(view, "main", message.revision, 1, lossless=True)
                case "acknowledge":
                    told.set()

    service.stream_script = script
    volume = client.open("head")
    with volume.stream(volume.axial(size_px=SIZE_PX)) as stream:
        stream.next_frame()
        assert told.wait(20)
        assert acknowledged(service) == [1]


def test_an_error_about_a_view_leaves_the_stream_alive(client: Client) -> None:
    volume = client.open("head")
    good = volume.axial(size_px=SIZE_PX)
    with volume.stream(good) as stream:
        assert_shows(stream.settle(), good)
        with pytest.raises(InvalidArgumentError, match="slab_mm -5") as caught:
            stream.settle(good.with_slab(-5))
        assert caught.value.reason == "INVALID_VIEW"
        assert_shows(stream.settle(good), good)
        with pytest.raises(InvalidArgumentError, match="no view 'other'"):
            stream.settle(view_id="other")


def test_waiting_has_an_end(client: Client, service: FakeService) -> None:
    def silent(requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            if request.message.WhichOneof("message") == "hello":
                yield welcome()

    service.stream_script = silent
    with client.open("head").stream() as stream:
        with pytest.raises(DeadlineExceededError, match=r"no frame within 0.05 s"):
            stream.next_frame(timeout_s=0.05)
        with pytest.raises(DeadlineExceededError):
            stream.settle(timeout_s=0.05)
    with pytest.raises(UnavailableError, match="the stream is closed"):
        stream.next_frame()
    with pytest.raises(UnavailableError, match="the stream is closed"):
        stream.show(client.open("head").axial())


def test_closing_wakes_the_consumer(client: Client, service: FakeService) -> None:
    service.stream_script = _forever
    stream = client.open("head").stream()
    taken: list[Frame] = []
    consumer = threading.Thread(target=lambda: taken.extend(stream))
    consumer.start()
    stream.close()
    consumer.join(20)
    assert not consumer.is_alive()
    assert taken == []


def _forever(requests: Iterator[Any]) -> Iterator[Any]:
    yield welcome()
    for _ in requests:
        pass


def test_no_thread_is_left(client: Client) -> None:
    volume = client.open("head")
    for _ in range(5):
        with volume.stream() as stream:
            stream.settle()
    assert not [t for t in threading.enumerate() if t.name == "voxelcast-stream"]


async def test_asyncio_settles(address: str) -> None:
    async with AsyncClient(address) as client, await client.open("head") as volume:
        view = volume.axial(size_px=SIZE_PX)
        async with volume.stream(view) as stream:
            frames = [frame async for frame in stream.until_settled()]
            assert_shows(frames[-1], view)
            for z in range(300):
                stream.show(volume.axial(float(z), size_px=SIZE_PX))
            assert_shows(await stream.settle(), volume.axial(299.0, size_px=SIZE_PX))
            bones = volume.volume_rendering(size_px=SIZE_PX)
            assert_shows(await stream.settle(bones, view_id="3d"), bones)
            stream.close_view("3d")


async def test_asyncio_iterates_until_closed(address: str) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        async with volume.stream() as stream:
            async for frame in stream:
                if frame.is_exact:
                    await stream.close()
        with pytest.raises(UnavailableError, match="the stream is closed"):
            await stream.next_frame()
        with pytest.raises(UnavailableError, match="the stream is closed"):
            stream.show(volume.axial())


async def test_asyncio_closing_wakes_the_consumer(address: str, service: FakeService) -> None:
    service.stream_script = _forever
    async with AsyncClient(address) as client:
        stream = (await client.open("head")).stream()

        async def consume() -> int:
            return len([frame async for frame in stream])

        consumer = asyncio.create_task(consume())
        await asyncio.sleep(0)
        await stream.close()
        assert await asyncio.wait_for(consumer, 20) == 0


async def test_asyncio_a_cancelled_wait_takes_no_frame(address: str) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        async with client.stream() as stream:
            waiting = asyncio.create_task(stream.next_frame())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            view = volume.axial(size_px=SIZE_PX)
            assert_shows(await stream.settle(view), view)


async def test_asyncio_waiting_has_an_end(address: str, service: FakeService) -> None:
    service.stream_script = _forever
    async with AsyncClient(address) as client, (await client.open("head")).stream() as stream:
        with pytest.raises(DeadlineExceededError, match=r"no frame within 0.05 s"):
            await stream.next_frame(timeout_s=0.05)
        with pytest.raises(DeadlineExceededError):
            await stream.settle(timeout_s=0.05)


async def test_asyncio_an_error_leaves_the_stream_alive(address: str) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        good = volume.axial(size_px=SIZE_PX)
        async with volume.stream(good) as stream:
            await stream.settle()
            with pytest.raises(InvalidArgumentError, match="slab_mm -5"):
                await stream.settle(good.with_slab(-5))
            assert_shows(await stream.settle(good), good)


async def test_asyncio_no_task_is_left(address: str) -> None:
    async with AsyncClient(address) as client:
        volume = await client.open("head")
        for _ in range(3):
            async with volume.stream() as stream:
                await stream.settle()
    await asyncio.sleep(0)
    ours = [task for task in asyncio.all_tasks() if "voxelcast" in str(task.get_coro())]
    assert ours == []

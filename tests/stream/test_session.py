"""The driver, with an engine and a transport that the test plays."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from render.errors import BudgetExceededError, DrainingError, InvalidArgumentError, UnauthenticatedError
from render.stream import view_state
from render.stream.contract import CloseCode
from render.stream.limits import Limits
from render.stream.outbox import Outgoing
from render.stream.pacing import CAUTIOUS_LEVEL, RENDER_LEVELS
from render.stream.registry import RESUME_SECONDS, SessionRegistry
from render.stream.session import MAX_QUEUED_ANSWERS, Session
from render.v1 import frame_pb2, stream_pb2
from tests.stream.engines import FakeEngine, FakeRender, real_engine, view_message
from tests.stream.harness import Clock


class FakeTransport:
    """What the client sends is put in; what it gets is taken out. Has room for messages only while `room` is set."""

    def __init__(self) -> None:
        self.inbox: asyncio.Queue[stream_pb2.ClientMessage | Exception | None] = asyncio.Queue()
        self.outbox: asyncio.Queue[Outgoing] = asyncio.Queue()
        self.room = asyncio.Event()
        self.room.set()
        self.gone = False
        self.closed: tuple[CloseCode, str] | None = None

    async def receive(self, max_bytes: int) -> stream_pb2.ClientMessage | None:
        message = await self.inbox.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Outgoing) -> None:
        await self.room.wait()
        if self.gone:
            raise ConnectionError
        self.outbox.put_nowait(message)

    async def close(self, code: CloseCode, reason: str) -> None:
        self.closed = code, reason


class Played:
    """A session that runs, and its client."""

    def __init__(self, engine: FakeEngine, sessions: SessionRegistry, **options: Any) -> None:
        self.engine = engine
        self.transport = FakeTransport()
        self.session = Session(engine, self.transport, sessions=sessions, **options)  # type: ignore[arg-type]
        self.task = asyncio.create_task(self.session.run())

    def say(self, **message: Any) -> None:
        self.transport.inbox.put_nowait(stream_pb2.ClientMessage(**message))

    def set_view(self, view_id: str, revision: int, volume_id: str = "vol", *, color: bool = False) -> None:
        view = view_message(volume_id, color=color)
        self.say(set_view=stream_pb2.SetView(view_id=view_id, revision=revision, view=view))

    async def hello(self, **fields: Any) -> stream_pb2.Welcome:
        self.say(hello=stream_pb2.Hello(protocol_version=1, **fields))
        return await self.answer("welcome")  # type: ignore[no-any-return]

    async def answer(self, kind: str) -> Any:
        while True:
            message = await self.transport.outbox.get()
            if isinstance(message, stream_pb2.ServerMessage) and message.WhichOneof("message") == kind:
                return getattr(message, kind)

    async def frame(self) -> frame_pb2.FrameHeader:
        while True:
            message = await self.transport.outbox.get()
            if isinstance(message, stream_pb2.FrameMessage):
                header = message.header
                ack = stream_pb2.Acknowledge(view_id=header.view_id, sequence=header.sequence)
                self.say(acknowledge=ack)
                return header

    async def render(self) -> FakeRender:
        return await self.engine.renders.get()


@contextlib.asynccontextmanager
async def playing(
    engine: FakeEngine | None = None, sessions: SessionRegistry | None = None, **options: Any
) -> AsyncIterator[Played]:
    played = Played(engine or FakeEngine(), sessions or SessionRegistry(), **options)
    try:
        yield played
    finally:
        played.transport.inbox.put_nowait(None)
        await played.task
        own = [lease for lease in played.engine.leases if lease.holder == played.session.name]
        assert own == [], "a lease that nobody ends"


@pytest.fixture(autouse=True)
def _short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_state, "SETTLE_S", 0.01)


async def test_from_a_view_to_its_final_frame() -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        (await client.render()).finish()
        assert (await client.frame()).encoding == frame_pb2.FRAME_ENCODING_JPEG
        (await client.render()).finish()
        final = await client.frame()
        assert (final.quality, final.units) == (frame_pb2.FRAME_QUALITY_FINAL, "HU")
        assert [lease.holder for lease in client.engine.leases] == ["session-1"]


async def test_a_jpeg_is_asked_of_the_renderer_and_pixels_only_if_they_are_sent_too() -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        moving = await client.render()
        assert moving.picture is not None
        assert 1 <= moving.picture.jpeg_quality <= 100
        assert not moving.picture.with_pixels
        moving.finish()
        await client.frame()
        final = await client.render()
        assert final.picture is None or final.picture.with_pixels
        final.finish()
        await client.frame()


async def test_headers_say_what_was_saved_and_the_final_frame_saves_nothing() -> None:
    async with real_engine() as engine:
        client = Played(engine, SessionRegistry())  # type: ignore[arg-type] # a real one
        await client.hello()
        client.set_view("a", 1, color=True)
        moving, final = await client.frame(), await client.frame()
        client.transport.inbox.put_nowait(None)
        await client.task
    began = RENDER_LEVELS[CAUTIOUS_LEVEL].quality
    assert moving.quality == frame_pb2.FRAME_QUALITY_INTERACTIVE
    assert (moving.ray_stride, moving.step_mm) == (began.ray_stride, pytest.approx(began.step_factor * 1.0))
    assert moving.ray_stride > 1
    assert moving.step_mm > 1
    assert (final.quality, final.lossless) == (frame_pb2.FRAME_QUALITY_FINAL, True)
    assert (final.ray_stride, final.step_mm) == (1, pytest.approx(1.0)), "half of 2 mm"


async def test_a_final_frame_that_is_superseded_is_cancelled_between_tiles() -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        (await client.render()).finish()
        final = await client.render()
        assert final.quality.is_final
        assert not final.cancelled()
        client.set_view("a", 2)
        picture = await client.render()
        assert final.cancelled()
        final.finish()
        picture.finish()
        assert [(await client.frame()).view_revision for _ in range(2)] == [1, 2]


async def test_nothing_is_rendered_for_a_client_that_has_gone() -> None:
    sessions = SessionRegistry()
    async with playing(sessions=sessions) as client:
        await client.hello()
        client.set_view("a", 1)
        client.set_view("b", 1)
        render = await client.render()
        client.transport.inbox.put_nowait(None)
        await client.task
        assert render.cancelled()
        assert render.done.cancelled()
        assert sessions.count == 0
        assert client.engine.started <= 2


async def test_a_client_that_vanishes_while_it_is_sent_to_is_noticed() -> None:
    async with playing() as client:
        await client.hello()
        client.transport.gone = True
        client.say(list_volumes=stream_pb2.ListVolumes())
        await client.task
        assert client.transport.closed is None


async def test_a_slow_client_gets_the_latest_picture_not_a_queue() -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        first = await client.render()
        client.transport.room.clear()
        first.finish()
        for revision in (2, 3, 4):
            client.set_view("a", revision)
        second = await client.render()
        second.finish()
        client.transport.room.set()
        revisions = [(await client.frame()).view_revision]
        if revisions[-1] == 1:
            revisions.append((await client.frame()).view_revision)
        assert revisions[-1] == second.view_revision > 1


async def test_a_view_that_rests_is_drawn_finally_while_its_client_reads_nothing() -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        picture = await client.render()
        client.transport.room.clear()
        picture.finish()
        final = await client.render()  # by the clock alone: the picture has not left
        assert final.quality.is_final
        assert client.transport.outbox.empty()
        client.transport.room.set()
        final.finish()
        assert (await client.frame()).encoding == frame_pb2.FRAME_ENCODING_JPEG
        assert (await client.frame()).quality == frame_pb2.FRAME_QUALITY_FINAL


async def test_a_flood_of_views_has_one_timer_not_one_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_state, "SETTLE_S", 60.0)
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        picture = await client.render()
        loop = asyncio.get_running_loop()
        begun: list[float] = []
        call_later = loop.call_later

        def counted(delay: float, *rest: Any) -> asyncio.TimerHandle:
            begun.append(delay)
            return call_later(delay, *rest)

        monkeypatch.setattr(loop, "call_later", counted)
        picture.finish()
        await client.frame()
        for revision in range(2, 102):
            client.set_view("a", revision)
            (await client.render()).finish()
            await client.frame()
        assert len(begun) <= 2
        client.say(list_volumes=stream_pb2.ListVolumes())
        await client.answer("volume_list")
        client.say(list_volumes=stream_pb2.ListVolumes())
        await client.answer("volume_list")  # an earlier deadline has a timer of its own
        assert min(begun) < 1.0


async def test_a_chunk_that_comes_due_while_the_alarm_is_set_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        (await client.render()).finish()
        await client.frame()
        final = await client.render()
        protocol = client.session.protocol
        next_message, looks = protocol.next_message, 0

        def a_moment_too_early() -> Outgoing | None:
            nonlocal looks
            looks += any(view.final is not None for view in protocol.views)
            return None if looks == 1 else next_message()

        monkeypatch.setattr(protocol, "next_message", a_moment_too_early)
        final.finish()
        assert (await asyncio.wait_for(client.frame(), 20)).quality == frame_pb2.FRAME_QUALITY_FINAL
        assert looks > 1


async def test_loading_is_told_and_its_failure_is_an_error_of_the_view() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    engine.open_errors.append(BudgetExceededError("volume vol needs 9 GiB"))
    async with playing(engine) as client:
        await client.hello()
        client.set_view("a", 1)
        progress = await client.answer("load_progress")
        assert (progress.volume_id, progress.stage, progress.done, progress.total) == ("vol", "decoding", 3, 24)
        engine.gate.set()
        error = await client.answer("error")
        assert (error.reason, error.view_id) == ("BUDGET_EXCEEDED", "a")
        client.set_view("a", 2)
        (await client.render()).finish()
        assert (await client.frame()).view_revision == 2


async def test_a_view_that_is_closed_while_its_volume_loads_stops_the_load() -> None:
    engine = FakeEngine()
    engine.gate.clear()
    async with playing(engine) as client:
        await client.hello()
        client.set_view("a", 1)
        await client.answer("load_progress")
        client.say(close_view=stream_pb2.CloseView(view_id="a"))
        client.say(list_volumes=stream_pb2.ListVolumes())
        await client.answer("volume_list")
        engine.gate.set()
    assert engine.leases == []


async def test_a_view_that_changes_its_volume_before_its_frame_begins_is_no_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    engine = FakeEngine()
    engine.volumes["other"] = engine.volumes["vol"]
    async with playing(engine) as client:
        await client.hello()
        client.set_view("a", 1)
        (await client.render()).finish()
        await client.frame()
        for revision in range(2, 8):
            client.set_view("a", revision, "other" if revision % 2 else "vol")
        while True:
            render = await client.render()
            if render.view_revision == 7:
                break
            if not render.cancelled():
                render.finish()
        assert not caplog.records


async def test_an_error_of_one_view_leaves_the_others_alone_and_tells_no_secret(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with playing() as client:
        await client.hello()
        client.set_view("a", 1)
        (await client.render()).fail(RuntimeError("/home/somebody/patient.dcm"))
        error = await client.answer("error")
        assert (error.reason, error.view_id) == ("INTERNAL", "a")
        assert "patient" not in error.message
        assert "unexpected error" in caplog.text
        client.set_view("b", 1)
        (await client.render()).fail(InvalidArgumentError("no such thing"))
        assert (await client.answer("error")).message == "no such thing"
        client.set_view("a", 2)
        (await client.render()).finish()
        assert (await client.frame()).view_id == "a"


async def test_a_message_that_breaks_the_protocol_is_told_before_the_end() -> None:
    async with playing() as client:
        await client.hello()
        client.say(hello=stream_pb2.Hello(protocol_version=1))
        assert (await client.answer("error")).reason == "PROTOCOL"
        await client.task
        assert client.transport.closed is not None
        assert client.transport.closed[0] == CloseCode.PROTOCOL


async def test_an_unexpected_error_closes_with_1011_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with playing() as client:
        await client.hello()
        client.transport.inbox.put_nowait(RuntimeError("/secret/path"))
        await client.task
        assert client.transport.closed == (CloseCode.INTERNAL, "internal error; the server's log has it")
        assert "/secret/path" in caplog.text


async def test_who_does_not_read_is_not_read() -> None:
    async with playing() as client:
        await client.hello()
        client.transport.room.clear()
        for _ in range(10 * MAX_QUEUED_ANSWERS):
            client.say(ping=stream_pb2.Ping())
        for _ in range(20 * MAX_QUEUED_ANSWERS):
            await asyncio.sleep(0)
        assert client.session.protocol.queued_answers <= MAX_QUEUED_ANSWERS + 1
        client.transport.room.set()


async def test_the_token_is_asked_for() -> None:
    def refuse(token: str) -> None:
        raise UnauthenticatedError("the token is wrong")

    async with playing(authenticate=refuse) as client:
        client.say(hello=stream_pb2.Hello(protocol_version=1, token="x"))
        await client.task
        assert client.transport.closed == (CloseCode.POLICY, "the token is wrong")


async def test_hello_has_its_time() -> None:
    sessions = SessionRegistry(limits=Limits(hello_seconds=0.001))
    async with playing(sessions=sessions) as client:
        await client.task
        assert client.transport.closed == (CloseCode.POLICY, "no hello within 0.001 s")


async def test_frames_in_flight_end_when_the_server_drains() -> None:
    sessions = SessionRegistry()
    async with playing(sessions=sessions) as client:
        await client.hello()
        client.set_view("a", 1)
        render = await client.render()
        draining = asyncio.create_task(sessions.drain(30))
        await client.answer("draining")
        render.finish()
        assert (await client.frame()).view_revision == 1
        await draining
        await client.task
        assert client.transport.closed == (CloseCode.GOING_AWAY, "the server is shutting down")
        with pytest.raises(DrainingError):
            Session(client.engine, FakeTransport(), sessions=sessions)  # type: ignore[arg-type]


async def test_a_frame_that_does_not_end_holds_the_drain_for_its_time_only() -> None:
    sessions = SessionRegistry()
    async with playing(sessions=sessions) as client:
        await client.hello()
        client.set_view("a", 1)
        await client.render()
        await sessions.drain(0.01)
        assert not client.task.done()


async def test_a_resume_token_is_good_once_and_for_a_while() -> None:
    clock = Clock()
    sessions = SessionRegistry(clock=clock)
    tokens = []
    for _ in range(2):
        async with playing(sessions=sessions) as client:
            tokens.append((await client.hello()).resume_token)
            client.set_view("a", 3)
            await client.render()
    assert tokens[0] != tokens[1]
    saved = sessions.resume(tokens[0])
    assert saved is not None
    assert [(view.view_id, view.revision) for view in saved.views] == [("a", 3)]
    assert sessions.resume(tokens[0]) is None
    clock.now += RESUME_SECONDS
    assert sessions.resume(tokens[1]) is None
    assert sessions.resume("made up") is None

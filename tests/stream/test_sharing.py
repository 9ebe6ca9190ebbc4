"""Several sessions on the same views: one drives, the others watch."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from render.encoding import Encoding, encode
from render.stream import sharing, view_state
from render.stream.contract import SavedSession
from render.stream.limits import Limits
from render.stream.registry import RESUME_SECONDS, SessionRegistry
from render.v1 import frame_pb2, stream_pb2
from tests.stream.engines import FakeEngine
from tests.stream.harness import Clock
from tests.stream.test_session import Played, playing

FINAL = frame_pb2.FRAME_QUALITY_FINAL


@pytest.fixture(autouse=True)
def _short_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view_state, "SETTLE_S", 0.01)


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[Encoding]:
    """Return what was encoded, as it goes on."""
    done: list[Encoding] = []

    def counting(frame: object, encoding: Encoding, **options: object) -> object:
        done.append(encoding)
        return encode(frame, encoding, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(sharing, "encode", counting)
    return done


async def share(driver: Played) -> str:
    driver.say(share=stream_pb2.Share())
    told = await driver.answer("sharing")
    assert told.driving
    assert told.driven
    return told.share_id  # type: ignore[no-any-return]


async def watch(watcher: Played, share_id: str) -> stream_pb2.Sharing:
    watcher.say(watch=stream_pb2.Watch(share_id=share_id))
    return await watcher.answer("sharing")  # type: ignore[no-any-return]


@contextlib.asynccontextmanager
async def two(sessions: SessionRegistry | None = None) -> AsyncIterator[tuple[Played, Played, str]]:
    """Yield who drives view "a", who watches it, and the share's id."""
    engine, sessions = FakeEngine(), sessions or SessionRegistry()
    async with playing(engine, sessions) as driver, playing(engine, sessions) as watcher:
        await driver.hello()
        await watcher.hello()
        share_id = await share(driver)
        told = await watch(watcher, share_id)
        assert (told.driving, told.driven, told.participants) == (False, True, 2)
        yield driver, watcher, share_id
        for each in (driver, watcher):  # nobody waits for a frame
            each.transport.inbox.put_nowait(None)
        while not engine.renders.empty():
            engine.renders.get_nowait().done.cancel()


async def final(client: Played, revision: int) -> frame_pb2.FrameHeader:
    while True:
        header = await client.frame()
        if (header.quality, header.view_revision) == (FINAL, revision):
            return header


async def finish_renders(engine: FakeEngine) -> None:
    while True:
        (await engine.renders.get()).finish()


async def test_one_renders_and_one_encode_is_shared(encoded: list[Encoding]) -> None:
    async with two() as (driver, watcher, _):
        driver.set_view("a", 1)
        render = await driver.render()
        set_view = await watcher.answer("view_set")
        assert (set_view.view_id, set_view.revision) == ("a", 1)
        assert set_view.view.layers[0].volume_id == "vol"
        render.finish()
        for client in (driver, watcher):
            assert (await client.frame()).encoding == frame_pb2.FRAME_ENCODING_JPEG
        (await driver.render()).finish()
        for client in (driver, watcher):
            header = await client.frame()
            assert (header.quality, header.view_revision) == (FINAL, 1)
        assert driver.engine.started == 2
        assert encoded == [Encoding.JPEG, Encoding.VALUES_DEFLATE]


async def test_without_a_share_each_renders_for_itself() -> None:
    """The control of the test above."""
    engine, sessions = FakeEngine(), SessionRegistry()
    async with playing(engine, sessions) as one, playing(engine, sessions) as other:
        finishing = asyncio.create_task(finish_renders(engine))
        for client in (one, other):
            await client.hello()
            client.set_view("a", 1)
        for client in (one, other):
            await final(client, 1)
        assert engine.started >= 3
        finishing.cancel()


async def test_a_watcher_that_does_not_read_does_not_slow_the_driver() -> None:
    async with two() as (driver, watcher, _):
        watcher.transport.room.clear()
        finishing = asyncio.create_task(finish_renders(driver.engine))
        for revision in range(1, 30):
            driver.set_view("a", revision)
            while (await driver.frame()).view_revision < revision:
                pass
        await final(driver, 29)
        (view,) = watcher.session.protocol.views
        assert view.credit_used <= watcher.session.protocol.link.window
        assert watcher.transport.outbox.empty()
        watcher.transport.room.set()
        await final(watcher, 29)
        finishing.cancel()


async def test_who_comes_late_gets_what_is_there_without_a_render(encoded: list[Encoding]) -> None:
    async with two() as (driver, watcher, share_id):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        driver.set_view("a", 5)
        await final(driver, 5)
        await final(watcher, 5)
        before = driver.engine.started, encoded.count(Encoding.VALUES_DEFLATE)
        async with playing(driver.engine, driver.session._sessions) as late:
            await late.hello()
            assert (await watch(late, share_id)).participants == 3
            await final(late, 5)
        assert (driver.engine.started, encoded.count(Encoding.VALUES_DEFLATE)) == before
        finishing.cancel()


async def test_who_watches_sets_no_view_until_it_drives() -> None:
    async with two() as (driver, watcher, _):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        driver.set_view("a", 3)
        await final(driver, 3)
        await final(watcher, 3)
        watcher.set_view("a", 4)
        error = await watcher.answer("error")
        assert (error.reason, error.view_id, error.revision) == ("INVALID_ARGUMENT", "a", 4)
        watcher.say(drive=stream_pb2.Drive())
        told = await watcher.answer("sharing")
        assert told.driving
        while (told := await driver.answer("sharing")).driving:
            pass  # of the watcher's coming
        assert told.driven
        watcher.set_view("a", 4)
        assert (await driver.answer("view_set")).revision == 4
        await final(driver, 4)
        driver.set_view("a", 5)
        assert (await driver.answer("error")).revision == 5
        finishing.cancel()


async def test_views_that_are_closed_are_closed_for_all() -> None:
    async with two() as (driver, watcher, _):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        driver.set_view("a", 1)
        await final(watcher, 1)
        driver.say(close_view=stream_pb2.CloseView(view_id="a"))
        assert (await watcher.answer("view_closed")).view_id == "a"
        assert watcher.session.protocol.views == ()
        finishing.cancel()


async def test_what_others_do_does_not_pile_up_for_a_watcher_that_does_not_read() -> None:
    async with two() as (driver, watcher, share_id):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        driver.set_view("known", 1)
        assert (await watcher.answer("view_set")).view_id == "known"
        async with playing(driver.engine, driver.session._sessions) as other:
            await other.hello()
            await watch(other, share_id)
            watcher.transport.room.clear()
            for number in range(200):
                driver.set_view(f"view {number}", 1)
                driver.say(close_view=stream_pb2.CloseView(view_id=f"view {number}"))
            driver.say(close_view=stream_pb2.CloseView(view_id="known"))
            driver.say(list_volumes=stream_pb2.ListVolumes())
            await driver.answer("volume_list")
            for _ in range(100):
                for hand in (other, driver):
                    hand.say(drive=stream_pb2.Drive())
                    while not (await hand.answer("sharing")).driving:
                        pass
            driver.set_view("last", 1)
            await driver.frame()
            assert watcher.session.protocol.queued_answers <= 1
        watcher.transport.room.set()
        kinds: list[str | None] = []
        while True:
            message = await watcher.transport.outbox.get()
            if isinstance(message, stream_pb2.ServerMessage):
                kinds.append(message.WhichOneof("message"))
            elif message.header.view_id == "last":
                break
        # Who drives, at most twice: one was being written. Then what became of the views that it knew, and the new one.
        assert kinds.count("sharing") <= 3
        assert kinds.count("view_closed") == 1
        assert kinds.count("view_set") == 1
        finishing.cancel()


async def test_an_id_of_nothing_is_an_error_and_the_session_goes_on() -> None:
    async with playing() as client:
        await client.hello()
        client.say(watch=stream_pb2.Watch(share_id="guessed"))
        error = await client.answer("error")
        assert error.reason == "INVALID_ARGUMENT"
        assert "guessed" not in error.message
        client.say(drive=stream_pb2.Drive())
        assert (await client.answer("error")).reason == "INVALID_ARGUMENT"
        client.say(list_volumes=stream_pb2.ListVolumes())
        await client.answer("volume_list")


async def test_when_who_renders_leaves_another_one_renders() -> None:
    async with two() as (driver, watcher, _):
        driver.set_view("a", 1)
        first = await driver.render()
        await watcher.answer("view_set")
        driver.transport.inbox.put_nowait(None)
        await driver.task
        told = await watcher.answer("sharing")
        assert (told.driven, told.participants) == (False, 1)
        finishing = asyncio.create_task(finish_renders(watcher.engine))
        await final(watcher, 1)
        assert first.cancelled() or first.done.cancelled()
        finishing.cancel()


async def test_a_failed_frame_is_told_to_all() -> None:
    async with two() as (driver, watcher, _):
        driver.set_view("a", 1)
        render = await driver.render()
        await watcher.answer("view_set")
        render.fail(ValueError("nobody's business"))
        for client in (driver, watcher):
            assert (await client.answer("error")).view_id == "a"


async def test_a_driver_that_comes_back_drives_again() -> None:
    clock = Clock()
    sessions = SessionRegistry(clock=clock, limits=Limits(hello_seconds=1e9))
    engine = FakeEngine()
    finishing = asyncio.create_task(finish_renders(engine))
    async with playing(engine, sessions) as watcher:
        await watcher.hello()
        async with playing(engine, sessions) as driver:
            token = (await driver.hello()).resume_token
            share_id = await share(driver)
            driver.set_view("a", 1)
            await watch(watcher, share_id)
        async with playing(engine, sessions) as again:
            assert (await again.hello(resume_token=token)).epoch == 2
            told = await again.answer("sharing")
            assert (told.share_id, told.driving, told.participants) == (share_id, True, 2)
            again.set_view("a", 2)
            while (await watcher.answer("view_set")).revision != 2:
                pass
    finishing.cancel()


async def ended(client: Played) -> stream_pb2.Sharing:
    """Return what tells a session that it is on its own; frames before it are painted."""
    while True:
        message = await client.transport.outbox.get()
        if isinstance(message, stream_pb2.FrameMessage):
            header = message.header
            client.say(acknowledge=stream_pb2.Acknowledge(view_id=header.view_id, sequence=header.sequence))
        elif message.HasField("sharing") and not message.sharing.share_id:
            return message.sharing


async def test_who_drives_ends_it_for_all_and_each_goes_on_with_the_views() -> None:
    async with two() as (driver, watcher, share_id):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        driver.set_view("a", 3)
        await final(watcher, 3)
        driver.say(stop_sharing=stream_pb2.StopSharing())
        for each in (driver, watcher):
            told = await ended(each)
            assert (told.driving, told.driven, told.participants) == (True, False, 0)
        # What one sets from now on, the other does not see.
        watcher.set_view("a", 4)
        await final(watcher, 4)
        driver.set_view("a", 5)
        await final(driver, 5)
        assert [view.revision for view in watcher.session.protocol.views] == [4]
        # And the link leads nowhere.
        watcher.say(watch=stream_pb2.Watch(share_id=share_id))
        assert "nothing is shared" in (await watcher.answer("error")).message
        finishing.cancel()


async def test_who_watches_leaves_and_the_others_go_on() -> None:
    async with two() as (driver, watcher, share_id):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        watcher.say(stop_sharing=stream_pb2.StopSharing())
        await ended(watcher)
        while (told := await driver.answer("sharing")).participants != 1:
            pass
        assert (told.share_id, told.driving) == (share_id, True)
        driver.set_view("a", 1)
        await final(driver, 1)
        assert watcher.session.protocol.views == ()
        finishing.cancel()


async def test_who_shares_nothing_has_nothing_to_end() -> None:
    async with playing(FakeEngine(), SessionRegistry()) as alone:
        await alone.hello()
        alone.say(stop_sharing=stream_pb2.StopSharing())
        assert (await alone.answer("error")).reason == "INVALID_ARGUMENT"


async def test_who_comes_back_after_the_end_is_told() -> None:
    sessions, engine = SessionRegistry(), FakeEngine()
    finishing = asyncio.create_task(finish_renders(engine))
    async with playing(engine, sessions) as driver:
        await driver.hello()
        async with playing(engine, sessions) as watcher:
            token = (await watcher.hello()).resume_token
            share_id = await share(driver)
            driver.set_view("a", 1)
            await watch(watcher, share_id)
            await final(watcher, 1)
        driver.say(stop_sharing=stream_pb2.StopSharing())
        await ended(driver)
        async with playing(engine, sessions) as again:
            assert (await again.hello(resume_token=token)).epoch == 2
            assert (await ended(again)).driving
            again.set_view("a", 2)
            await final(again, 2)
    finishing.cancel()


async def test_a_share_of_nobody_holds_no_frame() -> None:
    async with two() as (driver, watcher, share_id):
        finishing = asyncio.create_task(finish_renders(driver.engine))
        driver.set_view("a", 1)
        await final(driver, 1)
        share = driver.session._sessions.share(share_id)
        assert share is not None
        assert share.frames._made
        for each in (driver, watcher):
            each.transport.inbox.put_nowait(None)
            await each.task
        assert not share.frames._made
        finishing.cancel()


def test_a_share_of_nobody_ends_when_nobody_can_come_back_any_more() -> None:
    clock = Clock()
    sessions = SessionRegistry(clock=clock)
    share_id = sessions.new_share().share_id
    clock.now += RESUME_SECONDS - 1
    sessions.new_share()
    assert sessions.share(share_id) is not None
    clock.now += RESUME_SECONDS + 1
    sessions.new_share()
    assert sessions.share(share_id) is None
    assert SavedSession(1).share_id == ""

"""The websocket over a real socket, against the real engine."""

from __future__ import annotations

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from render.encoding import decode_rgba, decode_values
from render.frame import FINAL
from render.service.convert.views import view_from_proto
from render.stream.limits import Limits
from render.stream.registry import SessionRegistry
from tests.stream.engines import view_message
from tests.web.client import Client, served


async def closing(client: Client) -> tuple[int, str]:
    """Read until the socket closes; return code and reason."""
    try:
        while True:
            await client.frame()
    except ConnectionClosed:
        assert client.socket.close_code is not None
        return client.socket.close_code, client.socket.close_reason or ""


async def test_the_final_frame_is_the_renderers_own_values() -> None:
    async with served() as server, server.client() as client:
        await client.hello(client="test")
        view = view_message(z_mm=21.0)
        await client.set_view("axial", 1, view)
        header, payload = await client.final("axial", 1)
        assert header["encoding"] == "FRAME_ENCODING_VALUES_DEFLATE"
        assert header["lossless"]
        lease = await server.engine.open("vol", holder="test")
        frame = await server.engine.render(view_from_proto(view), {"vol": lease}, quality=FINAL)
        lease.release()
        assert frame.values is not None
        assert np.isnan(frame.values).any()
        assert np.nanstd(frame.values) > 100
        values = decode_values(payload, 48, 48, header["value_slope"], header["value_intercept"], deflated=True)
        np.testing.assert_allclose(values, frame.values, atol=header["value_slope"] / 2)


async def test_volume_rendering_ends_as_the_renderers_own_rgba() -> None:
    async with served() as server, server.client() as client:
        await client.hello()
        view = view_message(color=True)
        await client.set_view("3d", 1, view)
        header, payload = await client.final("3d", 1)
        lease = await server.engine.open("vol", holder="test")
        frame = await server.engine.render(view_from_proto(view), {"vol": lease}, quality=FINAL)
        lease.release()
        np.testing.assert_array_equal(decode_rgba(payload, 48, 48, deflated=True), frame.color)
        assert header["rendering_method"] == "RENDERING_METHOD_VOLUME_RENDERED"


async def test_every_header_has_every_field() -> None:
    async with served() as server, server.client() as client:
        await client.hello()
        await client.set_view("a", 1, view_message())
        header, _ = await client.frame()
        assert header["inverted"] is False
        assert header["missing_slices"] == 0
        assert header["chunk_index"] == 0
        assert (header["epoch"], header["sequence"], header["view_revision"]) == (1, 1, 1)
        assert header["slab_mm"] == 0


async def test_two_clients_share_one_resident_copy_and_leave_no_lease() -> None:
    async with served() as server:
        async with server.client() as one, server.client() as two:
            for client in (one, two):
                await client.hello()
                await client.set_view("a", 1, view_message())
                await client.final("a", 1)
            (entry,) = server.engine.status().cache.entries
            assert sorted(entry.pinned_by) == ["session-1", "session-2"]
            assert server.sessions.count == 2
        await server.until(lambda: server.sessions.count == 0)
        (entry,) = server.engine.status().cache.entries
        assert entry.pinned_by == ()


async def test_open_volume_is_answered_with_progress_and_a_description() -> None:
    async with served() as server, server.client() as client:
        welcome = await client.hello()
        assert [volume["volume_id"] for volume in welcome["volumes"]] == ["vol"]
        await client.send(open_volume={"volume_id": "vol"})
        assert (await client.text("load_progress"))["volume_id"] == "vol"
        opened = await client.text("volume_opened")
        assert opened["volume"]["units"] == "HU"
        await client.send(list_volumes={})
        (volume,) = (await client.text("volume_list"))["volumes"]
        assert volume["residency"] == "RESIDENCY_RESIDENT"


async def test_an_unknown_volume_is_an_error_of_its_view_only() -> None:
    async with served() as server, server.client() as client:
        await client.hello()
        await client.set_view("lost", 1, view_message("nowhere"))
        error = await client.text("error")
        assert (error["reason"], error["view_id"], error["revision"]) == ("VOLUME_NOT_FOUND", "lost", 1)
        await client.set_view("found", 1, view_message())
        await client.final("found", 1)


async def test_a_resumed_session_paints_by_itself() -> None:
    async with served() as server:
        async with server.client() as client:
            token = (await client.hello())["resume_token"]
            await client.set_view("a", 5, view_message())
            await client.final("a", 5)
        async with server.client() as client:
            welcome = await client.hello(resume_token=token)
            assert welcome["epoch"] == 2
            assert welcome["resume_token"] != token
            header, _ = await client.frame()
            assert (header["quality"], header["view_revision"], header["epoch"]) == ("FRAME_QUALITY_FINAL", 5, 2)


async def test_who_comes_back_while_the_old_socket_hangs_takes_its_place() -> None:
    async with served() as server, server.client() as old, server.client() as new:
        token = (await old.hello())["resume_token"]
        await old.set_view("a", 1, view_message())
        await old.final("a", 1)
        assert (await new.hello(resume_token=token))["epoch"] == 2
        assert await closing(old) == (1008, "taken up by another connection")
        assert old.texts[-1]["error"]["reason"] == "TAKEN_OVER"
        await new.final("a", 1)


async def test_draining_tells_and_closes() -> None:
    async with served() as server, server.client() as client:
        await client.hello()
        await client.set_view("a", 1, view_message())
        await client.final("a", 1)
        await server.sessions.drain(5)
        assert await client.text("draining") == {}
        assert await closing(client) == (1001, "the server is shutting down")
        async with server.client() as late:
            assert (await closing(late))[0] == 1013
            assert late.texts[0]["error"]["reason"] == "DRAINING"


async def test_more_sessions_than_allowed_are_told_to_come_later() -> None:
    async with served(sessions=SessionRegistry(max_sessions=1)) as server, server.client() as first:
        await first.hello()
        async with server.client() as second:
            assert (await closing(second))[0] == 1013
        await first.set_view("a", 1, view_message())
        await first.final("a", 1)


async def test_who_says_nothing_is_shown_out() -> None:
    registry = SessionRegistry(limits=Limits(hello_seconds=0.01))
    async with served(sessions=registry) as server, server.client() as client:
        assert await closing(client) == (1008, "no hello within 0.01 s")
        assert client.texts[0]["error"]["reason"] == "HELLO_TIMEOUT"


async def test_who_says_nothing_makes_room_for_who_does() -> None:
    async with served(sessions=SessionRegistry(max_sessions=3)) as server, server.client() as known:
        await known.hello()
        async with server.client() as silent, server.client() as other:
            await server.until(lambda: server.sessions.count == 3)
            async with server.client() as guest:
                await guest.hello()
                code, reason = await closing(silent)
                assert code == 1013
                assert "no hello yet" in reason
                await other.hello()  # it came later than the one that had to go
                async with server.client() as late:
                    assert (await closing(late))[0] == 1013
        await known.set_view("a", 1, view_message())
        await known.final("a", 1)


async def test_a_flood_is_told_and_ended() -> None:
    registry = SessionRegistry(limits=Limits(messages_per_s=5))
    async with served(sessions=registry) as server, server.client() as client:
        await client.hello()
        for _ in range(11):
            await client.send(ping={})
        assert await closing(client) == (1008, "more than 5 messages a second")
        assert client.texts[-1]["error"]["reason"] == "TOO_MANY_MESSAGES"


# At the door


async def test_the_token_is_needed_and_compared() -> None:
    async with served(token="correct horse battery") as server:
        for token in ("", "wrong", "correct horse battery ", "corréct"):
            async with server.client() as client:
                await client.send(hello={"protocol_version": 1, "token": token})
                code, reason = await closing(client)
                assert code == 1008
                assert client.texts[0]["error"]["reason"] == "UNAUTHENTICATED"
                assert "horse" not in reason
        async with server.client() as client:
            await client.hello(token="correct horse battery")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "file://"])
async def test_pages_of_other_sites_may_not_open_the_stream(origin: str) -> None:
    async with served() as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.client(origin=origin):
                pass
        assert refused.value.response.status_code == 403


async def test_the_servers_own_page_and_listed_origins_may() -> None:
    async with served(allowed_origins=["https://viewer.example"]) as server:
        for origin in (server.url, "https://viewer.example"):
            async with server.client(origin=origin) as client:
                await client.hello()


async def test_a_name_that_was_rebound_is_refused_on_the_stream_too() -> None:
    async with served() as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.client(name="evil.example"):
                pass
        assert refused.value.response.status_code == 421

"""A session from Hello to its end."""

from __future__ import annotations

import pytest

from render.service.convert.views import view_from_proto
from render.stream.contract import CloseCode
from render.stream.limits import Limits
from render.stream.protocol import LIST_INTERVAL_S
from render.v1 import stream_pb2
from tests.stream.harness import Harness, _message, opened, rest


def test_hello_is_answered_with_what_a_client_needs() -> None:
    welcome = Harness(limits=Limits(max_views=3)).hello(client="test")
    assert (welcome.protocol_version, welcome.epoch, welcome.resume_token) == (1, 1, "next")
    assert welcome.limits.max_views == 3


def test_anything_before_hello_ends_the_session() -> None:
    harness = Harness()
    harness.set_view("a", 1)
    assert harness.answer("error").reason == "PROTOCOL"
    assert harness.closed()[0] == CloseCode.PROTOCOL
    assert harness.protocol.take_actions() == []


def test_a_second_hello_ends_the_session() -> None:
    harness = opened()
    harness.receive(hello=stream_pb2.Hello(protocol_version=1))
    assert harness.closed()[0] == CloseCode.PROTOCOL


@pytest.mark.parametrize("version", [0, 2])
def test_another_version_is_refused_with_both_numbers(version: int) -> None:
    harness = Harness()
    harness.receive(hello=stream_pb2.Hello(protocol_version=version))
    assert harness.closed() == (CloseCode.PROTOCOL, f"protocol_version {version}: this server speaks 1")


def test_a_wrong_token_is_refused() -> None:
    harness = Harness(token="secret")
    harness.receive(hello=stream_pb2.Hello(protocol_version=1, token="guess"))
    assert harness.answer("error").reason == "UNAUTHENTICATED"
    assert harness.closed()[0] == CloseCode.POLICY
    assert harness.protocol.next_message() is None


def test_hello_has_ten_seconds() -> None:
    harness = Harness()
    assert harness.protocol.next_deadline() == harness.clock.now + 10
    harness.clock.now += 9.99
    harness.protocol.tick()
    assert not harness.protocol.is_closed
    harness.clock.now += 0.01
    harness.protocol.tick()
    assert harness.closed() == (CloseCode.POLICY, "no hello within 10 s")


def test_messages_may_grow_after_hello() -> None:
    harness = Harness()
    assert harness.protocol.max_message_bytes == 16 << 10
    harness.hello()
    assert harness.protocol.max_message_bytes == 256 << 10


def test_welcome_and_lists_say_whether_more_volumes_may_come() -> None:
    harness = Harness(scanning=True)
    assert harness.hello().scanning
    for scanning in (True, False):
        harness.scanning = scanning
        harness.receive(list_volumes=stream_pb2.ListVolumes())
        assert harness.answer("volume_list").scanning is scanning
        harness.clock.now += LIST_INTERVAL_S


def test_a_list_is_sent_once_for_all_who_ask_and_not_too_often() -> None:
    harness = opened()
    for hidden in (False, True):
        harness.receive(set_visibility=stream_pb2.SetVisibility(visible=not hidden))
        for _ in range(5):
            harness.receive(list_volumes=stream_pb2.ListVolumes())
        assert harness.answer("volume_list") is not None
        assert harness.protocol.next_message() is None
        harness.receive(list_volumes=stream_pb2.ListVolumes())
        assert harness.protocol.next_message() is None
        assert harness.protocol.next_deadline() == harness.clock.now + LIST_INTERVAL_S
        harness.clock.now += LIST_INTERVAL_S
        assert harness.answer("volume_list") is not None
        assert harness.protocol.next_deadline() is None
        harness.clock.now += LIST_INTERVAL_S


def test_a_sign_of_life_is_given_whatever_else_is_going_on() -> None:
    harness = Harness()
    harness.receive(ping=stream_pb2.Ping())
    assert harness.closed()[0] == CloseCode.PROTOCOL, "not before hello"
    harness = opened()
    harness.receive(set_visibility=stream_pb2.SetVisibility(visible=False))
    harness.set_view("a", 1)
    harness.protocol.drain()
    assert harness.answer("draining") is not None
    harness.receive(ping=stream_pb2.Ping())
    assert harness.answer("pong") is not None


def test_a_flood_ends_the_session() -> None:
    harness = opened(limits=Limits(messages_per_s=10))
    for _ in range(19):
        harness.receive(list_volumes=stream_pb2.ListVolumes())
    assert not harness.protocol.is_closed
    harness.clock.now += 0.11
    harness.receive(list_volumes=stream_pb2.ListVolumes())
    assert not harness.protocol.is_closed
    harness.receive(list_volumes=stream_pb2.ListVolumes())
    assert harness.closed() == (CloseCode.POLICY, "more than 10 messages a second")


# The end


def test_a_resumed_session_shows_its_last_final_frame_first_in_a_new_epoch() -> None:
    harness = opened("a")
    harness.set_view("a", 7)
    harness.saved["again"] = harness.protocol.saved()
    harness.connect()
    assert harness.hello(resume_token="again").epoch == 2
    harness.open_volumes()
    job = harness.job()
    assert (job.view_revision, job.is_final) == (7, True)
    harness.finish(job)
    header = harness.frame().header
    assert (header.epoch, header.sequence) == (2, 1)


def test_an_unknown_resume_token_begins_anew() -> None:
    harness = Harness()
    assert harness.hello(resume_token="lost").epoch == 1
    assert not harness.protocol.views


def test_draining_tells_the_client_and_begins_nothing() -> None:
    harness = opened("a")
    job = harness.job()
    harness.protocol.drain()
    harness.protocol.drain()
    harness.answer("draining")
    assert not harness.protocol.is_idle
    harness.finish(job)
    assert harness.frame().header.view_id == "a"
    assert harness.protocol.is_idle
    rest(harness)
    assert harness.protocol.next_job() is None


def test_nothing_is_done_for_a_client_that_has_gone() -> None:
    harness = opened("a")
    job = harness.job()
    harness.protocol.disconnected()
    assert job.cancelled
    harness.finish(job)
    harness.set_view("a", 2)
    assert harness.protocol.next_job() is None
    assert harness.protocol.next_message() is None
    assert harness.protocol.next_deadline() is None


def test_who_took_the_wheel_is_not_told_of_views_that_it_has_changed_since() -> None:
    harness = opened()
    message = _message("vol", False, 64)
    harness.protocol.watch()
    for view_id in ("set", "closed", "untouched"):
        harness.protocol.mirror(view_id, view_from_proto(message), 1, message)
    harness.protocol.sharing(stream_pb2.Sharing(driving=True))
    harness.set_view("set", 2)
    harness.receive(close_view=stream_pb2.CloseView(view_id="closed"))
    assert harness.answer("sharing").driving
    assert harness.answer("view_set").view_id == "untouched"
    assert harness.protocol.next_message() is None
    # Somebody else drives, and closes what it set itself and what it was told of.
    harness.protocol.sharing(stream_pb2.Sharing(driving=False))
    for view_id in ("set", "closed", "untouched"):
        harness.protocol.mirror_closed(view_id)
    assert not harness.answer("sharing").driving
    assert [harness.answer("view_closed").view_id for _ in range(2)] == ["set", "untouched"]
    assert harness.protocol.next_message() is None

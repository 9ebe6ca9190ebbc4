from __future__ import annotations

import pytest

from render.encoding import Encoding
from render.errors import InvalidArgumentError, RenderCancelledError
from render.frame import FINAL
from render.service.convert.views import view_from_proto
from render.stream.contract import CloseCode, DescribeVolume, OpenVolume, ReleaseVolume
from render.stream.limits import Limits
from render.stream.outbox import MIN_CHUNK_BYTES
from render.stream.protocol import LIST_INTERVAL_S
from render.stream.view_state import SETTLE_S
from render.v1 import frame_pb2, stream_pb2, volume_pb2
from tests.stream.harness import Harness, _message, opened


def rest(harness: Harness) -> None:
    harness.clock.now += SETTLE_S


# Hello


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


# From a view to its final frame


def test_a_view_gets_a_picture_at_once_and_its_values_at_rest() -> None:
    harness = opened("a")
    picture = harness.job()
    assert picture.lossless is None
    harness.finish(picture)
    header = harness.frame().header
    assert header.encoding == frame_pb2.FRAME_ENCODING_JPEG
    harness.acknowledge(header)
    assert harness.protocol.next_job() is None

    assert harness.protocol.next_deadline() == pytest.approx(harness.clock.now + SETTLE_S)
    rest(harness)
    final = harness.job()
    assert (final.quality, final.lossless) == (FINAL, Encoding.VALUES_DEFLATE)
    harness.finish(final)
    header = harness.frame().header
    assert (header.sequence, header.quality) == (2, frame_pb2.FRAME_QUALITY_FINAL)
    assert not harness.protocol.is_settled
    harness.acknowledge(header)
    assert harness.protocol.is_settled
    assert harness.protocol.next_job() is None
    assert harness.protocol.next_message() is None
    assert harness.protocol.next_deadline() is None


def test_colour_ends_as_rgba() -> None:
    harness = opened()
    harness.set_view("a", 1, color=True)
    harness.open_volumes()
    harness.finish(harness.job())
    rest(harness)
    assert harness.job().lossless is Encoding.RGBA_DEFLATE


def test_moves_while_a_picture_is_drawn_merge_into_one() -> None:
    harness = opened("a")
    first = harness.job()
    for revision in range(2, 10):
        harness.set_view("a", revision)
    assert not first.cancelled, "a fast hand would never see a picture"
    harness.finish(first)
    second = harness.job()
    assert (first.view_revision, second.view_revision) == (1, 9)


def test_a_move_gives_a_final_frame_up_while_it_is_drawn() -> None:
    harness = opened("a")
    harness.finish(harness.job())
    rest(harness)
    final = harness.job()
    harness.set_view("a", 2)
    assert final.cancelled
    picture = harness.job()
    assert (picture.view_revision, picture.lossless) == (2, None)
    harness.finish(final)  # too late
    harness.finish(picture)
    assert harness.frame().header.view_revision == 2, "a newer picture takes the place of one that still waits"
    assert harness.protocol.next_message() is None


def test_a_move_gives_a_final_frame_up_between_its_chunks() -> None:
    harness = opened("a")
    harness.finish(harness.job())
    harness.acknowledge(harness.frame().header)
    rest(harness)
    harness.carry(1e6)
    harness.finish(harness.job(), final_bytes=2_000_000)
    chunk = harness.frame()
    assert chunk.header.chunk_count == 40
    assert len(chunk.payload) == 50_000
    harness.set_view("a", 2)
    harness.finish(harness.job())
    header = harness.frame().header
    assert (header.view_revision, header.sequence, header.chunk_count) == (2, 3, 1)
    harness.acknowledge(header)
    assert harness.protocol.link.in_flight_bytes == 0


def test_a_change_of_volume_gives_up_a_picture_too() -> None:
    harness = opened("a")
    picture = harness.job()
    harness.set_view("a", 2, "other")
    assert picture.cancelled
    assert harness.protocol.take_actions() == [ReleaseVolume("vol"), OpenVolume("other")]


def test_pictures_go_before_chunks_of_another_view() -> None:
    harness = opened("a")
    harness.finish(harness.job())
    harness.acknowledge(harness.frame().header)
    rest(harness)
    harness.carry(1e5)
    harness.finish(harness.job(), final_bytes=10 * MIN_CHUNK_BYTES)
    first = harness.frame().header
    harness.set_view("b", 1)
    harness.finish(harness.job())
    assert harness.frame().header.view_id == "b"
    harness.clock.now += 1
    second = harness.frame().header
    assert (second.view_id, second.sequence, second.chunk_index) == ("a", first.sequence, 1)


def test_a_frame_that_lacks_slices_is_not_final_and_is_made_again_when_they_come() -> None:
    harness = opened("a")
    rest(harness)
    harness.finish(harness.job(), missing_slices=3)
    header = harness.frame().header
    harness.acknowledge(header)
    assert not harness.protocol.is_settled
    assert harness.protocol.next_job() is None, "in vain until slices come"
    harness.protocol.volume_opened("vol", 2)
    assert harness.job().is_final


def test_a_slow_link_gets_a_picture_of_full_quality_before_the_values() -> None:
    harness = opened()
    harness.carry(20_000)
    harness.set_view("a", 1, size_px=512)
    harness.open_volumes()
    rest(harness)
    job = harness.job()
    assert job.picture is not None
    assert job.quality == FINAL
    harness.finish(job, final_bytes=100_000)
    assert harness.frame().header.encoding == frame_pb2.FRAME_ENCODING_JPEG
    harness.clock.now += 0.2
    assert harness.frame().header.encoding == frame_pb2.FRAME_ENCODING_VALUES_DEFLATE


def test_values_that_take_long_to_render_are_preceded_by_a_picture_also_at_rest() -> None:
    harness = opened()
    harness.set_view("a", 1, color=True)
    rest(harness)
    harness.open_volumes()  # the load took longer than the hand's rest
    assert not harness.job().is_final


def test_final_frames_wait_for_other_views_that_move_but_not_for_ever() -> None:
    harness = opened("a")
    harness.finish(harness.job())
    harness.acknowledge(harness.frame().header)
    for revision in range(1, 20):
        harness.set_view("b", revision)
        job = harness.job()
        if job.view_id == "a":
            break
        harness.finish(job)
        harness.acknowledge(harness.frame().header)
        harness.clock.now += 0.1
        other = harness.protocol.next_job()
        if other is not None:
            assert (other.view_id, other.is_final) == ("a", True)
            break
    assert 10 <= revision <= 11, "a second"


# Credit


def test_without_acknowledgements_frames_stop() -> None:
    harness = opened("a")
    revision, drawn = 1, 0
    while (job := harness.protocol.next_job()) is not None:
        harness.finish(job)
        harness.frame()
        drawn += 1
        revision += 1
        harness.set_view("a", revision)
    assert drawn == harness.protocol.link.window == 2


def test_bytes_on_their_way_are_capped_too() -> None:
    harness = opened("a", "b")
    job = harness.job()
    harness.finish(job, picture_bytes=harness.protocol.link.cap_bytes)
    harness.frame()
    assert harness.protocol.next_job() is None


def test_an_acknowledgement_covers_the_frames_before_it() -> None:
    harness = opened("a")
    headers = []
    for revision in (2, 3):
        harness.finish(harness.job())
        headers.append(harness.frame().header)
        harness.set_view("a", revision)
    harness.acknowledge(headers[1])
    assert harness.protocol.views[0].credit_used == 0
    harness.acknowledge(headers[0])
    assert harness.protocol.views[0].credit_used == 0


def test_strange_acknowledgements_do_no_harm() -> None:
    harness = opened("a")
    for view_id, sequence in (("nobody", 1), ("a", 0), ("a", 4_000_000_000)):
        harness.receive(acknowledge=stream_pb2.Acknowledge(view_id=view_id, sequence=sequence))
    assert not harness.protocol.is_closed
    assert not harness.protocol.is_settled


def test_hidden_clients_cost_nothing_and_wake_exact() -> None:
    harness = opened("a")
    job = harness.job()
    harness.set_visible(False)
    assert job.cancelled
    harness.finish(job)
    rest(harness)
    assert harness.protocol.next_job() is None
    assert harness.protocol.next_message() is None
    assert harness.protocol.next_deadline() is None
    harness.set_visible(True)
    assert harness.job().is_final


def settled_but_for_the_acknowledgement() -> tuple[Harness, frame_pb2.FrameHeader]:
    harness = opened("a")
    harness.finish(harness.job())
    harness.acknowledge(harness.frame().header)
    rest(harness)
    harness.finish(harness.job())
    return harness, harness.frame().header


def test_a_final_frame_that_was_sent_but_not_painted_when_the_page_was_hidden_comes_again() -> None:
    harness, _ = settled_but_for_the_acknowledgement()
    harness.set_visible(False)
    harness.set_visible(True)
    assert harness.job().is_final


def test_a_final_frame_that_was_painted_after_all_does_not_come_again() -> None:
    harness, header = settled_but_for_the_acknowledgement()
    harness.set_visible(False)
    harness.acknowledge(header)
    harness.set_visible(True)
    assert harness.protocol.is_settled
    assert harness.protocol.next_job() is None


def test_a_final_frame_is_due_as_soon_as_the_other_views_rest() -> None:
    harness = opened("a")
    harness.finish(harness.job())
    harness.acknowledge(harness.frame().header)
    harness.clock.now += 0.1
    harness.set_view("b", 1)
    harness.finish(harness.job())
    harness.acknowledge(harness.frame().header)
    harness.clock.now += 0.1  # a rests, b does not
    assert harness.protocol.next_job() is None
    due = harness.protocol.next_deadline()
    assert due == pytest.approx(harness.clock.now + 0.05)
    harness.clock.now = due
    assert harness.job().is_final


def test_a_picture_before_the_values_takes_its_own_credit() -> None:
    harness = opened()
    harness.carry(20_000)
    harness.set_view("a", 1, size_px=512)
    harness.open_volumes()
    harness.finish(harness.job())
    harness.frame()  # one of two on its way
    rest(harness)
    job = harness.job()
    assert (job.is_final, job.picture) == (True, None)


# Views


def test_a_revision_never_goes_back() -> None:
    harness = opened()
    harness.set_view("a", 5)
    harness.open_volumes()
    harness.set_view("a", 4)
    error = harness.answer("error")
    assert (error.reason, error.view_id, error.revision) == ("INVALID_ARGUMENT", "a", 4)
    assert harness.job().view_revision == 5


def test_the_same_revision_again_is_no_error_and_no_input() -> None:
    harness = opened("a")
    harness.clock.now += 0.1
    harness.set_view("a", 1)
    assert harness.protocol.views[0].input_at == pytest.approx(harness.clock.now - 0.1)
    assert harness.protocol.next_message() is None


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_the_name_of_a_view_is_short(name: str) -> None:
    harness = opened()
    harness.set_view(name, 1)
    assert harness.answer("error").reason == "INVALID_ARGUMENT"
    assert not harness.protocol.views


def test_views_and_their_pixels_are_limited() -> None:
    harness = opened("a", "b", limits=Limits(max_views=2, max_viewport_px=100))
    harness.set_view("c", 1)
    assert harness.answer("error").message == "more than 2 views"
    harness.set_view("a", 2, size_px=101)
    error = harness.answer("error")
    assert (error.reason, error.view_id) == ("INVALID_VIEW", "a")
    assert harness.protocol.views[0].revision == 1


def test_views_have_a_limit_of_pixels_together() -> None:
    harness = opened("a", "b", limits=Limits(max_pixels=2 * 64 * 64 + 100))
    harness.set_view("a", 2, size_px=65)
    assert harness.answer("error").message == "views of 8321 px together: at most 8292 here"
    harness.set_view("b", 2, size_px=32)
    harness.set_view("a", 3, size_px=65)
    assert harness.protocol.next_message() is None


def test_a_view_that_makes_no_sense_is_answered_and_the_session_goes_on() -> None:
    harness = opened("a")
    harness.receive(set_view=stream_pb2.SetView(view_id="a", revision=2))
    assert harness.answer("error").reason == "INVALID_VIEW"
    harness.set_view("a", 3)
    assert harness.job().view_revision == 3


def test_a_frame_that_fails_is_told_once_and_tried_again_with_the_next_revision() -> None:
    harness = opened("a")
    job = harness.job()
    harness.protocol.job_done(job, InvalidArgumentError("no"), "INVALID_ARGUMENT", "no")
    error = harness.answer("error")
    assert (error.reason, error.view_id, error.revision) == ("INVALID_ARGUMENT", "a", 1)
    rest(harness)
    assert harness.protocol.next_job() is None
    harness.set_view("a", 2)
    assert harness.job().view_revision == 2


def test_what_failed_may_be_asked_for_again_as_it_was() -> None:
    harness = opened()
    harness.set_view("a", 3)
    (action,) = harness.protocol.take_actions()
    assert isinstance(action, OpenVolume)
    harness.protocol.volume_failed(action.volume_id, "VOLUME_NOT_FOUND", "not yet")
    assert harness.answer("error").revision == 3
    harness.set_view("a", 2)
    assert harness.answer("error").reason == "INVALID_ARGUMENT"
    harness.set_view("a", 3)
    assert harness.protocol.next_message() is None
    assert harness.protocol.take_actions() == [action]
    harness.set_view("a", 3)  # on its way by now
    assert harness.protocol.take_actions() == []


def test_a_cancelled_frame_is_no_error() -> None:
    harness = opened("a")
    harness.protocol.job_done(harness.job(), RenderCancelledError("x"), "CANCELLED", "x")
    assert harness.protocol.next_message() is None


def test_a_closed_view_gives_everything_back() -> None:
    harness = opened("a")
    harness.finish(harness.job())
    last = harness.frame().header
    job_of_old = harness.protocol.next_job()
    assert job_of_old is None
    harness.receive(close_view=stream_pb2.CloseView(view_id="a"))
    assert harness.protocol.take_actions() == [ReleaseVolume("vol")]
    assert harness.protocol.link.in_flight_bytes == 0
    harness.set_view("a", 1)
    harness.open_volumes()
    harness.finish(harness.job())
    assert harness.frame().header.sequence > last.sequence


# Volumes


def test_a_volume_is_opened_once_and_released_with_its_last_view() -> None:
    harness = opened()
    harness.set_view("a", 1)
    harness.set_view("b", 1)
    assert harness.protocol.take_actions() == [OpenVolume("vol")]
    assert harness.protocol.next_job() is None
    harness.protocol.volume_opened("vol", 1)
    harness.receive(close_view=stream_pb2.CloseView(view_id="a"))
    assert harness.protocol.take_actions() == []
    harness.receive(close_view=stream_pb2.CloseView(view_id="b"))
    assert harness.protocol.take_actions() == [ReleaseVolume("vol")]


def test_open_volume_describes_it_and_holds_it_until_another_is_opened() -> None:
    harness = opened()
    harness.receive(open_volume=stream_pb2.OpenVolume(volume_id="one"))
    assert harness.protocol.take_actions() == [OpenVolume("one")]
    harness.protocol.volume_opened("one", 1)
    assert harness.protocol.take_actions() == [DescribeVolume("one")]
    harness.protocol.describe(volume_pb2.VolumeDescription(units="HU"))
    assert harness.answer("volume_opened").volume.units == "HU"
    harness.receive(open_volume=stream_pb2.OpenVolume(volume_id="two"))
    assert harness.protocol.take_actions() == [ReleaseVolume("one"), OpenVolume("two")]


def test_only_the_latest_word_of_a_load_is_sent() -> None:
    harness = opened()
    harness.set_view("a", 1)
    for done in (1, 2, 3):
        harness.protocol.load_progress("vol", "decoding", done, 9)
    assert harness.answer("load_progress").done == 3
    harness.protocol.load_progress("vol", "decoding", 4, 9)
    harness.protocol.volume_opened("vol", 1)
    assert harness.protocol.next_message() is None, "it is there already"


def test_a_volume_that_fails_is_told_to_each_view_and_tried_again() -> None:
    harness = opened()
    harness.set_view("a", 1)
    harness.set_view("b", 1)
    harness.receive(open_volume=stream_pb2.OpenVolume(volume_id="vol"))
    harness.protocol.take_actions()
    harness.protocol.volume_failed("vol", "BUDGET_EXCEEDED", "too large")
    told = [harness.answer("error") for _ in range(3)]
    assert [error.view_id for error in told] == ["a", "b", ""]
    assert {error.volume_id for error in told} == {"vol"}
    harness.set_view("a", 2)
    assert harness.protocol.take_actions() == [OpenVolume("vol")]


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

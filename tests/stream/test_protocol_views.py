"""Views and the volumes that they hold: what is refused, what fails, what is given back."""

from __future__ import annotations

import pytest

from render.errors import InvalidArgumentError, RenderCancelledError
from render.stream.contract import DescribeVolume, OpenVolume, ReleaseVolume
from render.stream.limits import Limits
from render.v1 import stream_pb2, volume_pb2
from tests.stream.harness import opened, rest

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

"""From a view to its final frame: pictures, values, and what a move gives up."""

from __future__ import annotations

import pytest

from render.encoding import Encoding
from render.frame import FINAL
from render.stream.contract import OpenVolume, ReleaseVolume
from render.stream.outbox import MIN_CHUNK_BYTES
from render.stream.view_state import SETTLE_S
from render.v1 import frame_pb2
from tests.stream.harness import opened, rest


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

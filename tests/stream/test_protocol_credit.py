"""Acknowledgements, what may be on its way without them, and clients that do not look."""

from __future__ import annotations

import pytest

from render.v1 import frame_pb2, stream_pb2
from tests.stream.harness import Harness, opened, rest


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

"""The client's stream without I/O: the latest wins, frames come whole, in order and acknowledged."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from render.v1.render_service_pb2 import StreamFramesResponse
from render.v1.stream_pb2 import ServerMessage, VolumeList
from tests.client.fake_service import stream_error, welcome
from tests.client.stream_messages import acknowledged, frames, sent, view
from voxelcast import InvalidArgumentError, NotFoundError, ProtocolError
from voxelcast.errors import SCAN_INTERVAL_S
from voxelcast.stream_state import VIEW_INTERVAL_S, StreamState


@pytest.fixture
def state() -> StreamState:
    state = StreamState("test", "secret")
    (hello,) = sent(state)
    assert (hello.hello.protocol_version, hello.hello.token, hello.hello.client) == (1, "secret", "test")
    state.receive(welcome())
    return state


def test_the_latest_view_wins(state: StreamState) -> None:
    for slab in range(5):
        state.show("main", view(slab))
    (message,) = sent(state)
    assert (message.set_view.revision, message.set_view.view.slab_mm) == (5, 4)


def test_views_are_spaced_but_acknowledgements_are_not(state: StreamState) -> None:
    state.show("a", view(1))
    state.show("b", view(2))
    first = state.next_message(10.0)
    assert first is not None
    assert first.set_view.view_id == "a"
    assert state.next_message(10.0) is None
    assert state.send_again_at_s() == 10.0 + VIEW_INTERVAL_S
    for response in frames(1, 1, view_id="a"):
        state.receive(response)
    assert state.take() is not None
    acknowledge = state.next_message(10.0)
    assert acknowledge is not None
    assert acknowledge.acknowledge.sequence == 1
    second = state.next_message(10.0 + VIEW_INTERVAL_S)
    assert second is not None
    assert second.set_view.view_id == "b"
    assert state.send_again_at_s() is None


def test_a_frame_is_acknowledged_when_it_is_taken(state: StreamState) -> None:
    state.show("main", view(1))
    sent(state)
    for response in frames(1, 1, chunks=3):
        assert state.take() is None
        state.receive(response)
    assert acknowledged(state) == []
    frame = state.take()
    assert frame is not None
    assert sorted(frame.payload) == sorted(b"frame 1")
    assert acknowledged(state) == [1]
    assert state.take() is None


def test_frames_that_nobody_took_give_way_and_are_acknowledged_with_the_newest(state: StreamState) -> None:
    state.show("main", view(1))
    sent(state)
    for sequence in (1, 2, 3):
        state.receive(frames(sequence, 1)[0])
    frame = state.take()
    assert frame is not None
    assert frame.header.sequence == 3
    assert acknowledged(state) == [1, 2, 3]


def test_a_frame_that_was_given_up_is_dropped(state: StreamState) -> None:
    state.show("main", view(1))
    lost = frames(1, 1, chunks=3)
    state.receive(lost[0])
    state.receive(frames(2, 1)[0])
    state.receive(lost[1])
    frame = state.take()
    assert frame is not None
    assert frame.payload == b"frame 2"
    assert state.take() is None


def test_old_frames_are_ignored(state: StreamState) -> None:
    state.show("main", view(1))
    state.receive(frames(2, 1)[0])
    assert state.take() is not None
    state.receive(frames(2, 1)[0])
    state.receive(frames(1, 1)[0])
    state.receive(frames(3, 1, epoch=9)[0])
    state.receive(frames(3, 1, view_id="unknown")[0])
    assert state.take() is None


def test_settled_means_the_exact_frame_of_the_latest_revision(state: StreamState) -> None:
    state.show("main", view(1))
    state.receive(frames(1, 1, final=False)[0])
    assert state.take() is not None
    assert not state.is_settled
    state.receive(frames(2, 1)[0])
    assert not state.is_settled, "it was not taken yet"
    assert state.take() is not None
    assert state.is_settled
    settled = state.settled_frame("main")
    assert settled is not None
    assert settled.header.sequence == 2
    state.show("main", view(2))
    assert not state.is_settled
    assert state.settled_frame("main") is None
    with pytest.raises(InvalidArgumentError, match="no view 'other'"):
        state.settled_frame("other")


def test_a_name_that_is_used_again_shows_no_old_frame(state: StreamState) -> None:
    state.show("main", view(1))
    sent(state)
    state.receive(frames(1, 1)[0])
    state.close_view("main")
    assert [m.WhichOneof("message") for m in sent(state)] == ["acknowledge", "close_view"]
    assert state.show("main", view(2)) == 2
    state.receive(frames(2, 1)[0])
    assert state.take() is None
    state.receive(frames(3, 2)[0])
    assert state.take() is not None


def test_a_view_that_was_never_sent_is_closed_in_silence(state: StreamState) -> None:
    state.show("main", view(1))
    state.close_view("main")
    state.close_view("main")
    assert sent(state) == []


def test_errors_are_raised_once_and_only_about_what_is_shown(state: StreamState) -> None:
    revision = state.show("main", view(1))
    state.receive(stream_error("INVALID_VIEW", "slab_mm -1", "main", revision))
    state.receive(stream_error("INVALID_VIEW", "closed", "other", 0))
    with pytest.raises(InvalidArgumentError, match="slab_mm -1") as caught:
        state.take()
    assert caught.value.reason == "INVALID_VIEW"
    assert state.take() is None
    state.show("main", view(2))
    state.receive(stream_error("INVALID_VIEW", "superseded", "main", revision))
    assert state.take() is None


def test_views_take_turns(state: StreamState) -> None:
    for name in ("a", "b"):
        state.show(name, view(1))
    taken = []
    for sequence in range(1, 5):
        for name, revision in (("a", 1), ("b", 2)):
            state.receive(frames(sequence, revision, view_id=name)[0])
        frame = state.take()
        assert frame is not None
        taken.append(frame.header.view_id)
    assert taken == ["a", "b", "a", "b"]
    assert state.take("b") is None


def test_breaches_of_the_protocol(state: StreamState) -> None:
    state.show("main", view(1))
    with pytest.raises(ProtocolError, match="second Welcome"):
        state.receive(welcome())
    state.receive(frames(1, 1, chunks=3)[0])
    with pytest.raises(ProtocolError, match="chunk 2 of 3, 1 expected"):
        state.receive(frames(1, 1, chunks=3)[2])
    longer = frames(2, 1)[0]
    longer.frame.payload += b"!"
    with pytest.raises(ProtocolError, match="more than the frame's 7 bytes"):
        state.receive(longer)
    fresh = StreamState("test")
    with pytest.raises(ProtocolError, match="version 2"):
        fresh.receive(welcome(protocol_version=2))
    with pytest.raises(ProtocolError, match="before Welcome"):
        fresh.receive(frames(1, 1)[0])
    with pytest.raises(InvalidArgumentError, match="65 characters"):
        fresh.show("x" * 65, view(1))


class Conversation(RuleBasedStateMachine):
    """A server that answers at its own pace, loses frames it gave up, and a consumer that is slow."""

    @initialize()
    def begin(self) -> None:
        self.state = StreamState("test")
        sent(self.state)
        self.state.receive(welcome())
        self.sequence = 0
        self.revision = 0
        self.delivered: list[int] = []
        self.known: int = 0
        self.unacknowledged: set[int] = set()
        self.taken: list[tuple[int, int]] = []

    @rule()
    def show(self) -> None:
        self.revision = self.state.show("main", view(1))

    @rule()
    def send(self) -> None:
        for message in sent(self.state):
            if message.WhichOneof("message") == "set_view":
                assert message.set_view.revision > self.known
                self.known = message.set_view.revision
            else:
                self.unacknowledged.remove(message.acknowledge.sequence)

    @rule(chunks=st.integers(1, 4), arrive=st.integers(1, 4), final=st.booleans())
    def answer(self, chunks: int, arrive: int, final: bool) -> None:
        if not self.known:
            return
        self.sequence += 1
        for response in frames(self.sequence, self.known, chunks=chunks, final=final)[:arrive]:
            self.state.receive(response)
        if arrive >= chunks:
            self.delivered.append(self.sequence)
            self.unacknowledged.add(self.sequence)

    @rule()
    def take(self) -> None:
        frame = self.state.take()
        newest = self.delivered[-1] if self.delivered else 0
        if frame is None:
            assert newest == (self.taken[-1][0] if self.taken else 0)
            return
        assert frame.header.sequence == newest
        self.taken.append((frame.header.sequence, frame.header.view_revision))
        self.send()
        assert not self.unacknowledged, "all that came is acknowledged once the newest is taken"

    @invariant()
    def nothing_goes_back(self) -> None:
        taken = getattr(self, "taken", [])
        assert taken == sorted(set(taken))


TestConversation = Conversation.TestCase


def test_after_a_reconnect_hello_has_the_token_and_every_view_goes_again(state: StreamState) -> None:
    state.show("a", view(1))
    state.show("b", view(2))
    sent(state)
    state.reconnect()
    (hello,) = sent(state)
    assert hello.hello.resume_token == ""
    state.receive(welcome(epoch=2, resume_token="second"))
    again = [(m.set_view.view_id, m.set_view.revision, m.set_view.view) for m in sent(state)]
    assert again == [("a", 1, view(1)), ("b", 2, view(2))]
    state.reconnect()
    assert sent(state)[0].hello.resume_token == "second"


def test_what_came_before_a_reconnect_is_taken_but_not_acknowledged(state: StreamState) -> None:
    state.show("main", view(1))
    sent(state)
    for part in frames(5, 1, final=False):
        state.receive(part)
    state.receive(frames(6, 1, chunks=2)[0])
    state.reconnect()
    state.receive(welcome(epoch=2))
    assert state.take() is not None
    assert acknowledged(state) == []
    for part in frames(7, 1):  # of the old epoch
        state.receive(part)
    assert state.take() is None
    for part in frames(1, 1, epoch=2):
        state.receive(part)
    assert state.take() is not None
    assert state.is_settled
    assert acknowledged(state) == [1]


def listed(scanning: bool) -> StreamFramesResponse:
    return StreamFramesResponse(message=ServerMessage(volume_list=VolumeList(scanning=scanning)))


def test_a_volume_that_the_server_may_still_find_is_asked_for_again(state: StreamState) -> None:
    state.show("main", view(1))
    sent(state)
    state.reconnect()
    sent(state)
    state.receive(welcome(scanning=True))
    assert [m.WhichOneof("message") for m in sent(state)] == ["set_view"]
    for turn in range(3):
        state.receive(stream_error("VOLUME_NOT_FOUND", "not yet", "main", 1))
        now_s = 100.0 * turn
        assert state.take() is None, "nobody is told"
        assert state.next_message(now_s) is None
        assert state.send_again_at_s() == now_s + SCAN_INTERVAL_S
        assert state.next_message(now_s + SCAN_INTERVAL_S - 0.01) is None
        kinds = [state.next_message(now_s + SCAN_INTERVAL_S) for _ in range(3)]
        assert [m and m.WhichOneof("message") for m in kinds] == ["list_volumes", "set_view", None]
        assert kinds[1] is not None
        assert kinds[1].set_view.revision == 1
        state.receive(listed(scanning=turn < 2))
    # The server has read everything: what it does not know now is not there.
    state.receive(stream_error("VOLUME_NOT_FOUND", "gone", "main", 1))
    with pytest.raises(NotFoundError, match="gone"):
        state.take()
    assert state.send_again_at_s() is None


def test_what_is_shown_meanwhile_is_what_is_asked_for(state: StreamState) -> None:
    state.show("main", view(1))
    sent(state)
    state.receive(listed(scanning=True))
    state.receive(stream_error("VOLUME_NOT_FOUND", "not yet", "main", 1))
    state.next_message(0.0)
    state.show("main", view(2))
    message = state.next_message(1.0)
    assert message is not None
    assert message.set_view.revision == 2
    assert state.send_again_at_s() is None
    state.receive(stream_error("VOLUME_NOT_FOUND", "not yet", "main", 2))
    state.next_message(50.0)
    state.close_view("main")
    assert [m.WhichOneof("message") for m in sent(state)] == ["close_view"]
    assert state.send_again_at_s() is None
